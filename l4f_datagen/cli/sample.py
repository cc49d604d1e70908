"""``l4f-datagen sample``: images to annotate, named by key."""

from pathlib import Path
from typing import Any

import click

from l4f_datagen.cli.source import FILE, given, resolve_recipe, source_options
from l4f_datagen.core.options import PSI_LIST


@click.command()
@source_options
@click.option("--seeds", help="Exactly these seeds, such as 0-99,120.")
@click.option(
    "--n", "number", type=click.IntRange(1, 10**9), help="Number of images, over all psi."
)
@click.option("--psi", "--trunc", type=PSI_LIST, help="Truncations: 0.7 or 0.5,0.7,1.0.")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]))
@click.option(
    "--diverse/--no-diverse",
    default=None,
    help="Choose --n images that differ, or the first ones. Default: differ, up to 1,000.",
)
@click.option("--out", "--outdir", type=FILE, required=True, help="Folder of the images.")
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
