"""``l4f-datagen convert`` and ``l4f-datagen inspect``: any checkpoint, looked at or made safe."""

import json
from pathlib import Path

import click

from l4f_datagen.cli.source import FILE


@click.command()
@click.argument("source", type=FILE)
@click.argument("target", type=FILE)
def convert(source: Path, target: Path) -> None:
    """Convert any StyleGAN2 checkpoint to a self-describing safetensors file."""
    from l4f_datagen.checkpoints import convert_checkpoint

    convert_checkpoint(source, target)
    click.echo(str(target))


@click.group()
def inspect() -> None:
    """Look inside things."""


@inspect.command("checkpoint")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def inspect_checkpoint(file: Path, as_json: bool) -> None:
    """Print what a checkpoint holds."""
    from l4f_datagen.checkpoints import describe

    facts = describe(file)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        click.echo(f"{name:18s} {value}")
