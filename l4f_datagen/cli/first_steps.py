"""First steps: ``quickstart``, ``doctor``, ``sample`` and ``recipes``."""

import sys
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from l4f_datagen.cli.make import counts_text, next_steps
from l4f_datagen.cli.options import (
    FILE,
    JSON,
    PSI_LIST,
    echo,
    given,
    option,
    resolve_recipe,
    source_options,
)
from l4f_datagen.core.errors import L4FError, UsageError


@click.command()
@option("--out --outdir", FILE, "Folder of the dataset.", "l4f-quickstart")
@option("--domain", str, "A domain of `recipes list`.", "toy-cars")
@option("--n number", click.IntRange(1, 10_000), "How many samples.", 64)
@option("--open/--no-open opens", bool, "Open the report in a browser. Default: on a terminal.")
def quickstart(out: Path, domain: str, number: int, opens: bool | None) -> None:
    r"""Make a small dataset with weights that ship with the package, and open its report.

    It takes about a minute on a CPU and fetches nothing.

    \b
    l4f-datagen quickstart
    l4f-datagen quickstart --out demo --n 200 --no-open
    """
    from l4f_datagen.pipeline.config import MakeConfig
    from l4f_datagen.pipeline.make import make_dataset
    from l4f_datagen.recipe.domains import load_recipe

    recipe = load_recipe(domain)
    counts = make_dataset(MakeConfig(recipe, out, number))["counts"]
    click.echo(counts_text(out, counts))
    click.echo(next_steps(out, recipe.output.formats))
    if opens or (opens is None and sys.stdout.isatty()):
        webbrowser.open((out / "report.html").absolute().as_uri())


@click.command()
@option("--out", FILE, "Folder whose disk is looked at.", ".")
@option("--no-render", bool, "Skip the test render of the shipped toy cars.")
@JSON
def doctor(out: Path, no_render: bool, as_json: bool) -> None:
    r"""Check packages, devices, cache, disk and token, and render a few samples.

    Exit code 1 where `make` cannot work.

    \b
    l4f-datagen doctor
    l4f-datagen doctor --out /data --json
    """
    from l4f_datagen.pipeline.doctor import examine

    findings = examine(out, render=not no_render)
    if as_json:
        echo([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            advice = f"  ({finding.advice})" if finding.advice else ""
            mark = " " if finding.healthy else "!"
            click.echo(f"{mark} {finding.name:14s} {finding.value}{advice}")
    failed = [finding.name for finding in findings if not finding.healthy]
    if failed:
        raise L4FError("doctor", f"needs attention: {', '.join(failed)}", "follow the advice above")


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


@click.group()
def recipes() -> None:
    """List, show, copy and check recipes."""


@recipes.command("list")
@JSON
def list_recipes(as_json: bool) -> None:
    r"""List the shipped domains.

    \b
    l4f-datagen recipes list
    l4f-datagen recipes list --json
    """
    from l4f_datagen.recipe.domains import describe_domains

    rows = describe_domains()
    if as_json:
        echo(rows)
        return
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(map(str.ljust, line, widths)).rstrip())


@recipes.command("show")
@click.argument("domain")
def show_recipe(domain: str) -> None:
    r"""Print a shipped recipe.

    \b
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
    r"""Copy a shipped recipe to TARGET for editing.

    \b
    l4f-datagen recipes copy toy-cars my.yaml
    l4f-datagen make --recipe my.yaml --n 100 --out mine
    """
    from l4f_datagen.recipe.domains import find_recipe

    text = find_recipe(domain).read_text(encoding="utf-8")
    if target.exists() and not force:
        raise UsageError(str(target), "exists", "name another file or use --force")
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise UsageError(str(target), problem, "name another") from error
    click.echo(str(target))


@recipes.command("check")
@click.argument("files", nargs=-1, required=True, type=FILE)
def check_recipes(files: tuple[Path, ...]) -> None:
    r"""Check recipe files and report all problems at once.

    \b
    l4f-datagen recipes check my.yaml
    l4f-datagen recipes check recipes/*.yaml
    """
    from l4f_datagen.recipe.domains import load_recipe

    for file in files:
        recipe = load_recipe(file)
        click.echo(f"{file}: ok, domain {recipe.domain}")
