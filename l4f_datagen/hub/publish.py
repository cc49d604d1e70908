"""Publish: a finished dataset becomes a dataset repository; a second push sends what is missing."""

import logging
import os
import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCard, HfApi

from l4f_datagen.core.errors import NetworkError, UsageError
from l4f_datagen.core.progress import size_text
from l4f_datagen.dataset.layout import CARD, LOCK, RECIPE
from l4f_datagen.dataset.manifest import MANIFEST
from l4f_datagen.dataset.ownership import folder_lock
from l4f_datagen.hub import remote as hub_remote
from l4f_datagen.hub.client import RESUME, hub_session, news, retry
from l4f_datagen.hub.content import Content, Pushed, PushFile, read_content
from l4f_datagen.hub.remote import DATASET, MAIN, Changes, Remote

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Push:
    """A push of a dataset ``folder`` to ``user/name`` that has passed all checks of this machine.

    ``private`` None: as an existing repository is, else where the licence forbids commercial use.
    """

    folder: Path
    repo: str
    content: Content
    private: bool | None
    revision: str
    tag: str | None

    @property
    def makes_private(self) -> bool:
        """Whether a new repository is made private."""
        research_only = self.content.manifest["provenance"]["licence"]["commercial"] is False
        return research_only if self.private is None else self.private


def plan_push(
    folder: Path,
    repo: str,
    *,
    private: bool | None = None,
    revision: str = MAIN,
    tag: str | None = None,
    also: Collection[str] = (),
    verify: bool = True,
) -> Push:
    """Check all that can be checked without the Hub.

    ``also`` names further formats to publish, or "report"; ``verify`` reads every file and compares
    it with its recorded SHA-256. UsageError for a name the Hub refuses, and see ``read_content``.
    """
    name = hub_remote.check_repo(repo)
    hub_remote.check_ref(revision, "--revision")
    if tag is not None:
        hub_remote.check_ref(tag, "--tag")
    content = read_content(folder, also, verify=verify)
    return Push(folder, name, content, private, revision, tag)


def check_destination(
    repo: str, recipe: Mapping[str, Any], *, private: bool | None, replace: bool
) -> None:
    """Check before a dataset is made that it can be published under a name.

    NetworkError where token, rights or visibility do not fit, UsageError where the repository holds
    another dataset and ``replace`` is False.
    """
    repo = hub_remote.check_repo(repo)
    with hub_session(repo) as api:
        remote = hub_remote.read_remote(api, repo, MAIN, private)
        found = remote.manifest
        if found is not None and found["provenance"].get("recipe") != recipe and not replace:
            raise _refusal(repo, [hub_remote.describe(found)])


def ask_hub(job: Push) -> tuple[Remote, Changes]:
    """Find out what a push would change; changes nothing.

    NetworkError for no valid token, no right to write there, another visibility, a tag that stands
    elsewhere, a card that the Hub refuses, or a failure of the Hub.
    """
    with hub_session(job.repo) as api:
        return _checked(api, job)


def push(job: Push, *, replace: bool = False) -> Pushed:
    """Publish: first the samples, in commits of bounded size, at last card and manifest.

    Only with ``replace`` (else UsageError) another dataset goes, and samples that the folder no
    longer has. After a NetworkError the same push, run again, sends what is missing.
    """
    repo: dict[str, Any] = {"repo_id": job.repo, "repo_type": DATASET, "exist_ok": True}
    with ExitStack() as stack:
        api = stack.enter_context(hub_session(job.repo))
        with suppress(PermissionError):  # no `make` can write to a folder that is read-only
            stack.enter_context(folder_lock(job.folder / LOCK, os.fspath(job.folder)))
        remote, changes = _checked(api, job)
        if changes.replaced and not replace:
            raise _refusal(job.repo, changes.replaced)
        if changes.notes_lost:
            what = "its text below the marker replaces another one on the Hub"
            logger.warning("%s: %s (the repository's history keeps that)", CARD, what)
        private = remote.private if remote.exists else job.makes_private
        if not remote.exists:
            retry(api.create_repo, private=private, **repo)
        if job.revision != MAIN and not remote.tree:
            retry(api.create_branch, branch=job.revision, **repo)
        if changes.samples:
            _send_samples(api, job, remote, changes)
        # Card and manifest go last, in one commit: a repository never claims samples it lacks.
        late = [file for file in changes.pages if not (changes.samples and file.path == RECIPE)]
        gone = [] if changes.other else changes.remove
        if late or gone:
            _commit(api, job, late, gone, changes.card, f"Card and manifest of {job.folder.name}")
        if job.tag is not None:
            head = retry(api.dataset_info, job.repo, revision=job.revision).sha
            retry(api.create_tag, tag=job.tag, revision=head, **repo)
    url = f"{api.endpoint}/datasets/{job.repo}"
    url += "" if job.revision == MAIN else f"/tree/{job.revision}"
    return Pushed(url, len(changes.files), changes.size, len(changes.remove), private)


