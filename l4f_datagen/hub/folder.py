"""Folder: what a push sends, as a folder of this machine, to look at or to publish elsewhere."""

import hashlib
import shutil
from collections.abc import Collection
from pathlib import Path

from l4f_datagen.core.errors import UsageError
from l4f_datagen.core.progress import Meter
from l4f_datagen.dataset.layout import RECIPE
from l4f_datagen.dataset.manifest import MANIFEST
from l4f_datagen.dataset.notes import CARD
from l4f_datagen.hub.content import (
    PushFile,
    check_hashes,
    read_content,
    sample_places,
    total_bytes,
)
from l4f_datagen.hub.publish import Pushed
from l4f_datagen.io.disk import disk_failures, remove, staged


def push_to_folder(
    folder: Path, target: Path, *, also: Collection[str] = (), verify: bool = True
) -> Pushed:
    """Copy the files that a push sends; ``load_dataset`` reads the copy. Run again, it goes on.

    Args:
        folder: a finished dataset.
        target: new, empty, or an earlier copy of this dataset.
        also: further formats, or "report".
        verify: read every file and compare it with its recorded SHA-256.

    Raises:
        UsageError: as ``plan_push``; ``target`` holds something else.
        InputRefused: a damaged manifest.
        L4FError: ``target`` cannot be written.
    """
    content = read_content(folder, also)
    if verify:
        check_hashes(folder, content)
    _check_target(folder, target)
    named = {file.path for file in content.files}
    sent = [file for file in content.files if not _is_there(target, file)]
    places = sample_places()
    old = [path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()]
    gone = [path for path in old if places.fullmatch(path) and path not in named]
    # The recipe first: it tells a copy that was cut short from something else. Card and manifest
    # last: a copy never claims samples that it lacks.
    sent.sort(key=lambda file: (file.path != RECIPE, file.path in (CARD, MANIFEST)))
    with (
        disk_failures(target, "copying the dataset"),
        Meter(len(sent), "copying", "files") as meter,
    ):
        for name in gone:
            remove(target / name)
        for file in sent:
            path = target / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with (folder / file.path).open("rb") as source, staged(path) as copy:
                shutil.copyfileobj(source, copy)
            meter.advance()
    return Pushed(str(target), len(sent), total_bytes(sent), len(gone), True)


def _check_target(folder: Path, target: Path) -> None:
    subject, remedy = f"--to-folder {target}", "name a new folder"
    here, there = folder.resolve(), target.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise UsageError(subject, "is in the dataset, or holds it", remedy)
    if target.exists() and not target.is_dir():
        raise UsageError(subject, "is a file", remedy)
    if target.exists() and any(target.iterdir()):
        recipe = target / RECIPE
        if not recipe.is_file() or recipe.read_bytes() != (folder / RECIPE).read_bytes():
            raise UsageError(subject, "holds something else than a copy of this dataset", remedy)


def _is_there(target: Path, file: PushFile) -> bool:
    path = target / file.path
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
