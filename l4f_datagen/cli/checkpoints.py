"""``l4f-datagen convert`` and ``l4f-datagen inspect``: any checkpoint, looked at or made safe."""

import json
from pathlib import Path

import click

from l4f_datagen.cli.source import FILE


@click.command()
@click.argument("source", type=FILE)
@click.argument("target", type=FILE)
@click.option("--class", "class_index", type=click.IntRange(0), help="Conditional networks.")
@click.option("--half", is_flag=True, help="Store half precision; images may move by a level.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def convert(
    source: Path, target: Path, class_index: int | None, half: bool, overwrite: bool
) -> None:
    """Convert any StyleGAN2 checkpoint to a self-describing safetensors file.

    Images stay bit-identical (without --half); licence and origin are carried along.
    """
    from l4f_datagen.checkpoints.convert import convert as write_converted

    write_converted(source, target, class_index=class_index, half=half, overwrite=overwrite)
    click.echo(str(target))


@click.group()
def inspect() -> None:
    """Look inside things."""


@inspect.command("checkpoint")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--class", "class_index", type=click.IntRange(0), help="Conditional networks.")
def inspect_checkpoint(file: Path, as_json: bool, class_index: int | None) -> None:
    """Print what a checkpoint holds."""
    from l4f_datagen.checkpoints.convert import checkpoint_facts

    facts = checkpoint_facts(file, class_index)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        click.echo(f"{name:18s} {value}")
