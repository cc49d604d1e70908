"""Layout: where things lie in a dataset folder, and how they are taken away.

```
images/ masks/ labels/ data/ .l4f/coco/ ... what the writers make, one place a shard
yolo/images/train/ ...                      flat folders: the files of all shards
.l4f/flat/00003/names.txt                   which of those files are of shard 3
.l4f/shards/00003.json                      marker: shard 3 is done, and these are its files
.l4f/run.json                               whose folder it is: recipe, its hash, formats
.l4f/notes.md                               what people wrote in the card, kept for the next one
annotations/ ledger.jsonl recipe.yaml manifest.json                         indexes
README.md contact_sheet.png report.html     pages, indexes too
training.png                                likewise, where the alpha network was trained here
```
"""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from l4f_datagen.core.sample import SPLITS
from l4f_datagen.dataset.formats import WRITERS
from l4f_datagen.dataset.formats.files import RejectedShard
from l4f_datagen.dataset.formats.hf import METADATA
from l4f_datagen.dataset.manifest import MANIFEST, RUN
from l4f_datagen.dataset.staging import FLAT, flat_names
from l4f_datagen.io.disk import PART, remove, write_atomically

STATE = ".l4f"
LOCK, MARKER = f"{STATE}/lock", f"{STATE}/shards/{{shard:05d}}.json"
LEDGER, RECIPE, CARD = "ledger.jsonl", "recipe.yaml", "README.md"
PREVIEW = "training.png"
PAGES = (CARD, "contact_sheet.png", "report.html", PREVIEW)
PLACES = (FLAT, *(place for one in WRITERS.values() for place in one.places), *RejectedShard.places)
_TEMPLATES = [name for writer in WRITERS.values() for name in writer.indexes]
# The manifest is the first to go: without it the folder does not claim to be complete.
INDEXES = (
    *(MANIFEST, *PAGES, RECIPE, LEDGER, METADATA),
    *(name.format(split=split) for name in _TEMPLATES for split in SPLITS),
)


def marker_path(folder: Path, shard: int) -> Path:
    """Path of the marker of a finished shard."""
    return folder / MARKER.format(shard=shard)


def marked_shards(folder: Path) -> set[int]:
    """Numbers of the shards that have a marker."""
    return {number for number, path in _numbered(folder, MARKER) if path.suffix != PART}


def drop_indexes(folder: Path) -> None:
    """Remove all indexes; what people wrote in the card is kept."""
    keep_notes(folder)
    for name in INDEXES:
        remove(folder / name)


def drop_shard(folder: Path, shard: int) -> None:
    """Remove a shard, its marker first, and what is staged for it."""
    remove(marker_path(folder, shard))
    for name in flat_names(folder, shard):
        remove(folder / name)
    for place in (MARKER, *PLACES):
        for end in ("", PART):
            remove(folder / (place.format(shard=shard) + end))


def sweep(folder: Path, owns: Callable[[int], bool] | None = None) -> None:
    """Remove what a stopped run left: staged files, and places whose shard has no marker.

    ``owns`` tells which shards to look at, where others are at work on the rest.
    """
    marked = marked_shards(folder)
    for place in (MARKER, *PLACES):
        for number, path in _numbered(folder, place):
            staged = path.suffix == PART
            if (owns is None or owns(number)) and (staged or number not in marked):
                if place == FLAT and not staged:
                    for name in flat_names(folder, number):
                        remove(folder / name)
                remove(path)
    if owns is None:
        for name in (*INDEXES, RUN):
            remove(folder / (name + PART))


def clear(folder: Path) -> None:
    """Remove all that this tool made; other files and the record of the run stay."""
    drop_indexes(folder)
    for shard in sorted(marked_shards(folder)):
        remove(marker_path(folder, shard))
    sweep(folder)


def place_pattern(place: str) -> str:
    """Give the regular expression of a place in every shard, whose number is its group."""
    return re.escape(place).replace(re.escape("{shard:05d}"), r"(\d{5,})")


def _numbered(folder: Path, place: str) -> list[tuple[int, Path]]:
    """List a place, and what is staged for it, for all shards."""
    parent = (folder / place).parent
    name = re.compile(f"{place_pattern(Path(place).name)}(?:{re.escape(PART)})?")
    paths = parent.iterdir() if parent.is_dir() else ()
    return [(int(match[1]), path) for path in paths if (match := name.fullmatch(path.name))]


CARD_MARKER = (
    "<!-- l4f-datagen: all above is written from manifest.json and replaced when the card is "
    "written anew; what you write below this line is yours and stays. -->"
)
KEPT = ".l4f/notes.md"


def split_card(card: str) -> tuple[str, str | None]:
    """Part a card at its marker into what the tool and what people wrote (None: no marker)."""
    above, marker, below = card.partition(CARD_MARKER)
    return above, (below if marker else None)


def join_card(above: str, notes: str) -> str:
    """Put a card together: the inverse of ``split_card``."""
    return above + CARD_MARKER + (notes or "\n")


def keep_notes(folder: Path) -> None:
    """Save the notes of the card before the card is removed; without a card do nothing."""
    if (card := _read(folder / CARD)) is not None:
        notes = split_card(card)[1] or ""
        if notes.strip():
            write_atomically(folder / KEPT, encode_card(notes), durable=True)
        else:
            remove(folder / KEPT)


def read_notes(folder: Path) -> str:
    """Return the notes: those of the card, or those saved when it was removed."""
    notes = split_card(_read(folder / CARD) or "")[1]
    if notes is None:
        notes = _read(folder / KEPT) or ""
    return notes if notes.strip() else ""


def encode_card(card: str) -> bytes:
    """Return a card as bytes; those of the notes that are no UTF-8 come back as they were."""
    return card.encode("utf-8", "surrogateescape")


def _read(path: Path) -> str | None:
    with suppress(FileNotFoundError):
        return path.read_bytes().decode("utf-8", "surrogateescape")
    return None
