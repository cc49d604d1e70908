"""A Hub on this machine: a real HTTP server with the endpoints the official client calls."""

import base64
import hashlib
import json
import re
import runpy
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

HERE = Path(__file__).parent
state = SimpleNamespace(**runpy.run_path(str(HERE / "state.py")))
broken_rules = runpy.run_path(str(HERE / "card_rules.py"))["broken_rules"]

Blob, Repo, Hub, Fault = state.Blob, state.Repo, state.Hub, state.Fault
TOKEN, READER = state.TOKEN, state.READER
status, reset, slow = state.status, state.reset, state.slow
BIG = (".parquet", ".png", ".tar")


class Handler(BaseHTTPRequestHandler):
    """Answers as the Hub does."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    ROUTES = (
        (r"GET /api/(\w+)s/([^/]+/[^/]+)(?:/revision/([^/]+))?", "info"),
        (r"POST /api/repos/create", "create"),
        (r"POST /api/validate-yaml", "validate"),
        (r"GET /api/(\w+)s/([^/]+/[^/]+)/refs", "refs"),
        (r"POST /api/(\w+)s/([^/]+/[^/]+)/branch/([^/]+)", "branch"),
        (r"POST /api/(\w+)s/([^/]+/[^/]+)/tag/([^/]+)", "tag"),
        (r"POST /api/(\w+)s/([^/]+/[^/]+)/preupload/([^/]+)", "preupload"),
        (r"GET /api/(\w+)s/([^/]+/[^/]+)/xet-write-token/([^/]+)", "xet_token"),
        (r"POST /(?:(\w+)s/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
        (r"PUT /lfs/(\w+)", "put"),
        (r"POST /verify", "verify"),
        (r"POST /api/(\w+)s/([^/]+/[^/]+)/commit/([^/]+)", "commit"),
        (r"GET /api/(\w+)s/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", "tree"),
        (r"(?:GET|HEAD) /(\w+)s/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
    )

    def _serve(self) -> None:
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        asked = f"{self.command} {address.path}"
        with self.hub.lock:
            self.hub.asked.append(asked)
            fault = next((f for f in self.hub.faults if re.search(f.match, asked)), None)
            if fault is not None and fault.after:
                fault.after -= 1
                fault = None
            if fault is not None:
                fault.times -= 1
                if not fault.times:
                    self.hub.faults.remove(fault)
        if fault is not None and fault.act(self) is not False:
            return
        for pattern, name in self.ROUTES:
            if match := re.fullmatch(pattern, asked):
                parts = [None if part is None else unquote(part) for part in match.groups()]
                getattr(self, name)(*parts)
                return
        self.refuse(404, f"no such endpoint: {asked}")

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def info(self, kind: str, name: str, revision: str | None) -> None:
        found = self._open(kind, name, revision or "main")
        if found:
            repo, oid, files = found
            siblings = [{"rfilename": path} for path in files]
            self.answer({"id": name, "sha": oid, "private": repo.private, "siblings": siblings})

    def create(self) -> None:
        wanted = self._json()
        user = self._user()
        owner = wanted.get("organization") or user
        if user is None:
            return
        if owner != user:
            self.refuse(403, f"You don't have the rights to create a dataset under {owner}")
            return
        key = (wanted["type"], f"{owner}/{wanted['name']}")
        url = f"{self.hub.url}/{wanted['type']}s/{key[1]}"
        if any(name == key[1] for _, name in self.hub.repos):
            self.answer({"error": "You already created this", "url": url}, 409)
            return
        private = wanted.get("private", False) or wanted.get("visibility") == "private"
        self.hub.repos[key] = Repo(private)
        self.answer({"url": url})

    def validate(self) -> None:
        errors = [{"message": words} for words in broken_rules(self._json()["content"])]
        self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)

    def refs(self, kind: str, name: str) -> None:
        found = self._open(kind, name, "main")
        if found:
            repo = found[0]
            heads = {branch: commits[-1][0] for branch, commits in repo.branches.items()}
            said = {
                part: [{"name": n, "ref": n, "targetCommit": oid} for n, oid in refs.items()]
                for part, refs in (("branches", heads), ("tags", repo.tags))
            }
            self.answer({**said, "converts": []})

    def branch(self, kind: str, name: str, branch: str) -> None:
        self._json()
        found = self._open(kind, name, "main", write=True)
        if not found:
            return
        if branch in found[0].branches:
            self.answer({"error": "Reference already exists"}, 409)
            return
        found[0].branches[branch] = [found[0].branches["main"][0]]
        self.answer({})

    def tag(self, kind: str, name: str, revision: str) -> None:
        tag = self._json()["tag"]
        found = self._open(kind, name, revision, write=True)
        if not found:
            return
        if tag in found[0].tags:
            self.answer({"error": "Tag already exists"}, 409)
            return
        found[0].tags[tag] = found[1]
        self.answer({})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        wanted = self._json()["files"]
        found = self._open(kind, name, revision, write=True)
        if not found:
            return
        said = []
        for file in wanted:
            mode = "lfs" if file["path"].endswith(BIG) else "regular"
            there = found[2].get(file["path"])
            oid = there and (there.sha256 or there.sha1)
            said.append(
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            )
        self.answer({"files": said})

    def xet_token(self, kind: str, name: str, revision: str) -> None:
        if not self._open(kind, name, revision, write=True):
            return
        if self.hub.xet is None:
            self.refuse(404, "no Xet here")
            return
        expires = int(time.time()) + 3600
        url = f"local://{self.hub.xet}"
        self.answer({"accessToken": "xet", "exp": expires, "casUrl": url})

    def batch(self, kind: str, name: str) -> None:
        wanted = self._json()
        if not self._open(kind, name, "main", write=True):
            return
        objects = []
        for thing in wanted["objects"]:
            said = {"oid": thing["oid"], "size": thing["size"]}
            if not (self.hub.objects / thing["oid"]).exists():
                said["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/{thing['oid']}"},
                    "verify": {"href": f"{self.hub.url}/verify"},
                }
            objects.append(said)
        self.answer({"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        size = int(self.headers["Content-Length"])
        staged = self.hub.objects / f"{oid}.{threading.get_ident()}"
        digest = hashlib.sha256()
        left = size
        with staged.open("wb") as file:
            while left:
                data = self.rfile.read(min(left, 1 << 20))
                if not data:
                    return
                digest.update(data)
                file.write(data)
                left -= len(data)
        if digest.hexdigest() != oid:
            self.refuse(400, "the bytes are not those of the oid")
            return
        staged.rename(self.hub.objects / oid)
        self.hub.received.append(size)
        self.answer({})

    def verify(self) -> None:
        there = (self.hub.objects / self._json()["oid"]).exists()
        self.answer({}, 200 if there else 404)

    def commit(self, kind: str, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self._body().splitlines()]
        found = self._open(kind, name, revision, write=True)
        if not found:
            return
        repo, _, before = found
        files, message = dict(before), ""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "file":
                data = base64.b64decode(value["content"])
                sha1 = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                (self.hub.objects / sha1).write_bytes(data)
                files[value["path"]] = Blob(len(data), sha1)
            else:
                oid, size = value["oid"], value["size"]
                if self.hub.xet is None and not (self.hub.objects / oid).exists():
                    self.refuse(400, f"{oid} was not uploaded")
                    return
                files[value["path"]] = Blob(size, hashlib.sha1(oid.encode()).hexdigest(), oid)
        content = f"{message}{len(repo.branches[revision])}{sorted(files)}"
        oid = hashlib.sha1(content.encode()).hexdigest()
        repo.branches[revision].append((oid, message, files))
        url = f"{self.hub.url}/datasets/{name}/commit/{oid}"
        self.answer({"commitUrl": url, "commitOid": oid})

    def tree(self, kind: str, name: str, revision: str, folder: str | None) -> None:
        found = self._open(kind, name, revision)
        if not found:
            return
        prefix = f"{folder}/" if folder else ""
        recursive = self.query.get("recursive", ["false"])[0].lower() == "true"
        entries: dict[str, dict[str, Any]] = {}
        for path, blob in found[2].items():
            if not path.startswith(prefix):
                continue
            head, slash, _ = path[len(prefix) :].partition("/")
            if slash and not recursive:
                entries[prefix + head] = {"type": "directory", "path": prefix + head, "oid": "0"}
                continue
            entry = {"type": "file", "path": path, "size": blob.size, "oid": blob.sha1}
            if blob.sha256:
                entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 130}
            entries[path] = entry
        if folder and not entries:
            self.refuse(404, "", X_Error_Code="EntryNotFound")
            return
        self.answer(list(entries.values()))

    def resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        found = self._open(kind, name, revision)
        if not found:
            return
        blob = found[2].get(path)
        if blob is None:
            self.refuse(404, "", X_Error_Code="EntryNotFound", X_Repo_Commit=found[1])
            return
        data = (self.hub.objects / (blob.sha256 or blob.sha1)).read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        last = int(wanted[2]) if wanted and wanted[2] else len(data) - 1
        part = data[first : last + 1]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("ETag", f'"{blob.sha256 or blob.sha1}"')
        self.send_header("X-Repo-Commit", found[1])
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    def _open(
        self, kind: str, name: str, revision: str, *, write: bool = False
    ) -> tuple[Repo, str, dict[str, Blob]] | None:
        """Find a repository for the one who asks, or refuse."""
        user = self._user(quiet=not write)
        if write and user is None:
            return None
        repo = self.hub.repos.get((kind, name))
        owner = name.partition("/")[0]
        if repo is None or (repo.private and user != owner):
            self.refuse(404, "Repository not found", X_Error_Code="RepoNotFound")
            return None
        if write and user != owner:
            self.refuse(403, "your token has no write access")
            return None
        found = repo.at(revision)
        if found is None:
            self.refuse(404, "", X_Error_Code="RevisionNotFound")
            return None
        return repo, *found

    def _user(self, *, quiet: bool = False) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        user = self.hub.users.get(token)
        if user is None and not quiet:
            words = "Invalid credentials in Authorization header"
            self.refuse(401, f"{words}: {token}", X_Error_Message=words)
        return user

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _json(self) -> Any:
        return json.loads(self._body() or b"{}")

    def answer(self, value: Any, code: int = 200) -> None:
        """Answer with JSON."""
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, code: int, text: str = "", **headers: str) -> None:
        """Answer with a status, as the Hub words it, and hang up."""
        data = json.dumps({"error": text}).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True

    def handle(self) -> None:
        """Serve a connection; a client that hangs up is no matter."""
        try:
            super().handle()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True

    def finish(self) -> None:
        """Close quietly what a fault has closed."""
        with suppress(ConnectionError, ValueError, OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output quiet."""


@contextmanager
def serve(folder: Path, *, xet: bool = False) -> Iterator[Hub]:
    """Run a Hub on a free port until the block is left."""
    objects, store = folder / "objects", folder / "xet"
    for made in (objects, store):
        made.mkdir(parents=True)
    hub = Hub(objects, store if xet else None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        shutil.rmtree(folder)
