"""``l4f-datagen push``: publish a dataset on the Hugging Face Hub."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l4f_datagen.cli.source import FILE

if TYPE_CHECKING:
    from l4f_datagen.hub import Push, Pushed


@click.command()
@click.argument("folder", type=FILE, metavar="DATASET")
@click.argument("repo", metavar="USER/NAME")
@click.option("--yes", is_flag=True, help="Act; without it only show files and bytes.")
@click.option("--private", is_flag=True, help="Create the repository as a private one.")
@click.option("--revision", default="main", show_default=True, help="Branch, made if need be.")
@click.option("--tag", help="Tag the result.")
@click.option("--also", multiple=True, metavar="FORMAT", help="Publish png, coco or report too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def push(
    folder: Path,
    repo: str,
    yes: bool,
    private: bool,
    revision: str,
    tag: str | None,
    also: tuple[str, ...],
    as_json: bool,
) -> None:
    """Publish a finished dataset so that load_dataset("user/name") and the viewer work.

    Sends Parquet files, card, contact sheet, manifest, recipe and ledger. What has arrived is not
    sent twice. The token comes from HF_TOKEN or the usual login.
    """
    from l4f_datagen.hub import plan_push
    from l4f_datagen.hub import push as act

    job = plan_push(folder, repo, private=private, revision=revision, tag=tag, also=also)
    for note in job.notes:
        click.echo(note, err=True)
    if not yes:
        click.echo(json.dumps(_plan(job), indent=2) if as_json else _plan_text(job))
        return
    done = act(job, say=lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps(vars(done), indent=2))
    else:
        click.echo(told(done))


def told(done: "Pushed") -> str:
    """Say what a push did."""
    if not done.files and not done.removed:
        return f"{done.url}: up to date, nothing was sent"
    removed = f", {done.removed} old files removed" if done.removed else ""
    return f"{done.url}: {done.files} files sent, {done.size:,} bytes{removed}"


def _plan(job: "Push") -> dict[str, object]:
    return {
        "repo": job.repo,
        "revision": job.revision,
        "private": job.private,
        "files": [{"path": file.path, "bytes": file.size} for file in job.files],
        "bytes": job.size,
    }


def _plan_text(job: "Push") -> str:
    """Say what would be sent: pages by name, files of samples by folder."""
    folders: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for file in job.content.shards:
        name = file.path.partition("/")[0] + "/"
        folders[name] += 1
        sizes[name] += file.size
    lines = [f"{sizes[name]:>16,}  {name} ({number} files)" for name, number in folders.items()]
    lines += [f"{file.size:>16,}  {file.path}" for file in job.content.pages]
    where = f"{'private ' if job.private else ''}dataset {job.repo}, revision {job.revision}"
    total = f"{job.size:>16,}  bytes in {len(job.files)} files to {where}"
    return "\n".join([*lines, total, "nothing was sent; add --yes to publish"])
