"""``inspect``, ``convert``, ``recipes`` and ``doctor``: what is in files, and on this machine."""

import io
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from l4f_datagen.cli import options as shared
from l4f_datagen.cli.options import CLASS, FILE, JSON, OFFLINE, echo, option
from l4f_datagen.core.errors import L4FError, UsageError

SHEET = shared.added(
    shared.SOURCE,
    option("--seeds", str, "One row per seed, at most 64.", "0-3"),
    option("--psi --trunc", click.FloatRange(0, 2), None, 0.7),
    option("--out", FILE, "PNG to write.", required=True),
)


@click.group()
def inspect() -> None:
    """Show what is in a checkpoint, a generator or a dataset."""


@inspect.command("checkpoint")
@click.argument("source", metavar="FILE|URL")
@JSON
@CLASS
@OFFLINE
def inspect_checkpoint(source: str, as_json: bool, class_index: int | None, offline: bool) -> None:
    """Print what a checkpoint holds: a file, or an address as `make --generator` takes it.

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
    """Print counts, scores and origin of a finished dataset.

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
    """Render one sample of a dataset again, accepted or rejected: image, mask and alpha.

    Its whole block is rendered, so that the bytes are those of the dataset. The exit code is 1 if
    the files of the dataset differ.

    l4f-datagen inspect sample cars psi0700-seed0000012 --out one
    l4f-datagen inspect sample cars psi0700-seed0000012 --out one --generator moved.pkl
    """
    from l4f_datagen.pipeline.provenance import make_again

    made = make_again(dataset, key, out, named=shared.given(named), device=device, offline=offline)
    for path in made["files"]:
        click.echo(str(path))
    if made["same"] is False:
        remedy = "use the kind of machine and the package version of its manifest"
        raise L4FError(key, "differs from the files of the dataset", remedy)
    if made["same"]:
        click.echo("same bytes as in the dataset", err=True)


@inspect.command("trgb")
@SHEET
def inspect_trgb(**options: Any) -> None:
    """Show what each resolution adds to the image: the ToRGB maps, stretched to full range.

    As in the appendix of the paper, from which it chose the layers the alpha network reads.

    l4f-datagen inspect trgb --domain toy-cars --out trgb.png
    l4f-datagen inspect trgb --generator my.pkl --seeds 0-7 --out trgb.png
    """
    _write_sheet("trgb_sheet", **options)


@inspect.command("features")
@SHEET
def inspect_features(**options: Any) -> None:
    """Show the features of each resolution: three principal components as colours.

    l4f-datagen inspect features --domain toy-cars --out features.png
    l4f-datagen inspect features --generator my.pkl --psi 1 --out features.png
    """
    _write_sheet("feature_sheet", **options)


def _write_sheet(
    name: str, seeds: str, psi: float, out: Path, device: str, offline: bool, **source: Any
) -> None:
    """Write what a function of ``report.features`` draws of the images of some seeds."""
    from l4f_datagen.io.disk import write_named
    from l4f_datagen.models.devices import choose_device
    from l4f_datagen.pipeline.networks import obtain_generator
    from l4f_datagen.recipe.seeds import parse_seeds
    from l4f_datagen.report import features

    if not math.isfinite(psi):
        raise UsageError("--psi", f"expected a number from 0 to 2, got {psi}", "give --psi 0.7")
    chosen = parse_seeds(seeds)
    if len(chosen) > features.MAX_SEEDS:
        raise UsageError("--seeds", f"names {len(chosen)}", f"name {features.MAX_SEEDS} at most")
    recipe = shared.resolve_recipe(source, uses_alpha=False)
    _, generator = obtain_generator(recipe.generator, choose_device(device), offline=offline)
    sheet = getattr(features, name)(generator, list(chosen), psi)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=6)
    click.echo(str(write_named(out, buffer.getvalue())))


@click.command()
@click.argument("source", type=FILE)
@click.argument("target", type=FILE)
@CLASS
@option("--half", bool, "Store half precision; images may change by one level.")
@option("--overwrite", bool, "Replace an existing file.")
def convert(source: Path, target: Path, **options: Any) -> None:
    """Convert any StyleGAN2 checkpoint to a self-describing safetensors file.

    Images stay bit-identical (without --half). Licence and origin are kept in the new file.

    l4f-datagen convert network.pkl generator.safetensors
    l4f-datagen convert network.pkl small.safetensors --half
    """
    from l4f_datagen.checkpoints.convert import convert as write_converted

    write_converted(source, target, **options)
    click.echo(str(target))


@click.group()
def recipes() -> None:
    """List, show, copy and check recipes."""


@recipes.command("list")
@JSON
def list_recipes(as_json: bool) -> None:
    """List the shipped domains.

    l4f-datagen recipes list
    l4f-datagen recipes list --json
    """
    from l4f_datagen.recipe.domains import describe_domains

    rows = describe_domains()
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    echo(rows if as_json else "\n".join(table))


@recipes.command("show")
@click.argument("domain")
def show_recipe(domain: str) -> None:
    """Print a shipped recipe.

    l4f-datagen recipes show toy-cars
    l4f-datagen recipes show ffhq > my.yaml
    """
    from l4f_datagen.recipe.domains import find_recipe

    click.echo(find_recipe(domain).read_text(encoding="utf-8"), nl=False)


@recipes.command("copy")
@click.argument("domain")
@click.argument("target", type=FILE)
@option("--force", bool, "Replace an existing file.")
def copy_recipe(domain: str, target: Path, force: bool) -> None:
    """Copy a shipped recipe to TARGET for editing.

    l4f-datagen recipes copy toy-cars my.yaml
    l4f-datagen make --recipe my.yaml --n 100 --out mine
    """
    from l4f_datagen.recipe.domains import find_recipe

    text = find_recipe(domain).read_text(encoding="utf-8")
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(str(target), "exists", "name another file or use --force") from None
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(str(target), problem, "name another") from error
    click.echo(str(target))


@recipes.command("check")
@click.argument("files", nargs=-1, required=True, type=FILE)
def check_recipes(files: tuple[Path, ...]) -> None:
    """Check recipe files and report all problems at once.

    l4f-datagen recipes check my.yaml
    l4f-datagen recipes check recipes/*.yaml
    """
    from l4f_datagen.recipe.domains import load_recipe

    for file in files:
        click.echo(f"{file}: ok, domain {load_recipe(file).domain}")


@click.command()
@option("--out", FILE, "Folder whose disk is looked at.", ".")
@option("--no-render", bool, "Skip the test render of the shipped toy cars.")
@JSON
def doctor(out: Path, no_render: bool, as_json: bool) -> None:
    """Check packages, devices, cache, disk and token, and render a few samples.

    Exit code 1 where `make` cannot work.

    l4f-datagen doctor
    l4f-datagen doctor --out /data --json
    """
    from l4f_datagen.pipeline.doctor import examine

    findings = examine(out, render=not no_render)
    lines = []
    for finding in findings:
        advice = f"  ({finding.advice})" if finding.advice else ""
        mark = " " if finding.healthy else "!"
        lines.append(f"{mark} {finding.name:14s} {finding.value}{advice}")
    echo([asdict(finding) for finding in findings] if as_json else "\n".join(lines))
    failed = [finding.name for finding in findings if not finding.healthy]
    if failed:
        raise L4FError("doctor", f"needs attention: {', '.join(failed)}", "follow the advice above")
