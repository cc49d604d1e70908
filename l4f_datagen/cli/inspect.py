"""``inspect``, ``convert`` and ``verify``: checkpoints, generators and datasets from inside."""

import io
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from l4f_datagen.cli.options import (
    CLASS,
    FILE,
    JSON,
    OFFLINE,
    added,
    echo,
    option,
    resolve_recipe,
    source_options,
)
from l4f_datagen.core.errors import L4FError, UsageError

sheet_options = added([
    source_options,
    option("--seeds", str, "One row per seed, at most 64.", "0-3"),
    option("--psi --trunc", click.FloatRange(0, 2), None, 0.7),
    option("--out", FILE, "PNG to write.", required=True),
])  # fmt: skip


@click.group()
def inspect() -> None:
    """Show what is in a checkpoint, a generator or a dataset."""


@inspect.command("checkpoint")
@click.argument("source", metavar="FILE|URL")
@JSON
@CLASS
@OFFLINE
def inspect_checkpoint(source: str, as_json: bool, class_index: int | None, offline: bool) -> None:
    r"""Print what a checkpoint holds: a file, or an address as `make --generator` takes it.

    \b
    l4f-datagen inspect checkpoint network.pkl
    l4f-datagen inspect checkpoint alpha.safetensors --json
    l4f-datagen inspect checkpoint catalogue:ada-metfaces
    """
    from l4f_datagen.checkpoints.convert import checkpoint_facts
    from l4f_datagen.recipe.domains import weights_path

    path = weights_path(source, "generator", offline=offline, key=f"inspect checkpoint {source}")
    facts = checkpoint_facts(path, class_index)
    text = "\n".join(f"{name:18s} {value}" for name, value in facts.items())
    echo(facts if as_json else text)


@inspect.command("dataset")
@click.argument("dataset", type=FILE)
@JSON
def inspect_dataset(dataset: Path, as_json: bool) -> None:
    r"""Print counts, scores and origin of a finished dataset.

    \b
    l4f-datagen inspect dataset cars
    l4f-datagen inspect dataset cars --json
    """
    from l4f_datagen.report.records import dataset_facts, facts_text

    facts = dataset_facts(dataset)
    echo(facts if as_json else facts_text(facts))


@inspect.command("sample")
@click.argument("dataset", type=FILE)
@click.argument("key")
@option("--out --outdir", FILE, "Folder of the three files.", required=True)
@option("--generator", FILE, "New path of the generator.")
@option("--alpha", FILE, "New path of the alpha network.")
@option("--latents", FILE, "New path of the latents.")
@option("--device", str, "Default: the kind of device that the dataset was made on.")
@OFFLINE
def inspect_sample(
    dataset: Path, key: str, out: Path, device: str | None, offline: bool, **named: Path | None
) -> None:
    r"""Render one sample of a dataset again, accepted or rejected: image, mask and alpha.

    Its whole block is rendered, so that the bytes are those of the dataset. The exit code is 1 if
    the files of the dataset differ.

    \b
    l4f-datagen inspect sample cars psi0700-seed0000012 --out one
    l4f-datagen inspect sample cars psi0700-seed0000012 --out one --generator moved.pkl
    """
    from l4f_datagen.pipeline.provenance import make_again

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
@sheet_options
def inspect_trgb(**options: Any) -> None:
    r"""Show what each resolution adds to the image: the ToRGB maps, stretched to full range.

    As in the appendix of the paper, from which it chose the layers the alpha network reads.

    \b
    l4f-datagen inspect trgb --domain toy-cars --out trgb.png
    l4f-datagen inspect trgb --generator my.pkl --seeds 0-7 --out trgb.png
    """
    from l4f_datagen.report.features import trgb_sheet

    _write_sheet(trgb_sheet, **options)


@inspect.command("features")
@sheet_options
def inspect_features(**options: Any) -> None:
    r"""Show the features of each resolution: three principal components as colours.

    \b
    l4f-datagen inspect features --domain toy-cars --out features.png
    l4f-datagen inspect features --generator my.pkl --psi 1 --out features.png
    """
    from l4f_datagen.report.features import feature_sheet

    _write_sheet(feature_sheet, **options)


def _write_sheet(
    draw: Any, seeds: str, psi: float, out: Path, device: str, offline: bool, **source: Any
) -> None:
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


@click.command()
@click.argument("source", type=FILE)
@click.argument("target", type=FILE)
@CLASS
@option("--half", bool, "Store half precision; images may change by one level.")
@option("--overwrite", bool, "Replace an existing file.")
def convert(
    source: Path, target: Path, class_index: int | None, half: bool, overwrite: bool
) -> None:
    r"""Convert any StyleGAN2 checkpoint to a self-describing safetensors file.

    Images stay bit-identical (without --half). Licence and origin are kept in the new file.

    \b
    l4f-datagen convert network.pkl generator.safetensors
    l4f-datagen convert network.pkl small.safetensors --half
    """
    from l4f_datagen.checkpoints.convert import convert as write_converted

    write_converted(source, target, class_index=class_index, half=half, overwrite=overwrite)
    click.echo(str(target))


SHOWN = 20
"""Problems that ``verify`` prints: about a screen."""


@click.command()
@click.argument("dataset", type=FILE)
@option("--remove-changed", bool, "Delete changed files, so that `make` writes their shards again.")
@JSON
def verify(dataset: Path, remove_changed: bool, as_json: bool) -> None:
    r"""Compare every file of a finished dataset with the hashes in its manifest.

    Lists each file that is missing, cut short, changed or not part of the dataset, with a remedy.
    The exit code is 1 if there is one. Works on folders that `make` has finished and on datasets
    downloaded from the Hugging Face Hub.

    \b
    Examples:
      l4f-datagen verify out/cars
      l4f-datagen verify out/cars --json
    """
    from l4f_datagen.core.progress import Meter
    from l4f_datagen.dataset import verify as checks
    from l4f_datagen.dataset.manifest import read_manifest

    files = checks.count_files(read_manifest(dataset))
    with Meter(files, "verify", "files") as meter:
        problems = checks.verify_dataset(dataset, meter.advance)
    if remove_changed:
        checks.remove_changed(dataset, problems)
    if as_json:
        problems_json = list(map(asdict, problems))
        echo({"dataset": str(dataset), "files": files, "problems": problems_json})
    else:
        for problem in problems[:SHOWN]:
            click.echo(str(problem))
        if len(problems) > SHOWN:
            click.echo(f"and {len(problems) - SHOWN} more; --json lists all")
    if problems:
        raise L4FError(
            str(dataset),
            f"{len(problems)} of {files} files are not as manifest.json lists them",
            "run the same `make` again now" if remove_changed else "do what each line says",
        )
    if not as_json:
        click.echo(f"{files} files are as manifest.json lists them")
