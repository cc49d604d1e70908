"""``merge``, ``verify``, ``report``, ``card``, ``refine``, ``push``: datasets to be published."""

import logging
import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from l4f_datagen.cli.options import DEVICE, FILE, JSON, OFFLINE, PLACE, echo, option
from l4f_datagen.core.errors import L4FError, UsageError

if TYPE_CHECKING:
    from l4f_datagen.hub.content import Pushed
    from l4f_datagen.hub.publish import Push
    from l4f_datagen.hub.remote import Changes, Remote

logger = logging.getLogger(__name__)


@click.command()
@click.argument("parts", nargs=-1, required=True, type=PLACE, metavar="OUT | PARTS...")
@option("--out --outdir", PLACE, "New dataset folder, to copy PARTS into.")
@option("--fill", bool, "Render missing shards here.")
@DEVICE
@OFFLINE
@JSON
def merge(
    parts: tuple[Path | str, ...], out: Path | str | None, as_json: bool, **options: Any
) -> None:
    """Finish a dataset that jobs of `make --shard i/n` made: indexes, card, contact sheet.

    If the jobs shared one folder or URL, name it alone, else the folders of all jobs and --out. The
    result has the bytes of one make. Where accepted samples count, the last shard is made again.

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
    counts = merge_dataset(place, folders if out else (), **options)["counts"]
    text = f"{counts['accepted']} samples of {counts['attempted']} attempts in {place}"
    echo({"out": str(place), "counts": counts} if as_json else text)


SHOWN = 20  # problems that ``verify`` prints: about a screen


@click.command()
@click.argument("dataset", type=FILE)
@option("--remove-changed", bool, "Delete changed files, so that `make` writes their shards again.")
@JSON
def verify(dataset: Path, remove_changed: bool, as_json: bool) -> None:
    """Compare every file of a finished dataset with the hashes in its manifest.

    Lists each file that is missing, cut short, changed or not part of the dataset, with a remedy.
    The exit code is 1 if there is one. Works on downloads from the Hugging Face Hub too.

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
    text = [str(problem) for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        text.append(f"and {len(problems) - SHOWN} more; --json lists all")
    if not problems:
        text.append(f"{files} files are as manifest.json lists them")
    facts = {"dataset": str(dataset), "files": files, "problems": list(map(asdict, problems))}
    echo(facts if as_json else "\n".join(text))
    if problems:
        problem = f"{len(problems)} of {files} files are not as manifest.json lists them"
        remedy = "run the same `make` again now" if remove_changed else "do what each line says"
        raise L4FError(str(dataset), problem, remedy)


@click.command()
@click.argument("dataset", type=FILE)
@option("--out", FILE, "File to write. Default: in the dataset's folder.")
@option("--contact-sheet", bool, "Write contact_sheet.png instead of the page.")
def report(dataset: Path, out: Path | None, contact_sheet: bool) -> None:
    """Write DATASET/report.html: numbers, charts and a gallery, worst samples first.

    The page is one file that opens from disk and needs no network. `make` writes it too; this
    command is for a dataset of an older version, or one that was fetched from the Hub.

    l4f-datagen report cars
    l4f-datagen report cars --contact-sheet --out cars.png
    """
    from l4f_datagen.report.pages import write_contact_sheet, write_page

    write = write_contact_sheet if contact_sheet else write_page
    click.echo(str(write(dataset, out)))


@click.command()
@click.argument("folder", type=FILE, metavar="DATASET")
def card(folder: Path) -> None:
    """Write DATASET/README.md anew from its manifest and recorded scores.

    What you wrote below the card's marker stays.

    l4f-datagen card cars
    l4f-datagen validate --pred cars --truth labels --record && l4f-datagen card cars
    """
    from l4f_datagen.report.card import rewrite_card

    click.echo(str(rewrite_card(folder)))


@click.command()
@option("--images", FILE, "Folder of the images.", required=True)
@option("--masks", FILE, "Folder of their masks, of the same names.", required=True)
@option("--out --outdir", FILE, "Folder to write.", required=True)
@option("--method", "guided|matting", "Guided filter, or closed-form (needs pymatting).", "guided")
@JSON
def refine(images: Path, masks: Path, out: Path, method: Any, as_json: bool) -> None:
    """Draw masks to the edges of their images.

    Writes a soft OUT/alpha/NAME.png and a hard OUT/masks/NAME.png for each mask. In a dataset,
    `make` does the same before masks are cut and filtered.

    l4f-datagen refine --images photos --masks masks --out refined
    l4f-datagen refine --images photos --masks masks --out refined --method matting
    """
    from l4f_datagen.core.progress import Meter
    from l4f_datagen.rendering.refine import refine_files

    with Meter(None, "refine", "masks") as meter:
        counts = refine_files(images, masks, out, method, meter.advance)
    text = f"{counts['masks']} masks in {out}/masks, soft in {out}/alpha"
    if counts["unchanged"]:
        text += f"\n{counts['unchanged']} of them are as they were"
    echo({"out": str(out), **counts} if as_json else text)


PREVIEW_LINES = 14  # of the card in a dry run: title, description, counts, how it was labelled

VISIBILITY = option(
    "--private/--public", bool, "Default: private if the licence forbids commercial use."
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
    folder: Path, repo: str | None, to_folder: Path | None, as_json: bool, **options: Any
) -> None:
    """Publish a finished dataset on the Hugging Face Hub.

    Without --yes it shows what would be sent, replaced and removed, and the card. The token comes
    from HF_TOKEN or the usual login. Then load_dataset("user/name") and the Hub's viewer read it.

    l4f-datagen push cars user/cars          # look at files, bytes, visibility and card
    l4f-datagen push cars user/cars --yes    # publish; run it again after an interruption
    l4f-datagen push cars --to-folder copy   # the same files, on this machine
    """
    from l4f_datagen.hub.content import push_to_folder
    from l4f_datagen.hub.publish import ask_hub
    from l4f_datagen.hub.publish import push as publish

    yes, replace = options.pop("yes"), options.pop("replace")
    content = {"also": options.pop("also"), "verify": not options.pop("no_verify")}
    if to_folder is not None:
        asked = {"--yes": yes, "--private or --public": options["private"] is not None}
        asked |= {"--tag": options["tag"], "USER/NAME": repo, "--replace": replace}
        asked |= {"--revision": options["revision"] != "main"}
        if named := [name for name, value in asked.items() if value]:
            problem = f"given together with {', '.join(named)}, which speak to the Hub"
            raise UsageError("--to-folder", problem, "name one of them")
        done = push_to_folder(folder, to_folder, **content)
        facts = {"folder": done.url, "files": done.files, "size": done.size}
        text = (
            f"{done.files} files copied to {to_folder}, {done.size:,} bytes\n"
            f'load it      datasets.load_dataset("{to_folder}")\n'
            f"publish it   l4f-datagen push {shlex.quote(str(folder))} USER/NAME"
        )
        echo({**facts, "removed": done.removed} if as_json else text)
        return
    if repo is None:
        remedy = "name the repository, or --to-folder DIR for a copy on this machine"
        raise UsageError("USER/NAME", "is not given", remedy)
    job = planned_push(folder, repo, **options, **content)
    if yes:
        done = publish(job, replace=replace)
        echo(vars(done) if as_json else result_text(done))
    else:
        plan = _plan_text if not as_json else _plan
        echo(plan(job, *ask_hub(job)))


def planned_push(folder: Path, repo: str, **options: Any) -> "Push":
    """Return what ``plan_push`` does, and log its notes."""
    from l4f_datagen.hub.publish import plan_push

    job = plan_push(folder, repo, **options)
    for note in job.content.notes:
        logger.warning("%s", note)
    return job


def result_text(done: "Pushed") -> str:
    """Say what a push did."""
    if not done.files and not done.removed:
        return f"{done.url}: up to date, nothing was sent"
    removed = f", {done.removed} old files removed" if done.removed else ""
    kind = "private" if done.private else "public"
    return f"{done.url} ({kind}): {done.files} files sent, {done.size:,} bytes{removed}"


def _plan(job: "Push", remote: "Remote", changes: "Changes") -> dict[str, Any]:
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
    plan = _plan(job, remote, changes)
    folders, sizes = Counter[str](), Counter[str]()
    for file in job.content.samples:
        name = file.path.partition("/")[0] + "/"
        folders[name] += 1
        sizes[name] += file.size
    lines = [f"{sizes[name]:>16,}  {name} ({number} files)" for name, number in folders.items()]
    lines += [f"{file.size:>16,}  {file.path}" for file in job.content.pages]
    lines += [f"{plan['bytes']:>16,}  bytes in {len(plan['files'])} files", "", "card:"]
    body = plan["card"].split("\n---\n", 1)[-1].strip().splitlines()
    lines += [f"  | {line}".rstrip() for line in body[:PREVIEW_LINES]]
    if (more := len(body) - PREVIEW_LINES) > 0:
        lines.append(f"  | ... {more} lines more in {job.folder}/README.md")
    kind = f"{'' if plan['exists'] else 'new '}{'private' if plan['private'] else 'public'} dataset"
    lines += ["", f"to the {kind} {job.repo}, revision {job.revision}"]
    send, there = len(plan["send"]), len(plan["files"]) - len(plan["send"])
    lines.append(f"{send} files to send, {plan['send_bytes']:,} bytes; {there} are there")
    lines += [f"{len(plan['remove'])} old files to remove"] if plan["remove"] else []
    lines += [f"replaces {what}" for what in plan["replaces"]]
    flags = "--replace --yes" if plan["replaces"] else "--yes"
    return "\n".join([*lines, f"nothing was sent; add {flags} to publish"])
