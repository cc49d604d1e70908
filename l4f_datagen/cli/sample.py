"""``l4f-datagen sample``: pictures alone, named by key."""

from pathlib import Path
from typing import Any

import click

from l4f_datagen.cli.source import FILE, resolve_recipe, source_options
from l4f_datagen.options import PSI_LIST


@click.command()
@source_options
@click.option("--seeds", help="Seeds such as 0-99,120 (default: the first --n).")
@click.option("--n", "number", type=click.IntRange(1, 10**9), help="Pictures in all psi together.")
@click.option("--psi", "--trunc", type=PSI_LIST, help="Truncations: 0.7 or 0.5,0.7,1.0.")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]))
@click.option("--out", "--outdir", type=FILE, required=True, help="Folder of the pictures.")
def sample(
    seeds: str | None,
    number: int | None,
    psi: tuple[float, ...] | None,
    noise_mode: str | None,
    out: Path,
    device: str,
    offline: bool,
    **source: Any,
) -> None:
    """Write generated pictures as PNG, one file a key, with keys.csv; no alpha network needed."""
    from l4f_datagen.errors import UsageError
    from l4f_datagen.sampling.pictures import write_pictures

    if seeds is None and number is None:
        raise UsageError("--seeds", "neither --seeds nor --n is given", "say which or how many")
    named = {
        "sampling.psi": list(psi) if psi else None,
        "sampling.seeds": f"'{seeds}'" if seeds else None,
        "sampling.noise_mode": noise_mode,
    }
    flags = tuple(f"{key}={value}" for key, value in named.items() if value is not None)
    recipe = resolve_recipe(**source, flags=flags)
    written = write_pictures(recipe, out, number, device=device, offline=offline)
    click.echo(f"{written} pictures in {out}")
