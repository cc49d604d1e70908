"""``merge``, ``report``, ``card``, ``refine`` and ``push``: datasets finished and published."""

import logging
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l4f_datagen.cli.options import DEVICE, FILE, JSON, OFFLINE, PLACE, echo, option
from l4f_datagen.core.errors import UsageError

if TYPE_CHECKING:
    from l4f_datagen.hub.content import Pushed
    from l4f_datagen.hub.publish import Push
    from l4f_datagen.hub.remote import Changes, Remote
    from l4f_datagen.rendering.refine import Method

logger = logging.getLogger(__name__)


@click.command()
@click.argument("parts", nargs=-1, required=True, type=PLACE, metavar="OUT | PARTS...")
@option("--out --outdir", PLACE, "New dataset folder, to copy PARTS into.")
@option("--fill", bool, "Render missing shards here.")
@DEVICE
@OFFLINE
@JSON
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
    from l4f_datagen.pipeline.merge import merge_dataset

    folders = tuple(part for part in parts if isinstance(part, Path))
    if out is None and len(parts) > 1:
        raise UsageError("merge", "takes one OUT, or PARTS with --out", "name --out FOLDER")
    if out is not None and len(folders) < len(parts):
        raise UsageError("merge", "PARTS must be folders", "let the jobs write to one URL")
    place = parts[0] if out is None else out
    manifest = merge_dataset(
        place, folders if out else (), fill=fill, device=device, offline=offline
    )
    counts = manifest["counts"]
    text = f"{counts['accepted']} samples of {counts['attempted']} attempts in {place}"
    echo({"out": str(place), "counts": counts} if as_json else text)


@click.command()
@click.argument("dataset", type=FILE)
@option("--out", FILE, "File to write. Default: in the dataset's folder.")
@option("--contact-sheet", bool, "Write contact_sheet.png instead of the page.")
def report(dataset: Path, out: Path | None, contact_sheet: bool) -> None:
    r"""Write DATASET/report.html: numbers, charts and a gallery, worst samples first.

    The page is one file that opens from disk and needs no network. `make` writes it too; this
    command is for a dataset of an older version, or one that was fetched from the Hub.

    \b
    l4f-datagen report cars
    l4f-datagen report cars --contact-sheet --out cars.png
    """
    from l4f_datagen.report.pages import write_contact_sheet, write_page

    write = write_contact_sheet if contact_sheet else write_page
    click.echo(str(write(dataset, out)))


@click.command()
@click.argument("folder", type=FILE, metavar="DATASET")
def card(folder: Path) -> None:
    r"""Write DATASET/README.md anew from its manifest and recorded scores.

    What you wrote below the card's marker stays.

    \b
    l4f-datagen card cars
    l4f-datagen validate --pred cars --truth labels --record && l4f-datagen card cars
    """
    from l4f_datagen.report.card import rewrite_card

    click.echo(str(rewrite_card(folder)))


@click.command()
@option("--images", FILE, "Folder of the images.", required=True)
@option("--masks", FILE, "Folder of their masks, of the same names.", required=True)
@option("--out --outdir", FILE, "Folder to write.", required=True)
@option(
    "--method",
    "guided|matting",
    "Colours and guided filter, or closed-form matting (needs pymatting).",
    "guided",
)
@JSON
def refine(images: Path, masks: Path, out: Path, method: "Method", as_json: bool) -> None:
    r"""Draw masks to the edges of their images.

    Writes a soft OUT/alpha/NAME.png and a hard OUT/masks/NAME.png for each mask. In a dataset,
    `make` does the same before masks are cut and filtered.

    \b
    Examples:
      l4f-datagen refine --images photos --masks masks --out refined
      l4f-datagen refine --images photos --masks masks --out refined --method matting
    """
    from l4f_datagen.core.progress import Meter
    from l4f_datagen.rendering.refine import refine_files

    with Meter(None, "refine", "masks") as meter:
        counts = refine_files(images, masks, out, method, meter.advance)
    if as_json:
        echo({"out": str(out), **counts})
        return
    click.echo(f"{counts['masks']} masks in {out}/masks, soft in {out}/alpha")
    if counts["unchanged"]:
        click.echo(f"{counts['unchanged']} of them are as they were")


PREVIEW_LINES = 14
"""Lines of the card that a dry run shows: title, description, counts and how it was labelled."""

VISIBILITY = option(
    "--private/--public",
    bool,
    "Visibility; default: private if the licence forbids commercial use, else public.",
)
REPLACE = option("--replace", bool, "Replace another dataset in the repository.")


