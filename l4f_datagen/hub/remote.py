"""Remote: what one branch of a dataset repository holds, and what a push would change there."""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, errors, get_session, hf_hub_url
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, validate_repo_id

from l4f_datagen.core.errors import NetworkError, UsageError
from l4f_datagen.dataset.layout import CARD, CARD_MARKER, RECIPE, encode_card, join_card, split_card
from l4f_datagen.dataset.manifest import MANIFEST
from l4f_datagen.hub.client import TOKENS, retry
from l4f_datagen.hub.content import Content, PushFile, PushFiles, sample_places

DATASET, MAIN = "dataset", "main"  # the kind of repository, and its usual branch


@dataclass(frozen=True)
class Remote:
    """One branch of a dataset repository, as far as it exists."""

    exists: bool = False
    private: bool = False
    tree: Mapping[str, RepoFile] = field(default_factory=dict)
    manifest: Mapping[str, Any] | None = None  # None where there is none that can be read
    card: bytes = b""


@dataclass(frozen=True)
class Changes(PushFiles):
    """What a push would do to a branch: files to send, and others to remove."""

    remove: list[str]
    replaced: list[str]  # what of value would be gone, one line each; empty for an update
    other: bool  # whether it holds another dataset, or files of another tool
    card: bytes
    notes_lost: bool  # whether text below the marker of the card there is replaced by another


def check_repo(name: str) -> str:
    """Return ``user/name``; ``datasets/user/name`` and the dataset's URL are accepted too."""
    short = re.sub(r"^https?://[^/]+/(?=datasets/)", "", name).removeprefix("datasets/").rstrip("/")
    kind, _, rest = short.partition("/")
    if kind in ("models", "spaces") and "/" in rest:
        raise UsageError(name, f"is the name of one of the {kind}", "give a dataset: user/name")
    if not re.fullmatch("[^/]+/[^/]+", short):
        raise UsageError(name, "is not of the form user/name", "give your Hub user name and a name")
    try:
        validate_repo_id(short)
    except errors.HFValidationError as error:
        raise UsageError(name, "is refused by the Hub", str(error).partition(":")[0]) from None
    return short


def check_ref(name: str, flag: str) -> None:
    """Refuse (UsageError) a branch or tag that git-check-ref-format would refuse."""
    bad = ".." in name or "//" in name or name.endswith(("/", ".", ".lock"))
    if bad or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/-]*", name):
        remedy = "use letters, digits, '.', '-', '_' and '/'"
        raise UsageError(f"{flag} {name}", "git refuses this name", remedy)


def read_remote(api: HfApi, repo: str, revision: str, private: bool | None) -> Remote:
    """Check that the token may write to a repository, and read what a branch of it holds.

    NetworkError where it may not, or for an existing one that is not ``private`` (None: be it).
    """
    me = retry(api.whoami)
    if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
        remedy = f"make one with write access at {TOKENS}"
        raise NetworkError("Hugging Face token", "may only read", remedy)
    try:
        is_private = bool(retry(api.dataset_info, repo).private)
    except errors.RepositoryNotFoundError:
        owner = repo.partition("/")[0]
        owners = [me["name"], *(group["name"] for group in me.get("orgs", []))]
        if owner.lower() not in (name.lower() for name in owners):
            problem = f"{owner} is not among {', '.join(owners)}"
            raise NetworkError(repo, problem, "use a name of your own") from None
        return Remote()
    retry(api.auth_check, repo, repo_type=DATASET, write=True)
    tree = read_tree(api, repo, revision)
    if private not in (None, is_private):
        words = ("public", "private")
        remedy = f"make it {words[not is_private]} in its settings on the Hub, or leave out "
        remedy += f"--{words[not is_private]}"
        raise NetworkError(repo, f"exists and is {words[is_private]}", remedy)

    def read_file(name: str) -> bytes:
        url = hf_hub_url(repo, name, repo_type=DATASET, revision=revision, endpoint=api.endpoint)
        answer = get_session().get(url, headers=build_hf_headers(token=api.token))
        hf_raise_for_status(answer)
        return answer.content

    card, data = (retry(read_file, name) if name in tree else b"" for name in (CARD, MANIFEST))
    manifest = None
    with suppress(ValueError, KeyError, TypeError, RecursionError):  # None where it is not one
        found = json.loads(data)
        describe(found)
        manifest = dict(found) if isinstance(found["counts"]["accepted"], int) else None
    return Remote(True, is_private, tree, manifest, card)


