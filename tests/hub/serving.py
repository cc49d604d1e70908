"""A Hub on this machine: a real HTTP server with the endpoints the official client calls."""

import re
import runpy
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, unquote, urlsplit

writing = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("writing.py"))))
state = writing.state

Blob, Repo, Hub, Fault = state.Blob, state.Repo, state.Hub, state.Fault
TOKEN, READER = state.TOKEN, state.READER
status, reset, slow = state.status, state.reset, state.slow


class Handler(writing.Writing):
    """Answers as the Hub does, or as a fault wants it."""

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
