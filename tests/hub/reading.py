"""What the local Hub tells of its repositories, to those who may see them."""

import re
import runpy
from pathlib import Path
from typing import Any

Answers = runpy.run_path(str(Path(__file__).with_name("answers.py")))["Answers"]


class Reading(Answers):
    """The endpoints that change nothing; ``hub`` and ``query`` are set by who serves."""

    def info(self, kind: str, name: str, revision: str | None) -> None:
        found = self.open_repo(kind, name, revision or "main")
        if found:
            repo, oid, files = found
            siblings = [{"rfilename": path} for path in files]
            self.answer({"id": name, "sha": oid, "private": repo.private, "siblings": siblings})

    def refs(self, kind: str, name: str) -> None:
        found = self.open_repo(kind, name, "main")
        if found:
            repo = found[0]
            heads = {branch: commits[-1][0] for branch, commits in repo.branches.items()}
            said = {
                part: [{"name": n, "ref": n, "targetCommit": oid} for n, oid in refs.items()]
                for part, refs in (("branches", heads), ("tags", repo.tags))
            }
            self.answer({**said, "converts": []})

    def tree(self, kind: str, name: str, revision: str, folder: str | None) -> None:
        found = self.open_repo(kind, name, revision)
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
        found = self.open_repo(kind, name, revision)
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

    def open_repo(
        self, kind: str, name: str, revision: str, *, write: bool = False
    ) -> tuple[Any, str, dict[str, Any]] | None:
        """Find repository, commit and its files for the one who asks, or refuse."""
        user = self.find_user(quiet=not write)
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

    def find_user(self, *, quiet: bool = False) -> str | None:
        """Return whose token it is; a wrong one is refused, unless ``quiet``."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        user = self.hub.users.get(token)
        if user is None and not quiet:
            words = "Invalid credentials in Authorization header"
            self.refuse(401, f"{words}: {token}", X_Error_Message=words)
        return user
