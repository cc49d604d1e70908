"""Names: what the Hub accepts as a dataset, a revision and a tag, checked before any request."""

import re

from l4f_datagen.core.errors import UsageError

PART = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")
MAX_NAME = 96


def check_repo(name: str) -> str:
    """Return ``user/name``; ``datasets/user/name`` and the dataset's URL are understood.

    Raises:
        UsageError: another form, or characters the Hub refuses.
    """
    short = re.sub(r"^https?://[^/]+/(?=datasets/)", "", name).removeprefix("datasets/").rstrip("/")
    kind, _, rest = short.partition("/")
    if kind in ("models", "spaces") and "/" in rest:
        raise UsageError(name, f"names one of the {kind}", "give a dataset: user/name")
    parts = short.split("/")
    if len(parts) != 2:
        raise UsageError(name, "is not of the form user/name", "give your Hub user name and a name")
    ok = all(PART.fullmatch(part) for part in parts) and len(short) <= MAX_NAME
    if not ok or "--" in short or ".." in short or short.endswith(".git"):
        raise UsageError(
            name,
            "is refused by the Hub",
            f"use letters, digits, '-', '_' and '.', none of - . at an end, no -- or .., not .git, "
            f"{MAX_NAME} characters at most",
        )
    return short


def check_ref(name: str, flag: str) -> str:
    """Return the name of a branch or a tag.

    Raises:
        UsageError: git would refuse it.
    """
    bad = ".." in name or "//" in name or name.endswith(("/", ".", ".lock"))
    if bad or not REF.fullmatch(name):
        raise UsageError(
            f"{flag} {name}", "git refuses this name", "use letters, digits, '.', '-', '_' and '/'"
        )
    return name