def read_tree(api: HfApi, repo: str, revision: str) -> dict[str, RepoFile]:
    """Return the files of a branch, none where it does not exist."""

    def listing() -> dict[str, RepoFile]:
        entries = api.list_repo_tree(repo, recursive=True, revision=revision, repo_type=DATASET)
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    try:
        return retry(listing)
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError):
        return {}


def compare(folder: Path, content: Content, remote: Remote) -> Changes:
    """Work out what a push changes; nothing is asked from the Hub."""
    tree, there = remote.tree, remote.manifest
    origin = content.manifest["provenance"]
    same = there is not None and there["provenance"]["recipe_hash"] == origin["recipe_hash"]
    if there is None and RECIPE in tree:  # an earlier push was interrupted
        same = tree[RECIPE].blob_id == blob_sha1((folder / RECIPE).read_bytes())
    samples = [path for path in tree if sample_places().fullmatch(path)]
    foreign_card = bool(remote.card.strip()) and CARD_MARKER.encode() not in remote.card
    other = not same and bool(there or samples or foreign_card or RECIPE in tree)
    replaced = []
    had, has = (one["counts"]["accepted"] if one else 0 for one in (there, content.manifest))
    if there is not None and not same:
        replaced.append(describe(there))
    elif had > has:
        replaced.append(f"{had} samples; only {has} of them stay")
    elif other:
        replaced += [f"{len(samples)} files of samples, such as {samples[0]}"] if samples else []
        replaced += [f"a {CARD} that this tool did not write"] if foreign_card else []
        replaced = replaced or [f"{RECIPE} and an unfinished push of another dataset"]
    card = (folder / CARD).read_bytes()
    above, ours = split_card(card.decode("utf-8", "surrogateescape"))
    theirs = split_card(remote.card.decode("utf-8", "surrogateescape"))[1] or ""
    lost = bool(ours and ours.strip() and theirs.strip()) and ours != theirs
    if theirs.strip() and not other and ours is not None and not ours.strip():
        card = encode_card(join_card(above, theirs))  # notes written on the Hub stay
    send = [file for file in content.samples if not _holds(tree, folder, file, card)]
    pages = [file for file in content.pages if not _holds(tree, folder, file, card)]
    stays = {file.path for file in content.samples} - {file.path for file in send if other}
    places = sample_places() if other else sample_places(content.formats)
    stale = [path for path in samples if path not in stays and places.fullmatch(path)]
    return Changes(send, pages, stale, replaced, other, card, lost)


def describe(manifest: Mapping[str, Any]) -> str:
    """Describe a dataset in one line, such as ``3 samples of x (recipe ab)``."""
    origin = manifest["provenance"]
    recipe = origin["recipe_hash"][:8]
    return f"{manifest['counts']['accepted']} samples of {origin['domain']} (recipe {recipe})"


def blob_sha1(data: bytes) -> str:
    """Return git's name of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _holds(tree: Mapping[str, RepoFile], folder: Path, file: PushFile, card: bytes) -> bool:
    there = tree.get(file.path)
    if there is None:
        return False
    if file.path == CARD:
        return there.blob_id == blob_sha1(card)
    if there.lfs is not None:
        return there.lfs.sha256 == file.sha256
    size = (folder / file.path).stat().st_size
    return there.size == size and there.blob_id == blob_sha1((folder / file.path).read_bytes())