def _checked(api: HfApi, job: Push) -> tuple[Remote, Changes]:
    remote = hub_remote.read_remote(api, job.repo, job.revision, job.private)
    changes = hub_remote.compare(job.folder, job.content, remote)
    if job.tag is not None and remote.exists:
        refs = retry(api.list_repo_refs, job.repo, repo_type=DATASET)
        heads = {branch.name: branch.target_commit for branch in refs.branches}
        for tag in refs.tags:
            moves = changes.files or changes.remove or heads.get(job.revision) != tag.target_commit
            if tag.name == job.tag and moves:
                problem = f"marks another state of {job.repo}"
                raise NetworkError(f"--tag {tag.name}", problem, "choose another tag")
    if any(page.path == CARD for page in changes.pages):  # before anything large is sent
        card = DatasetCard(changes.card.decode("utf-8", "replace"), ignore_metadata_errors=True)
        try:
            retry(card.validate, repo_type=DATASET)
        except ValueError as error:
            said = " ".join(str(error).split())[:300]
            problem = f"the Hub refuses the head of {CARD} ({said})"
            raise NetworkError(job.repo, problem, "repair it") from None
    return remote, changes


def _send_samples(api: HfApi, job: Push, remote: Remote, changes: Changes) -> None:
    """Send the files of samples, and check that all of them arrived."""
    # The recipe goes first: it tells an interrupted push of this dataset from one of another.
    # Another dataset goes with it, manifest first of all: half of each must not look whole.
    early = [file for file in changes.pages if file.path == RECIPE]
    gone = [path for path in (MANIFEST, CARD) if path in remote.tree] if changes.other else []
    gone += changes.remove if changes.other else []
    if early or gone:
        _commit(api, job, early, gone, changes.card, f"Begin {job.folder.name}")
    size = size_text(sum(file.size for file in changes.samples))
    with (
        news(f"sending {len(changes.samples)} files of samples, {size}, to {job.repo}"),
        tempfile.TemporaryDirectory(prefix="l4f-push-") as links,
    ):
        for file in changes.samples:  # the client uploads whole folders: one of links to just these
            path = Path(links) / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to((job.folder / file.path).resolve())
        retry(
            api.upload_folder,
            repo_id=job.repo,
            folder_path=links,
            repo_type=DATASET,
            revision=job.revision,
            commit_message=f"Add samples of {job.folder.name}",
        )
    tree = hub_remote.read_tree(api, job.repo, job.revision)
    for file in changes.samples:
        found = tree.get(file.path)
        if found is None or (found.lfs is not None and found.lfs.sha256 != file.sha256):
            problem = f"{file.path} did not arrive as {MANIFEST} lists it"
            raise NetworkError(job.repo, problem, RESUME)


def _commit(
    api: HfApi, job: Push, files: list[PushFile], remove: list[str], card: bytes, message: str
) -> None:
    where: dict[str, Any] = {"repo_type": DATASET, "revision": job.revision}
    removed, content = list(map(CommitOperationDelete, remove)), {CARD: card}

    def commit() -> None:  # operations of a failed commit cannot be used again
        names = (file.path for file in files)
        added = [CommitOperationAdd(n, content.get(n, str(job.folder / n))) for n in names]
        api.create_commit(job.repo, [*removed, *added], commit_message=message, **where)

    with news(f"{message[0].lower()}{message[1:]}"):
        retry(commit)


def _refusal(repo: str, replaced: Iterable[str]) -> UsageError:
    problem = f"holds what this push would replace: {'; '.join(replaced)}"
    return UsageError(repo, problem, "choose another name, or add --replace")
