"""A Hub on this machine: a real HTTP server with the endpoints that the official client calls."""

import base64
import hashlib
import json
import re
import runpy
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask, Response, abort, request
from werkzeug.routing import BaseConverter
from werkzeug.serving import WSGIRequestHandler, make_server

broken_rules = runpy.run_path(str(Path(__file__).with_name("card_rules.py")))["broken_rules"]

TOKEN, READER = "hf_tokenOfTheTests", "hf_readOnly"
USERS = {TOKEN: "user", READER: "reader"}
BIG = (".parquet", ".png", ".tar")


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
    branches: dict[str, list[tuple[str, str, dict[str, Blob]]]] = field(
        default_factory=lambda: {"main": [("0" * 40, "init", {})]}
    )
    tags: dict[str, str] = field(default_factory=dict)

    def at(self, revision: str) -> tuple[str, dict[str, Blob]] | None:
        revision = self.tags.get(revision, revision)
        for name, commits in self.branches.items():
            for oid, _, files in reversed(commits):
                if revision in (name, oid):
                    return oid, files
        return None


@dataclass
class Fault:
    """What goes wrong for requests that match."""

    match: str  # regular expression on "METHOD /path"
    act: Callable[[], Response | None]  # in place of the answer; None: answer all the same
    times: int = 1
    after: int = 0  # matching requests that are answered before


@dataclass
class Hub:
    """The state of the server, and what it was asked."""

    objects: Path  # folder of LFS objects and small files
    xet: Path | None = None  # folder of a local Xet store; None: LFS only
    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # "METHOD /path"
    received: list[int] = field(default_factory=list)  # bytes of each LFS object that came in
    lock: Any = field(default_factory=threading.Lock)

    def files(self, name: str) -> dict[str, Blob]:
        found = self.repos[name].at("main")
        assert found is not None
        return found[1]

    def commits(self, name: str) -> list[str]:
        """Messages of the commits that were made."""
        return [message for _, message, _ in self.repos[name].branches["main"][1:]]

    def data(self, name: str, path: str) -> bytes:
        blob = self.files(name)[path]
        return (self.objects / (blob.sha256 or blob.sha1)).read_bytes()


def answer(value: Any, code: int = 200, **headers: str) -> Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(json.dumps(value), code, named, mimetype="application/json")


def status(code: int, text: str = "", **headers: str) -> Callable[[], Response]:
    """Fault: answer with a status, as the Hub words it."""
    return lambda: answer({"error": text}, code, **headers)


def reset() -> None:
    """Fault: cut the connection."""
    request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


def slow(seconds: float) -> Callable[[], None]:
    """Fault: wait, then answer."""
    return lambda: time.sleep(seconds)


