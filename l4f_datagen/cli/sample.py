"""``l4f-datagen sample``: images to annotate, named by key."""

from pathlib import Path
from typing import Any

import click

from l4f_datagen.cli.options import (
    FILE,
    PSI_LIST,
    given,
    option,
    resolve_recipe,
    source_options,
)


@click.command()
@source_options
@option("--seeds", str, "Exactly these seeds, such as 0-99,120.")
@option("--n number", click.IntRange(1, 10**9), "Number of images, over all psi.")
@option("--psi --trunc", PSI_LIST, "Truncations: 0.7 or 0.5,0.7,1.0.")
@option("--noise-mode", "const|random|none", "Noise inputs.")
@option(
    "--diverse/--no-diverse",
    bool,
    "Choose --n images that differ, or the first ones. Default: differ, up to 1,000.",
)
@option("--out --outdir", FILE, "Folder of the images.", required=True)
def sample(
    seeds: str | None,
    number: int | None,
    psi: tuple[float, ...] | None,
    noise_mode: str | None,
    diverse: bool | None,
    out: Path,
    device: str,
    offline: bool,
    **source: Any,
) -> None:
    r"""Write generated images to annotate, as PNG files with keys.csv; needs no alpha network.

    \b
    Examples:
      l4f-datagen sample --domain toy-cars --n 10 --out to-label
      l4f-datagen sample --generator my.pkl --seeds 0-99 --psi 0.7 --out to-label

    Label the images with any tool, keep the file names, and give the
    export to `validate --truth`.
    """
    from l4f_datagen.annotate.images import write_images
    from l4f_datagen.core.errors import UsageError

    if seeds is None and number is None:
        raise UsageError("--seeds", "neither --seeds nor --n is given", "say which or how many")
    if seeds is not None and diverse:
        problem = "given together with --seeds, which names the images already"
        raise UsageError("--diverse", problem, "drop one of them")
    named = {
        "sampling.psi": list(psi) if psi else None,
        "sampling.seeds": seeds,
        "sampling.same_seeds": None if seeds is None else True,
        "sampling.noise_mode": noise_mode,
    }
    recipe = resolve_recipe(**source, flags=given(named), uses_alpha=False)
    written = write_images(
        recipe,
        out,
        number,
        device=device,
        diverse=False if seeds is not None else diverse,
        offline=offline,
    )
    click.echo(f"{written} images in {out}")
