"""Push: a finished dataset becomes a dataset repository; a second push sends what is missing."""

import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from l4f_datagen.core.errors import NetworkError
from l4f_datagen.dataset.formats import WRITERS
from l4f_datagen.dataset.layout import LOCK, RECIPE
from l4f_datagen.dataset.manifest import MANIFEST
from l4f_datagen.dataset.notes import CARD, encode_card, join_card, split_card
from l4f_datagen.dataset.ownership import folder_lock
from l4f_datagen.hub.card_check import check_card
from l4f_datagen.hub.content import Content, PushFile, place_pattern, read_content
from l4f_datagen.hub.names import check_ref, check_repo
from l4f_datagen.hub.repository import Repository
from l4f_datagen.hub.session import in_words, open_session

Say = Callable[[str], None]

COMMIT_FILES = 1000
COMMIT_BYTES = 5 * 10**9
"""A commit holds no more than this: an interruption costs little, and the Hub answers in time."""


@dataclass(frozen=True)
class Push:
    """A push that is possible as far as can be told without the Hub.

    Attributes:
        folder: the dataset.
        repo: ``user/name``.
        content: what is published.
        notes: what the user should know before, one line each.
        private: make the repository a private one.
        revision: branch.
        tag: put on the result, or None.
    """

    folder: Path
    repo: str
    content: Content
    notes: list[str]
    private: bool
    revision: str
    tag: str | None

    @property
    def files(self) -> list[PushFile]:
        """All files, those of the samples first."""
        return [*self.content.shards, *self.content.pages]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        url: of the dataset.
        files: how many were sent; with none sent and none removed there was no commit.
        size: their bytes.
        removed: files of an earlier state that were taken away.
    """

    url: str
    files: int
    size: int
    removed: int


def plan_push(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    revision: str = "main",
    tag: str | None = None,
    also: Collection[str] = (),
) -> Push:
    """Check all that can be checked without the Hub.

    Args:
        folder: a finished dataset.
        repo: ``user/name``.
        private: see ``Push``.
        revision: see ``Push``.
        tag: see ``Push``.
        also: further formats to publish, or "report".

    Raises:
        UsageError: a name the Hub refuses; a dataset that is unfinished, changed, without Parquet
            files; a card that is missing, broken or of another state.
    """
    name = check_repo(repo)
    check_ref(revision, "--revision")
    if tag is not None:
        check_ref(tag, "--tag")
    content = read_content(folder, also)
    notes = check_card(folder)
    return Push(
        folder,
        name,
        content,
        [*licence_notes(content), *path_notes(content), *notes],
        private,
        revision,
        tag,
    )


def licence_notes(content: Content) -> list[str]:
    """Say what the generator's terms mean for what is published."""
    licence = content.manifest["provenance"]["licence"]
    if licence["commercial"] is None:
        return [f"licence: {licence['name']}; nobody stated the terms of the weights"]
    if licence["commercial"]:
        return []
    return [
        f"licence: {licence['name']} forbids commercial use of the weights; the card passes that "
        "limit on to the images"
    ]


def path_notes(content: Content) -> list[str]:
    """Say which paths of this machine the published recipe names."""
    recipe = content.manifest["provenance"]["recipe"]
    training = recipe["alpha"]["training"]
    named = [recipe["generator"]["weights"], recipe["alpha"]["weights"], training["reals_folder"]]
    named += [recipe["sampling"]["latents"], recipe["output"]["composites_folder"]]
    paths = [path for path in named if path and Path(path).is_absolute()]
    return [f"recipe and manifest name a path of this machine: {path}" for path in paths]


def push(job: Push, say: Say) -> Pushed:
    """Publish: first the samples, in commits of bounded size, then the pages that speak for them.

    Raises:
        NetworkError: no token, or the Hub or the way there failed; a re-run finishes.
        UsageError: another process writes the dataset.
    """
    api, token = open_session()
    with in_words(job.repo, token), _held(job.folder):
        repository = Repository(api, job.repo, job.revision)
        repository.open(private=job.private)
        repository.read_tree()
        card = merged_card(job.folder, repository, say)
        stale = stale_files(job, repository)
        shards = [file for file in job.content.shards if not repository.holds(job.folder, file)]
        pages = [page for page in job.content.pages if not repository.holds(job.folder, page, card)]
        repository.check_tag(job.tag, changes=bool(shards or pages or stale))
        if any(page.path == CARD for page in pages):
            repository.check_card(card)
        # The recipe goes first: it tells a repository begun by this tool from one of others.
        early = [page for page in pages if page.path == RECIPE] if shards else []
        for batch in batches([*early, *shards]):
            with linked(job.folder, batch, card) as folder:
                repository.upload(folder, f"Add samples of {job.folder.name}")
        if shards:
            repository.read_tree()
            repository.verify(shards)
        late = [page for page in pages if page not in early]
        if late or stale:
            with linked(job.folder, late, card) as folder:
                repository.upload(folder, f"Card and manifest of {job.folder.name}", stale)
        repository.put_tag(job.tag)
    sent = [*shards, *pages]
    return Pushed(repository.url, len(sent), sum(file.size for file in sent), len(stale))


def merged_card(folder: Path, repository: Repository, say: Say) -> bytes:
    """Return the card to publish: notes written on the Hub stay where the folder has none."""
    ours = (folder / CARD).read_bytes()
    above, notes = split_card(ours.decode("utf-8", "surrogateescape"))
    theirs = split_card(repository.read(CARD).decode("utf-8", "replace"))[1] or ""
    if not theirs.strip() or theirs == notes:
        return ours
    if notes is None or notes.strip():
        say(
            f"{CARD}: below the marker it says something else on the Hub; what is here takes its "
            "place (the repository's history keeps the other)"
        )
        return ours
    return encode_card(join_card(above, theirs))


def stale_files(job: Push, repository: Repository) -> list[str]:
    """Name the files that ``load_dataset`` would take for samples, and that are none of ours.

    Raises:
        NetworkError: they were put there by something else than a push.
    """
    ours = {file.path for file in job.content.shards}
    places = [place for name in job.content.formats for place in WRITERS[name].places]
    pattern = re.compile("|".join(map(place_pattern, places)))
    strange = [path for path in repository.tree if path not in ours and pattern.fullmatch(path)]
    if strange and not {RECIPE, MANIFEST} & set(repository.tree):
        raise NetworkError(
            job.repo,
            f"holds another dataset ({strange[0]} and {len(strange) - 1} more)",
            "choose another name, or delete these files there",
        )
    return strange


def batches(files: Iterable[PushFile]) -> Iterator[list[PushFile]]:
    """Cut files into lists of at most ``COMMIT_FILES`` and ``COMMIT_BYTES``."""
    batch: list[PushFile] = []
    size = 0
    for file in files:
        if batch and (len(batch) == COMMIT_FILES or size + file.size > COMMIT_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


@contextmanager
def linked(folder: Path, files: Iterable[PushFile], card: bytes) -> Iterator[Path]:
    """Give a folder of links to just these files, as the client uploads whole folders."""
    with tempfile.TemporaryDirectory(prefix="l4f-push-") as name:
        for file in files:
            path = Path(name) / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.path == CARD:
                path.write_bytes(card)
            else:
                path.symlink_to((folder / file.path).resolve())
        yield Path(name)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep ``make`` from writing the dataset meanwhile; a folder that is read-only is safe."""
    with ExitStack() as stack:
        with suppress(PermissionError):
            stack.enter_context(folder_lock(folder / LOCK, os.fspath(folder)))
        yield
