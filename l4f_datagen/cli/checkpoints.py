"""``l4f-datagen convert``: any checkpoint as safetensors."""

from pathlib import Path

import click

from l4f_datagen.cli.source import FILE


@click.command()
@click.argument("source", type=FILE)
@click.argument("target", type=FILE)
@click.option(
    "--class", "class_index", type=click.IntRange(0), help="Class of a class-conditional generator."
)
@click.option("--half", is_flag=True, help="Store half precision; images may change by one level.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
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
