"""Repository: one branch of a dataset repository on the Hub, through the official client."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from httpx2 import Response
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.hf_api import DatasetInfo, RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from l4f_datagen.core.errors import NetworkError, UsageError
from l4f_datagen.dataset.notes import CARD
from l4f_datagen.hub.content import PushFile
from l4f_datagen.hub.session import RESUME, patiently

MAIN = "main"


@dataclass(frozen=True)
class RemoteFile:
    """A file of the repository.

    Attributes:
        size: bytes.
        sha1: git's name of it.
        sha256: of big files, which git knows by pointers; None for others.
    """

    size: int
    sha1: str
    sha256: str | None


class Repository:
    """One branch of a dataset repository.

    Args:
        api: client with its token.
        name: ``user/name``.
        revision: branch.

    Attributes:
        tree: path to file, as ``read_tree`` last found it.
    """

    def __init__(self, api: HfApi, name: str, revision: str) -> None:
        self._api, self.name, self.revision = api, name, revision
        self.tree: dict[str, RemoteFile] = {}

    @property
    def url(self) -> str:
        """Where people see it."""
        page = f"{self._api.endpoint}/datasets/{self.name}"
        return page if self.revision == MAIN else f"{page}/tree/{self.revision}"

    def open(self, *, private: bool) -> None:
        """Find or create repository and branch.

        Raises:
            NetworkError: it is public and was asked to be private, or no dataset.
        """
        try:
            info = patiently(lambda: self._api.dataset_info(self.name))
        except RepositoryNotFoundError:
            info = self._create(private)
        if private and not info.private:
            raise NetworkError(
                self.name,
                "is there already, and is public",
                "make it private in its settings on the Hub, or leave out --private",
            )
        if self.revision != MAIN:
            patiently(
                lambda: self._api.create_branch(
                    self.name, branch=self.revision, repo_type="dataset", exist_ok=True
                )
            )

    def _create(self, private: bool) -> DatasetInfo:
        patiently(
            lambda: self._api.create_repo(
                self.name, repo_type="dataset", private=private, exist_ok=True
            )
        )
        try:
            return patiently(lambda: self._api.dataset_info(self.name))
        except RepositoryNotFoundError:
            raise NetworkError(
                self.name,
                "the name is taken by something that is no dataset, or that this token cannot see",
                "choose another name",
            ) from None

    def read_tree(self) -> None:
        """Read which files the branch has."""

        def listing() -> dict[str, RemoteFile]:
            entries = self._api.list_repo_tree(
                self.name, recursive=True, revision=self.revision, repo_type="dataset"
            )
            return {
                entry.path: RemoteFile(
                    entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None
                )
                for entry in entries
                if isinstance(entry, RepoFile)
            }

        try:
            self.tree = patiently(listing)
        except EntryNotFoundError:
            self.tree = {}

    def read(self, path: str) -> bytes:
        """Return a small file, empty where there is none."""
        if path not in self.tree:
            return b""
        revision = self.revision.replace("/", "%2F")
        url = f"{self._api.endpoint}/datasets/{self.name}/resolve/{revision}/{path}"

        def fetch() -> bytes:
            answer = get_session().get(url, headers=build_hf_headers(token=self._api.token))
            hf_raise_for_status(answer)
            return answer.content

        return patiently(fetch)

    def holds(self, folder: Path, file: PushFile, card: bytes = b"") -> bool:
        """Whether the branch has a file with these bytes.

        Args:
            folder: the dataset.
            file: one of its files.
            card: what stands for the card in the folder.
        """
        there = self.tree.get(file.path)
        if there is None:
            return False
        if file.path == CARD:
            return there.sha1 == blob_sha1(card)
        if there.size != file.size:
            return False
        if there.sha256 is not None:
            return there.sha256 == file.sha256
        return there.sha1 == blob_sha1((folder / file.path).read_bytes())

    def verify(self, files: Iterable[PushFile]) -> None:
        """Check that the branch has what the manifest lists, as told by the tree read last.

        Raises:
            UsageError: the folder has other bytes than its manifest says.
            NetworkError: a file did not arrive.
        """
        for file in files:
            there = self.tree.get(file.path)
            if there is None:
                raise NetworkError(self.name, f"{file.path} did not arrive", RESUME)
            if there.sha256 not in (None, file.sha256):
                raise UsageError(
                    file.path,
                    "its bytes are not those that the manifest lists",
                    "remove it and run the same `l4f-datagen make` command again",
                )

    def check_card(self, card: bytes) -> None:
        """Have the Hub check the YAML head of a card, before anything big is sent.

        Raises:
            NetworkError: the Hub refuses it.
        """
        content = {"content": card.decode("utf-8", "replace"), "repoType": "dataset"}

        def check() -> Response:
            answer = get_session().post(
                f"{self._api.endpoint}/api/validate-yaml",
                json=content,
                headers=build_hf_headers(token=self._api.token),
            )
            if answer.status_code != 400:
                hf_raise_for_status(answer)
            return answer

        answer = patiently(check)
        if answer.status_code == 400:
            errors = "; ".join(str(error.get("message")) for error in answer.json()["errors"])
            raise NetworkError(
                self.name, f"the Hub refuses the head of {CARD} ({errors[:300]})", "repair it"
            )

    def upload(self, folder: Path, message: str, remove: Iterable[str] = ()) -> None:
        """Commit all files of a folder, and the removal of others."""
        patterns = [path.replace("[", "[[]") for path in remove]
        patiently(
            lambda: self._api.upload_folder(
                repo_id=self.name,
                folder_path=folder,
                repo_type="dataset",
                revision=self.revision,
                commit_message=message,
                delete_patterns=patterns or None,
            )
        )

    def check_tag(self, tag: str | None, *, changes: bool) -> None:
        """Check that a tag is free, or stands where it would be put.

        Raises:
            NetworkError: it stands on another state.
        """
        if tag is None:
            return
        refs = patiently(lambda: self._api.list_repo_refs(self.name, repo_type="dataset"))
        taken = {ref.name: ref.target_commit for ref in refs.tags}
        if tag in taken and (changes or taken[tag] != self._head()):
            raise NetworkError(
                f"--tag {tag}", f"stands on another state of {self.name}", "choose another tag"
            )

    def put_tag(self, tag: str | None) -> None:
        """Tag the head of the branch; a tag that stands there already is fine."""
        if tag is not None:
            patiently(
                lambda: self._api.create_tag(
                    self.name,
                    tag=tag,
                    revision=self._head(),
                    repo_type="dataset",
                    exist_ok=True,
                )
            )

    def _head(self) -> str:
        info = self._api.dataset_info(self.name, revision=self.revision)
        return str(info.sha)


def blob_sha1(data: bytes) -> str:
    """Name a file as git does."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
