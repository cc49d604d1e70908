"""Content: the files of a finished dataset that are published, checked; their copy as a folder."""

import hashlib
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard

from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.progress import Meter
from l4f_datagen.core.sample import SPLITS
from l4f_datagen.dataset.formats import WRITERS
from l4f_datagen.dataset.indexes import find_marker
from l4f_datagen.dataset.layout import CARD, CARD_MARKER, LEDGER, MARKER, PREVIEW, RECIPE
from l4f_datagen.dataset.manifest import MANIFEST, read_manifest
from l4f_datagen.dataset.verify import count_files, verify_dataset
from l4f_datagen.io.disk import disk_failures, has_size, remove, staged
from l4f_datagen.io.download import file_hash
from l4f_datagen.report.card import card_page, manifest_named

SHEET, REPORT = "contact_sheet.png", "report.html"
MAX_FILES = 100_000  # of one repository (huggingface.co/docs/hub/storage-limits)


@dataclass(frozen=True)
class PushFile:
    """One file to publish: its path in folder and repository, bytes, and recorded SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class PushFiles:
    """Files of the samples, and pages that describe the whole dataset."""

    samples: list[PushFile]
    pages: list[PushFile]

    @property
    def files(self) -> list[PushFile]:
        """All files, those of the samples first."""
        return [*self.samples, *self.pages]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Content(PushFiles):
    """What is published."""

    formats: list[str]
    manifest: dict[str, Any]
    notes: list[str]  # what the user should know before publishing, one line each


@dataclass(frozen=True)
class Pushed:
    """What a push did: the dataset's URL, files and bytes sent, old files removed, visibility."""

    url: str
    files: int
    size: int
    removed: int
    private: bool


def read_content(folder: Path, also: Collection[str] = (), *, verify: bool = False) -> Content:
    """List what is published: the Parquet files of samples, formats or "report" in ``also``.

    ``verify`` compares every file with its recorded SHA-256. UsageError where the dataset is not
    finished, was changed since, or has no such files, and for a card that is missing, broken or of
    another state.
    """
    manifest = read_manifest(folder)
    data, indexes = (folder / MANIFEST).read_bytes(), manifest["indexes"]
    made: list[str] = manifest["formats"]
    for name in also:
        if name != "report" and name not in made:
            remedy = f"it has {', '.join(made)}"
            raise UsageError(f"--also {name}", "the dataset has no such files", remedy)
    if "hf" not in made:
        problem = "has no Parquet files, which load_dataset and the Hub's viewer read"
        raise UsageError(str(folder), problem, "make it with hf among its --formats")
    formats = [name for name in made if name == "hf" or name in also]
    places = sample_places(formats)
    samples = [file for file in _sample_files(folder, manifest) if places.fullmatch(file.path)]
    templates = [RECIPE, LEDGER, SHEET, PREVIEW, *(n for f in formats for n in WRITERS[f].indexes)]
    known = {name.format(split=split) for name in templates for split in SPLITS}
    known |= {REPORT} if "report" in also else set()
    pages = [
        PushFile(name, fact["bytes"], fact["sha256"])
        for name, fact in indexes.items()
        if name in known
    ]
    for page in pages:
        if not (folder / page.path).is_file():
            raise _changed(folder, page.path)
    added = [CARD, MANIFEST]
    if REPORT in known - indexes.keys():
        if not (folder / REPORT).is_file():
            raise UsageError(str(folder), f"has no {REPORT}", "make it with `l4f-datagen report`")
        added.insert(0, REPORT)
    notes = [*_notes(manifest), *_check_card(folder, data)]
    sizes = {name: (folder / name).stat().st_size for name in added}
    pages += [PushFile(name, size, file_hash(folder / name)) for name, size in sizes.items()]
    if (number := len(samples) + len(pages)) > MAX_FILES:
        problem = f"{number} files, the Hub takes {MAX_FILES} at most"
        raise UsageError(str(folder), problem, "leave out formats with a file for each sample")
    if verify:
        with Meter(count_files(manifest), "checking hashes", "files") as meter:
            problems = verify_dataset(folder, meter.advance)
        for first in problems[:1]:
            more = f", and {len(problems) - 1} files more" if len(problems) > 1 else ""
            raise UsageError(str(folder / first.path), f"{first.problem}{more}", first.remedy)
    return Content(samples, pages, formats, manifest, notes)


def sample_places(formats: Collection[str] = tuple(WRITERS)) -> re.Pattern[str]:
    """Return the pattern of all paths at which samples of these formats can be."""
    # Places that start with a dot hold this tool's own state, which is never published.
    places = [p for name in formats for p in (*WRITERS[name].places, *WRITERS[name].flat)]
    patterns = [re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(p)) for p in places if p[0] != "."]
    return re.compile(f"({'|'.join(patterns)})(/.*)?")


