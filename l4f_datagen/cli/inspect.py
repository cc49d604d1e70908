"""``l4f-datagen inspect``: look inside checkpoints, generators and datasets."""

import io
import json
import math
from pathlib import Path
from typing import Any

import click

from l4f_datagen.cli.source import FILE, resolve_recipe, source_options


@click.group()
def inspect() -> None:
    """Show what is in a checkpoint, a generator or a dataset."""


@inspect.command("checkpoint")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
@click.option(
    "--class", "class_index", type=click.IntRange(0), help="Class of a class-conditional generator."
)
def inspect_checkpoint(file: Path, as_json: bool, class_index: int | None) -> None:
    r"""Print what a checkpoint holds.

    \b
    l4f-datagen inspect checkpoint network.pkl
    l4f-datagen inspect checkpoint alpha.safetensors --json
    """
    from l4f_datagen.checkpoints.convert import checkpoint_facts

    facts = checkpoint_facts(file, class_index)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        click.echo(f"{name:18s} {value}")


@inspect.command("dataset")
@click.argument("dataset", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
def inspect_dataset(dataset: Path, as_json: bool) -> None:
    r"""Print counts, scores and origin of a finished dataset.

    \b
    l4f-datagen inspect dataset cars
    l4f-datagen inspect dataset cars --json
    """
    from l4f_datagen.report.records import dataset_facts, facts_text

    facts = dataset_facts(dataset)
    click.echo(json.dumps(facts, indent=2) if as_json else facts_text(facts))


@inspect.command("sample")
@click.argument("dataset", type=FILE)
@click.argument("key")
@click.option("--out", "--outdir", type=FILE, required=True, help="Folder of the three files.")
@click.option("--generator", type=FILE, help="New path of the generator.")
@click.option("--alpha", type=FILE, help="New path of the alpha network.")
@click.option("--latents", type=FILE, help="New path of the latents.")
@click.option("--device", help="Default: the kind of device that the dataset was made on.")
@click.option("--offline", is_flag=True, help="Use no network, like HF_HUB_OFFLINE=1.")
def inspect_sample(
    dataset: Path,
    key: str,
    out: Path,
    device: str | None,
    offline: bool,
    **named: Path | None,
) -> None:
    r"""Render one sample of a dataset again, accepted or rejected: image, mask and alpha.

    Its whole block is rendered, so that the bytes are those of the dataset. The exit code is 1 if
    the files of the dataset differ.

    \b
    l4f-datagen inspect sample cars psi0700-seed0000012 --out one
    l4f-datagen inspect sample cars psi0700-seed0000012 --out one --generator moved.pkl
    """
    from l4f_datagen.core.errors import L4FError
    from l4f_datagen.pipeline.reproduce import make_again

    files = {part: file for part, file in named.items() if file is not None}
    made = make_again(dataset, key, out, named=files, device=device, offline=offline)
    for path in made["files"]:
        click.echo(str(path))
    if made["same"] is False:
        remedy = "use the kind of machine and the package version of its manifest"
        raise L4FError(key, "differs from the files of the dataset", remedy)
    if made["same"]:
        click.echo("same bytes as in the dataset", err=True)


@inspect.command("trgb")
@source_options
@click.option("--seeds", default="0-3", show_default=True, help="One row per seed, at most 64.")
@click.option("--psi", "--trunc", type=click.FloatRange(0, 2), default=0.7, show_default=True)
@click.option("--out", type=FILE, required=True, help="PNG to write.")
def inspect_trgb(seeds: str, psi: float, out: Path, **source: Any) -> None:
    r"""Show what each resolution adds to the image: the ToRGB maps, stretched to full range.

    As in the appendix of the paper, from which it chose the layers the alpha network reads.

    \b
    l4f-datagen inspect trgb --domain toy-cars --out trgb.png
    l4f-datagen inspect trgb --generator my.pkl --seeds 0-7 --out trgb.png
    """
    from l4f_datagen.report.features import trgb_sheet

    _write_sheet(trgb_sheet, seeds, psi, out, **source)


@inspect.command("features")
@source_options
@click.option("--seeds", default="0-3", show_default=True, help="One row per seed, at most 64.")
@click.option("--psi", "--trunc", type=click.FloatRange(0, 2), default=0.7, show_default=True)
@click.option("--out", type=FILE, required=True, help="PNG to write.")
def inspect_features(seeds: str, psi: float, out: Path, **source: Any) -> None:
    r"""Show the features of each resolution: three principal components as colours.

    \b
    l4f-datagen inspect features --domain toy-cars --out features.png
    l4f-datagen inspect features --generator my.pkl --psi 1 --out features.png
    """
    from l4f_datagen.report.features import feature_sheet

    _write_sheet(feature_sheet, seeds, psi, out, **source)


def _write_sheet(
    draw: Any, seeds: str, psi: float, out: Path, device: str, offline: bool, **source: Any
) -> None:
    from l4f_datagen.core.errors import UsageError
    from l4f_datagen.io.disk import write_named
    from l4f_datagen.models.devices import choose_device
    from l4f_datagen.pipeline.networks import obtain_generator
    from l4f_datagen.recipe.seeds import parse_seeds
    from l4f_datagen.report.features import MAX_SEEDS

    if not math.isfinite(psi):
        raise UsageError("--psi", f"expected a number from 0 to 2, got {psi}", "give --psi 0.7")
    chosen = parse_seeds(seeds)
    if len(chosen) > MAX_SEEDS:
        raise UsageError("--seeds", f"names {len(chosen)}", f"name {MAX_SEEDS} at most")
    recipe = resolve_recipe(**source, uses_alpha=False)
    _, generator = obtain_generator(recipe.generator, choose_device(device), offline=offline)
    sheet = draw(generator, [chosen[k] for k in range(len(chosen))], psi)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=6)
    click.echo(str(write_named(out, buffer.getvalue())))
