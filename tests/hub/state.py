"""The state of the local Hub: repositories, what it was asked, and what is to go wrong."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

TOKEN, READER = "hf_tokenOfTheTests", "hf_readOnly"


@dataclass
class Blob:
    """A file of a commit: LFS where it has a sha256."""

    size: int
    sha1: str
    sha256: str | None = None


@dataclass
class Repo:
    """One repository: branches are lists of commits, a commit is (oid, message, files)."""

    private: bool = False
    branches: dict[str, list[tuple[str, str, dict[str, Blob]]]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.branches = {"main": [("0" * 40, "init", {})]}

    def at(self, revision: str) -> tuple[str, dict[str, Blob]] | None:
        """Commit and files of a branch, tag or commit."""
        revision = self.tags.get(revision, revision)
        for name, commits in self.branches.items():
            if name == revision:
                return commits[-1][0], commits[-1][2]
            for oid, _, files in commits:
                if oid == revision:
                    return oid, files
        return None


@dataclass
class Fault:
    """What goes wrong for requests that match.

    Attributes:
        match: regular expression on "METHOD /path".
        act: does it, in place of the answer; returns False to answer all the same.
        times: how often.
        after: requests that go well before.
    """

    match: str
    act: Callable[[Any], bool | None]
    times: int = 1
    after: int = 0


@dataclass
class Hub:
    """The state of the server, and what it was asked.

    Attributes:
        objects: folder of LFS objects.
        xet: folder of a local Xet store; None: LFS only.
        faults: see ``Fault``.
        asked: "METHOD /path" of every request.
        received: bytes of LFS objects that came in, one entry a file.
    """

    objects: Path
    xet: Path | None = None
    url: str = ""
    users: dict[str, str] = field(default_factory=lambda: {TOKEN: "user", READER: "reader"})
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def files(self, name: str, revision: str = "main") -> dict[str, Blob]:
        """Files of a dataset."""
        found = self.repos["dataset", name].at(revision)
        assert found is not None
        return found[1]

    def commits(self, name: str, revision: str = "main") -> list[str]:
        """Messages of the commits that were made."""
        return [message for _, message, _ in self.repos["dataset", name].branches[revision][1:]]

    def data(self, name: str, path: str, revision: str = "main") -> bytes:
        """Bytes of a file."""
        blob = self.files(name, revision)[path]
        return (self.objects / (blob.sha256 or blob.sha1)).read_bytes()


def status(code: int, text: str = "", **headers: str) -> Callable[[Any], None]:
    """Fault: answer with a status."""
    return lambda handler: handler.refuse(code, text, **headers)


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Fault: cut the connection, hard."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.rfile.close()
    handler.connection.close()


def slow(seconds: float) -> Callable[[Any], bool]:
    """Fault: say nothing for a while, then answer."""

    def act(_: BaseHTTPRequestHandler) -> bool:
        time.sleep(seconds)
        return False

    return act