def _sample_files(folder: Path, manifest: dict[str, Any]) -> Iterator[PushFile]:
    """List the files of all shards; the markers know each one, the manifest only their sum."""
    for number in (shard["shard"] for shard in manifest["shards"]):
        if (marker := find_marker(folder, number)) is None:
            raise _changed(folder, MARKER.format(shard=number))
        for path, size, digest in marker.files:
            if not has_size(folder / path, size):
                raise _changed(folder, path)
            yield PushFile(path, size, digest)


def _changed(folder: Path, what: str) -> UsageError:
    remedy = "run the same `l4f-datagen make` command again: it repairs the dataset"
    return UsageError(str(folder), f"{what} is not as {MANIFEST} lists it", remedy)


def _notes(manifest: dict[str, Any]) -> Iterator[str]:
    """Tell the limits of the licence, and the paths of this machine that the recipe contains."""
    origin = manifest["provenance"]
    recipe, licence = origin["recipe"], origin["licence"]
    if licence["commercial"] is None:
        yield f"licence: {licence['name']}; the terms of the weights are not known"
    elif not licence["commercial"]:
        limit = "forbids commercial use of the weights; the card passes that limit on to the images"
        yield f"licence: {licence['name']} {limit}"
    named = [recipe["generator"]["weights"], recipe["alpha"]["weights"]]
    named += [recipe["alpha"]["training"]["reals_folder"]]
    named += [recipe["sampling"]["latents"], recipe["output"]["composites_folder"]]
    for path in named:
        if path and Path(path).is_absolute():
            yield f"recipe and manifest contain a path of this machine: {path}"


def _check_card(folder: Path, manifest: bytes) -> list[str]:
    """Check the card against the bytes of the manifest; returns notes for the user."""
    path = folder / CARD
    rewrite = f"write it again with `l4f-datagen card {folder}`: your text below its marker is kept"
    if not path.is_file():
        raise UsageError(str(path), "is missing", rewrite)
    data = path.read_bytes()
    try:
        card = data.decode("utf-8")
        check_head(card)
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 (byte {error.start})"
        raise UsageError(str(path), problem, "save it as UTF-8") from None
    except ValueError as error:
        raise UsageError(str(path), str(error), f"repair it, or {rewrite}") from None
    if manifest_named(card) != hashlib.sha256(manifest).hexdigest():
        raise UsageError(str(path), f"was not written for this {MANIFEST}", rewrite)
    marker = CARD_MARKER.encode()
    if data.partition(marker)[0] == card_page(folder)(manifest).partition(marker)[0]:
        return []
    why = "(edited above its marker, or scores were recorded since)"
    again = f"`l4f-datagen card {folder}` writes it again"
    return [f"{CARD}: differs from what the tool would write now {why}; {again}"]


def check_head(card: str) -> None:
    """Check the YAML head of a card; ValueError where it is missing, broken or has no licence."""
    try:
        head = DatasetCard(card).data
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 2}" if error.problem_mark else ""
        raise ValueError(f"its YAML head is broken{where} ({error.problem})") from None
    except (ValueError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"its YAML head is broken ({said})") from None
    if not head.get("license"):
        raise ValueError("its YAML head is missing or has no license")


def push_to_folder(
    folder: Path, target: Path, *, also: Collection[str] = (), verify: bool = True
) -> Pushed:
    """Copy the files that a push sends; ``load_dataset`` reads the copy. Run again, it goes on.

    ``target`` is new, empty, or an earlier copy of this dataset, else UsageError.
    """
    content = read_content(folder, also, verify=verify)
    here, there, problem = folder.resolve(), target.resolve(), ""
    if there.is_relative_to(here) or here.is_relative_to(there):
        problem = "is in the dataset, or holds it"
    elif target.exists() and not target.is_dir():
        problem = "is a file"
    elif target.exists() and any(target.iterdir()):
        recipe = target / RECIPE
        if not recipe.is_file() or recipe.read_bytes() != (folder / RECIPE).read_bytes():
            problem = "holds something else than a copy of this dataset"
    if problem:
        raise UsageError(f"--to-folder {target}", problem, "name a new folder")
    named = {file.path: file for file in content.files}
    sent = [
        file
        for file in content.files
        if not has_size(target / file.path, file.size)
        or file_hash(target / file.path) != file.sha256
    ]
    places = sample_places()
    old = [path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()]
    gone = [path for path in old if places.fullmatch(path) and path not in named]
    # The recipe first: it tells a copy that was cut short from something else. Card and manifest
    # last: a copy never claims samples that it lacks.
    sent.sort(key=lambda file: (file.path != RECIPE, file.path in (CARD, MANIFEST)))
    meter = Meter(len(sent), "copying", "files")
    with disk_failures(target, "copying the dataset"), meter:
        for name in gone:
            remove(target / name)
        for file in sent:
            path = target / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with (folder / file.path).open("rb") as source, staged(path) as copy:
                shutil.copyfileobj(source, copy)
            meter.advance()
    size = sum(file.size for file in sent)
    return Pushed(str(target), len(sent), size, len(gone), private=True)
