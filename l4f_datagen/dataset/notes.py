"""Notes: what people write below the marker of a data card, kept whenever the card is rewritten."""

from contextlib import suppress
from pathlib import Path

from l4f_datagen.io.disk import remove, write_atomically

CARD = "README.md"
MARKER = (
    "<!-- l4f-datagen: all above is written from manifest.json and replaced when the card is "
    "written anew; what you write below this line is yours and stays. -->"
)
KEPT = ".l4f/notes.md"


def split_card(card: str) -> tuple[str, str | None]:
    """Part a card at its marker into what the tool wrote and what people wrote.

    Returns:
        All before the marker, and all after it; None where there is no marker.
    """
    above, marker, below = card.partition(MARKER)
    return above, (below if marker else None)


def join_card(above: str, notes: str) -> str:
    """Put a card together: the inverse of ``split_card``."""
    return f"{above}{MARKER}{notes}" if notes else f"{above}{MARKER}\n"


def keep_notes(folder: Path) -> None:
    """Save the notes of the card before the card is removed; without a card do nothing."""
    card = _read(folder / CARD)
    if card is None:
        return
    notes = split_card(card)[1]
    if notes and notes.strip():
        write_atomically(folder / KEPT, encode_card(notes), durable=True)
    else:
        remove(folder / KEPT)


def read_notes(folder: Path) -> str:
    """Return the notes: those of the card, or those saved when it was removed."""
    card = _read(folder / CARD)
    notes = None if card is None else split_card(card)[1]
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