def user_of_request(*, needed: bool = False) -> str | None:
    """Return whose token was sent; a wrong one is refused where one is needed."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if needed and token not in USERS:
        words = "Invalid credentials in Authorization header"
        abort(answer({"error": f"{words}: {token}"}, 401, X_Error_Message=words))
    return USERS.get(token)


class RepoName(BaseConverter):
    """An owner and a name."""

    regex, part_isolating = "[^/]+/[^/]+", False


def create_app(hub: Hub) -> Flask:
    app = Flask(__name__)
    app.url_map.converters["repo"] = RepoName

    @app.before_request
    def go_wrong() -> Response | None:
        request.get_data()  # read the body always, so that the connection can be used again
        asked = f"{request.method} {request.path}"
        with hub.lock:
            hub.asked.append(asked)
            fault = next((f for f in hub.faults if re.search(f.match, asked)), None)
            if fault is None:
                return None
            if fault.after:
                fault.after -= 1
                return None
            fault.times -= 1
            if not fault.times:
                hub.faults.remove(fault)
        return fault.act()

    def opened(
        name: str, revision: str = "main", *, write: bool = False
    ) -> tuple[Repo, str, dict[str, Blob]]:
        """Find repository, commit and files for the one who asks, or refuse."""
        user = user_of_request(needed=write)
        repo, owner = hub.repos.get(name), name.partition("/")[0]
        if repo is None or (repo.private and user != owner):
            abort(answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound"))
        if write and user != owner:
            abort(answer({"error": "your token has no write access"}, 403))
        found = repo.at(revision.replace("%2F", "/"))
        if found is None:
            abort(answer({}, 404, X_Error_Code="RevisionNotFound"))
        return repo, *found

    @app.get("/api/whoami-v2")
    def whoami() -> Response:
        user = user_of_request(needed=True)
        role = "read" if user == "reader" else "write"
        return answer({"name": user, "orgs": [], "auth": {"accessToken": {"role": role}}})

    @app.get("/api/datasets/<repo:name>/auth-check/write")
    def may_write(name: str) -> Response:
        opened(name, write=True)
        return answer({})

    @app.get("/api/datasets/<repo:name>")
    @app.get("/api/datasets/<repo:name>/revision/<path:revision>")
    def info(name: str, revision: str = "main") -> Response:
        repo, oid, files = opened(name, revision)
        siblings = [{"rfilename": path} for path in files]
        told = {"id": name, "sha": oid, "private": repo.private}
        return answer({**told, "siblings": siblings})

    @app.get("/api/datasets/<repo:name>/refs")
    def refs(name: str) -> Response:
        repo = opened(name)[0]
        heads = {branch: commits[-1][0] for branch, commits in repo.branches.items()}
        parts = {"branches": heads, "tags": repo.tags}.items()
        listed = {
            part: [{"name": n, "ref": n, "targetCommit": oid} for n, oid in refs.items()]
            for part, refs in parts
        }
        return answer({**listed, "converts": []})

    @app.get("/api/datasets/<repo:name>/tree/<revision>")
    @app.get("/api/datasets/<repo:name>/tree/<revision>/<path:folder>")
    def tree(name: str, revision: str, folder: str = "") -> Response:
        files = opened(name, revision)[2]
        prefix = f"{folder}/" if folder else ""
        recursive = request.args.get("recursive", "false").lower() == "true"
        entries: dict[str, dict[str, Any]] = {}
        for path, blob in files.items():
            head, slash, _ = path.removeprefix(prefix).partition("/")
            if not path.startswith(prefix):
                continue
            if slash and not recursive:
                entries[prefix + head] = {"type": "directory", "path": prefix + head, "oid": "0"}
                continue
            entries[path] = {"type": "file", "path": path, "size": blob.size, "oid": blob.sha1}
            if blob.sha256:
                entries[path]["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 130}
        if folder and not entries:
            return answer({}, 404, X_Error_Code="EntryNotFound")
        return answer(list(entries.values()))

    @app.get("/datasets/<repo:name>/resolve/<revision>/<path:path>")
    def resolve(name: str, revision: str, path: str) -> Response:
        _, oid, files = opened(name, revision)
        if path not in files:
            return answer({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
        stored = files[path].sha256 or files[path].sha1
        sent = Response((hub.objects / stored).read_bytes(), mimetype="application/octet-stream")
        sent.headers.update({"ETag": f'"{stored}"', "X-Repo-Commit": oid})
        return sent.make_conditional(request, accept_ranges=True, complete_length=files[path].size)

    @app.post("/api/repos/create")
    def create() -> Response:
        wanted, user = request.get_json(), user_of_request(needed=True)
        owner = wanted.get("organization") or user
        if owner != user:
            return answer({"error": f"You have no right to create a dataset of {owner}"}, 403)
        name = f"{owner}/{wanted['name']}"
        url = f"{hub.url}/datasets/{name}"
        if name in hub.repos:
            return answer({"error": "You already created this", "url": url}, 409)
        private = wanted.get("private", False) or wanted.get("visibility") == "private"
        hub.repos[name] = Repo(private)
        return answer({"url": url})

    @app.post("/api/validate-yaml")
    def validate() -> Response:
        errors = [{"message": words} for words in broken_rules(request.get_json()["content"])]
        return answer({"errors": errors, "warnings": []}, 400 if errors else 200)

    @app.post("/api/datasets/<repo:name>/branch/<branch>")
    def branch(name: str, branch: str) -> Response:
        repo = opened(name, write=True)[0]
        if branch in repo.branches:
            return answer({"error": "Reference already exists"}, 409)
        repo.branches[branch] = [repo.branches["main"][0]]
        return answer({})

    @app.post("/api/datasets/<repo:name>/tag/<revision>")
    def tag(name: str, revision: str) -> Response:
        repo, oid, _ = opened(name, revision, write=True)
        if request.get_json()["tag"] in repo.tags:
            return answer({"error": "Tag already exists"}, 409)
        repo.tags[request.get_json()["tag"]] = oid
        return answer({})

    @app.post("/api/datasets/<repo:name>/preupload/<revision>")
    def preupload(name: str, revision: str) -> Response:
        files = opened(name, revision, write=True)[2]
        modes = []
        for path in (file["path"] for file in request.get_json()["files"]):
            mode = "lfs" if path.endswith(BIG) else "regular"
            there = files.get(path)
            oid = there and (there.sha256 or there.sha1)
            modes.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return answer({"files": modes})

    @app.get("/api/datasets/<repo:name>/xet-write-token/<revision>")
    def xet_token(name: str, revision: str) -> Response:
        opened(name, revision, write=True)
        if hub.xet is None:
            return answer({"error": "no Xet here"}, 404)
        expires = int(time.time()) + 3600
        return answer({"accessToken": "xet", "exp": expires, "casUrl": f"local://{hub.xet}"})

    @app.post("/datasets/<repo:name>.git/info/lfs/objects/batch")
    def batch(name: str) -> Response:
        opened(name, write=True)
        objects = []
        for wanted in request.get_json(force=True)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if not (hub.objects / wanted["oid"]).exists():
                links = {"upload": f"{hub.url}/lfs/{wanted['oid']}", "verify": f"{hub.url}/verify"}
                entry["actions"] = {name: {"href": link} for name, link in links.items()}
            objects.append(entry)
        return answer({"transfer": "basic", "objects": objects})

    @app.put("/lfs/<oid>")
    def put(oid: str) -> Response:
        data = request.get_data()
        if hashlib.sha256(data).hexdigest() != oid:
            return answer({"error": "the bytes are not those of the oid"}, 400)
        (hub.objects / oid).write_bytes(data)
        hub.received.append(len(data))
        return answer({})

    @app.post("/verify")
    def verify() -> Response:
        there = (hub.objects / request.get_json(force=True)["oid"]).exists()
        return answer({}, 200 if there else 404)

    @app.post("/api/datasets/<repo:name>/commit/<revision>")
    def commit(name: str, revision: str) -> Response:
        repo, _, before = opened(name, revision, write=True)
        files, message = dict(before), ""
        for line in map(json.loads, request.get_data().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "file":
                data = base64.b64decode(value["content"])
                sha1 = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                (hub.objects / sha1).write_bytes(data)
                files[value["path"]] = Blob(len(data), sha1)
            else:
                oid, size = value["oid"], value["size"]
                if hub.xet is None and not (hub.objects / oid).exists():
                    return answer({"error": f"{oid} was not uploaded"}, 400)
                files[value["path"]] = Blob(size, hashlib.sha1(oid.encode()).hexdigest(), oid)
        commits = repo.branches[revision.replace("%2F", "/")]
        oid = hashlib.sha1(f"{message}{len(commits)}{sorted(files)}".encode()).hexdigest()
        commits.append((oid, message, files))
        url = f"{hub.url}/datasets/{name}/commit/{oid}"
        return answer({"commitUrl": url, "commitOid": oid})

    return app


class QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Drop the message."""


@contextmanager
def serve(folder: Path, *, xet: bool = False) -> Iterator[Hub]:
    """Run a Hub on a free port until the block is left."""
    objects, store = folder / "objects", folder / "xet"
    for made in (objects, store):
        made.mkdir(parents=True)
    hub = Hub(objects, store if xet else None)
    server = make_server(
        "127.0.0.1", 0, create_app(hub), threaded=True, request_handler=QuietHandler
    )
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        shutil.rmtree(folder)
