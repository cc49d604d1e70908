"""A real HTTP server on this machine that serves one file, and misbehaves as it is told to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What is served, and what was asked for."""

    data: bytes
    tag: str | None = '"v1"'  # its ETag
    ranges: bool = True  # whether they are answered
    faults: list[Callable[["Handler", "Site"], None]] = field(default_factory=list)
    """What to do instead of a good answer, one a request, first to last."""
    asked: list[dict[str, str]] = field(default_factory=list)  # the headers of each request
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """Answers with the site's file, or with its next fault."""

    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.asked.append({key.lower(): value for key, value in self.headers.items()})
        if site.faults:
            site.faults.pop(0)(self, site)
        else:
            self.good(site.data)

    def good(self, data: bytes, count: int | None = None) -> None:
        """Answer as a well-behaved server does, ranges included; ``count`` cuts the answer off."""
        wanted = self.headers.get("Range")
        current = self.headers.get("If-Range") in (None, self.site.tag)
        start = 0
        if wanted and self.site.ranges and current:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.status(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if self.site.tag:
            self.send_header("ETag", self.site.tag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:] if count is None else data[start : start + count])

    def status(self, code: int, **headers: str) -> None:
        """Answer with a status and no content."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def drop_after(self, count: int) -> None:
        """Announce the whole file, send part of it, and hang up."""
        self.good(self.site.data, count)
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output quiet."""


@contextmanager
def serve(data: bytes, **options: object) -> Iterator[Site]:
    """Serve a file on a free port until the block is left."""
    site = Site(data, **options)  # type: ignore[arg-type]
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}/weights.pkl"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
