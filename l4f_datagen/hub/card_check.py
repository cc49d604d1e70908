"""Card check: whether a card may be published, before anything is sent."""

import hashlib
from pathlib import Path

import yaml

from l4f_datagen.core.errors import UsageError
from l4f_datagen.dataset.manifest import MANIFEST
from l4f_datagen.dataset.notes import CARD, MARKER
from l4f_datagen.report.card import card_page, manifest_named


def check_card(folder: Path) -> list[str]:
    """Check the card of a finished dataset against its manifest.

    Returns:
        What the user should know, one line each.

    Raises:
        UsageError: no card, broken YAML, or a card of another state of the dataset.
    """
    path = folder / CARD
    anew = f"write it anew with `l4f-datagen card {folder}`: what stands below its marker is kept"
    if not path.is_file():
        raise UsageError(str(path), "there is no card", anew)
    data, manifest = path.read_bytes(), (folder / MANIFEST).read_bytes()
    try:
        check_head(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(
            str(path), f"is not UTF-8 (byte {error.start})", "save it as UTF-8"
        ) from None
    except ValueError as error:
        raise UsageError(str(path), str(error), f"repair it, or {anew}") from None
    if manifest_named(data.decode("utf-8")) != hashlib.sha256(manifest).hexdigest():
        raise UsageError(str(path), f"was not written for this {MANIFEST}", anew)
    marker = MARKER.encode()
    if data.partition(marker)[0] != card_page(folder)(manifest).partition(marker)[0]:
        return [
            f"{CARD}: not what the tool would write now (edited above its marker, or scores were "
            f"recorded since); `l4f-datagen card {folder}` writes it anew"
        ]
    return []


def check_head(card: str) -> None:
    """Check the YAML head of a card.

    Raises:
        ValueError: no head, broken YAML, or no licence.
    """
    lines = card.splitlines()
    end = next((at for at, line in enumerate(lines) if at and line.rstrip() == "---"), None)
    if not lines or lines[0].rstrip() != "---" or end is None:
        raise ValueError("its YAML head, between two lines of ---, is gone")
    try:
        head = yaml.safe_load("\n".join(lines[1:end]))
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 2}" if error.problem_mark else ""
        raise ValueError(f"its YAML head is broken{where} ({error.problem})") from None
    except yaml.YAMLError as error:
        raise ValueError(f"its YAML head is broken ({error})") from None
    if not isinstance(head, dict):
        raise ValueError("its YAML head is no list of keys and values")
    if not isinstance(head.get("license"), str | list):
        raise ValueError("its YAML head names no license")