@click.command()
@click.argument("folder", type=FILE, metavar="DATASET")
@click.argument("repo", metavar="[USER/NAME]", required=False)
@option("--to-folder", FILE, "Copy what would be sent to a folder instead, and ask no Hub.")
@option("--yes", bool, "Publish; without it nothing is changed on the Hub.")
@VISIBILITY
@REPLACE
@option("--revision", str, "Branch; created if missing.", "main")
@option("--tag", str, "Tag the result.")
@option("--also", str, "Also publish png, coco or report.", multiple=True, metavar="FORMAT")
@option("--no-verify", bool, "Skip comparing all files with their hashes.")
@JSON
def push(
    folder: Path,
    repo: str | None,
    to_folder: Path | None,
    yes: bool,
    private: bool | None,
    replace: bool,
    revision: str,
    tag: str | None,
    also: tuple[str, ...],
    no_verify: bool,
    as_json: bool,
) -> None:
    r"""Publish a finished dataset on the Hugging Face Hub.

    Without --yes it shows what would be sent, replaced and removed, and the card. Then
    load_dataset("user/name") and the Hub's viewer read it. The token comes from HF_TOKEN or the
    usual login.

    \b
    l4f-datagen push cars user/cars          # look at files, bytes, visibility and card
    l4f-datagen push cars user/cars --yes    # publish; run it again after an interruption
    l4f-datagen push cars --to-folder copy   # the same files, on this machine
    """
    if to_folder is not None:
        flags = {"--yes": yes, "--private or --public": private is not None, "--tag": tag}
        flags |= {"USER/NAME": repo, "--replace": replace, "--revision": revision != "main"}
        _copy(folder, to_folder, also, not no_verify, as_json, [n for n, on in flags.items() if on])
        return
    if repo is None:
        remedy = "name the repository, or --to-folder DIR for a copy on this machine"
        raise UsageError("USER/NAME", "is not given", remedy)
    from l4f_datagen.hub.publish import ask_hub, plan_push
    from l4f_datagen.hub.publish import push as publish

    job = plan_push(
        folder, repo, private=private, revision=revision, tag=tag, also=also, verify=not no_verify
    )
    for note in job.content.notes:
        logger.warning("%s", note)
    if not yes:
        remote, changes = ask_hub(job)
        shown = _plan if as_json else _plan_text
        echo(shown(job, remote, changes))
        return
    done = publish(job, replace=replace)
    echo(vars(done) if as_json else result_text(done))


def _copy(
    folder: Path, target: Path, also: tuple[str, ...], verify: bool, as_json: bool, hub: list[str]
) -> None:
    from l4f_datagen.hub.content import push_to_folder

    if hub:
        problem = f"given together with {', '.join(hub)}, which speak to the Hub"
        raise UsageError("--to-folder", problem, "name one of them")
    done = push_to_folder(folder, target, also=also, verify=verify)
    if as_json:
        facts = {"folder": done.url, "files": done.files, "size": done.size}
        echo(facts | {"removed": done.removed})
        return
    click.echo(f"{done.files} files copied to {target}, {done.size:,} bytes")
    click.echo(f'load it      datasets.load_dataset("{target}")')
    click.echo(f"publish it   l4f-datagen push {shlex.quote(str(folder))} USER/NAME")


def result_text(done: "Pushed") -> str:
    """Say what a push did."""
    if not done.files and not done.removed:
        return f"{done.url}: up to date, nothing was sent"
    removed = f", {done.removed} old files removed" if done.removed else ""
    kind = "private" if done.private else "public"
    return f"{done.url} ({kind}): {done.files} files sent, {done.size:,} bytes{removed}"


def _plan(job: "Push", remote: "Remote", changes: "Changes") -> dict[str, object]:
    return {
        "repo": job.repo,
        "revision": job.revision,
        "exists": remote.exists,
        "private": remote.private if remote.exists else job.makes_private,
        "files": [{"path": file.path, "bytes": file.size} for file in job.content.files],
        "bytes": job.content.size,
        "send": [file.path for file in changes.files],
        "send_bytes": changes.size,
        "remove": changes.remove,
        "replaces": changes.replaced,
        "card": changes.card.decode("utf-8", "replace"),
    }


def _plan_text(job: "Push", remote: "Remote", changes: "Changes") -> str:
    """List pages by name and files of samples by folder, then what changes on the Hub."""
    folders: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for file in job.content.samples:
        name = file.path.partition("/")[0] + "/"
        folders[name] += 1
        sizes[name] += file.size
    lines = [f"{sizes[name]:>16,}  {name} ({number} files)" for name, number in folders.items()]
    lines += [f"{file.size:>16,}  {file.path}" for file in job.content.pages]
    files, send = job.content.files, changes.files
    lines += [f"{job.content.size:>16,}  bytes in {len(files)} files", "", "card:"]
    card = changes.card.decode("utf-8", "replace")
    body = card.split("\n---\n", 1)[-1].strip().splitlines()
    lines += [f"  | {line}".rstrip() for line in body[:PREVIEW_LINES]]
    more = len(body) - PREVIEW_LINES
    lines += [f"  | ... {more} lines more in {job.folder}/README.md"] if more > 0 else []
    private = remote.private if remote.exists else job.makes_private
    kind = f"{'' if remote.exists else 'new '}{'private' if private else 'public'} dataset"
    lines += ["", f"to the {kind} {job.repo}, revision {job.revision}"]
    there = len(files) - len(send)
    lines += [f"{len(send)} files to send, {changes.size:,} bytes; {there} are there"]
    lines += [f"{len(changes.remove)} old files to remove"] if changes.remove else []
    lines += [f"replaces {what}" for what in changes.replaced]
    flags = "--replace --yes" if changes.replaced else "--yes"
    return "\n".join([*lines, f"nothing was sent; add {flags} to publish"])
