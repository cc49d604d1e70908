"""What the local Hub lets its users change: repositories, branches, tags, objects, commits."""

import base64
import hashlib
import json
import runpy
import threading
import time
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).parent
state = SimpleNamespace(**runpy.run_path(str(HERE / "state.py")))
broken_rules = runpy.run_path(str(HERE / "card_rules.py"))["broken_rules"]
Reading = runpy.run_path(str(HERE / "reading.py"))["Reading"]

BIG = (".parquet", ".png", ".tar")


class Writing(Reading):
    """The endpoints that need a token with write access."""

    def create(self) -> None:
        wanted = self.json_body()
        user = self.find_user()
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
        self.hub.repos[key] = state.Repo(private)
        self.answer({"url": url})

    def validate(self) -> None:
        errors = [{"message": words} for words in broken_rules(self.json_body()["content"])]
        self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)

    def branch(self, kind: str, name: str, branch: str) -> None:
        self.json_body()
        found = self.open_repo(kind, name, "main", write=True)
        if not found:
            return
        if branch in found[0].branches:
            self.answer({"error": "Reference already exists"}, 409)
            return
        found[0].branches[branch] = [found[0].branches["main"][0]]
        self.answer({})

    def tag(self, kind: str, name: str, revision: str) -> None:
        tag = self.json_body()["tag"]
        found = self.open_repo(kind, name, revision, write=True)
        if not found:
            return
        if tag in found[0].tags:
            self.answer({"error": "Tag already exists"}, 409)
            return
        found[0].tags[tag] = found[1]
        self.answer({})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        wanted = self.json_body()["files"]
        found = self.open_repo(kind, name, revision, write=True)
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
        if not self.open_repo(kind, name, revision, write=True):
            return
        if self.hub.xet is None:
            self.refuse(404, "no Xet here")
            return
        expires = int(time.time()) + 3600
        url = f"local://{self.hub.xet}"
        self.answer({"accessToken": "xet", "exp": expires, "casUrl": url})

    def batch(self, kind: str, name: str) -> None:
        wanted = self.json_body()
        if not self.open_repo(kind, name, "main", write=True):
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
        there = (self.hub.objects / self.json_body()["oid"]).exists()
        self.answer({}, 200 if there else 404)

    def commit(self, kind: str, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self.body().splitlines()]
        found = self.open_repo(kind, name, revision, write=True)
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
                files[value["path"]] = state.Blob(len(data), sha1)
            else:
                oid, size = value["oid"], value["size"]
                if self.hub.xet is None and not (self.hub.objects / oid).exists():
                    self.refuse(400, f"{oid} was not uploaded")
                    return
                files[value["path"]] = state.Blob(size, hashlib.sha1(oid.encode()).hexdigest(), oid)
        content = f"{message}{len(repo.branches[revision])}{sorted(files)}"
        oid = hashlib.sha1(content.encode()).hexdigest()
        repo.branches[revision].append((oid, message, files))
        url = f"{self.hub.url}/datasets/{name}/commit/{oid}"
        self.answer({"commitUrl": url, "commitOid": oid})
