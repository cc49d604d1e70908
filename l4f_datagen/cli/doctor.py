"""``l4f-datagen doctor``: is this machine ready?"""

import json
from dataclasses import asdict
from pathlib import Path

import click

from l4f_datagen.cli.source import FILE


@click.command()
@click.option("--out", type=FILE, default=".", help="Folder whose disk is checked.")
@click.option("--no-render", is_flag=True, help="Skip the test render of the embedded domain.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
def doctor(out: Path, no_render: bool, as_json: bool) -> None:
    """Check packages, devices, cache, disk and token, and render a few samples.

    The exit code is 1 if `make` cannot work here.
    """
    from l4f_datagen.core.errors import L4FError
    from l4f_datagen.pipeline.doctor import examine

    findings = examine(out, render=not no_render)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            advice = f"  ({finding.advice})" if finding.advice else ""
            mark = " " if finding.healthy else "!"
            click.echo(f"{mark} {finding.name:14s} {finding.value}{advice}")
    ill = [finding.name for finding in findings if not finding.healthy]
    if ill:
        raise L4FError("doctor", f"needs attention: {', '.join(ill)}", "follow the advice above")
