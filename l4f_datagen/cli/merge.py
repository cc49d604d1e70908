"""``l4f-datagen merge``: one dataset from what shard jobs made."""

import json
from pathlib import Path

import click

from l4f_datagen.core.options import PLACE


@click.command()
@click.argument("parts", nargs=-1, required=True, type=PLACE, metavar="OUT | PARTS...")
@click.option("--out", type=PLACE, help="New dataset folder, to copy PARTS into.")
@click.option("--fill", is_flag=True, help="Render missing shards here.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps.")
@click.option("--offline", is_flag=True, help="Fetch nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
def merge(
    parts: tuple[Path | str, ...],
    out: Path | str | None,
    fill: bool,
    device: str,
    offline: bool,
    as_json: bool,
) -> None:
    r"""Finish a dataset that jobs of `make --shard i/n` made: indexes, card, contact sheet.

    If the jobs shared one folder or URL, name it alone: merge OUT. If each wrote to its own folder,
    name all of them: merge PARTS... --out OUT. The result has the bytes of one make without
    --shard. If accepted samples are counted, the last shard is rendered again.

    \b
    l4f-datagen merge cars                        # jobs that shared one folder
    l4f-datagen merge part0 part1 --out cars      # a folder each
    """
    from l4f_datagen.core.errors import UsageError
    from l4f_datagen.pipeline.merge import MergeConfig, merge_dataset

    folders = tuple(part for part in parts if isinstance(part, Path))
    if out is None and len(parts) > 1:
        raise UsageError("merge", "takes one OUT, or PARTS with --out", "name --out FOLDER")
    if out is not None and len(folders) < len(parts):
        raise UsageError("merge", "PARTS must be folders", "let the jobs write to one URL")
    place = parts[0] if out is None else out
    manifest = merge_dataset(MergeConfig(place, folders if out else (), fill, device, offline))
    counts = manifest["counts"]
    if as_json:
        click.echo(json.dumps({"out": str(place), "counts": counts}, indent=2))
        return
    click.echo(f"{counts['accepted']} samples of {counts['attempted']} attempts in {place}")
