"""A real HTTP server on this machine that serves one file, and misbehaves as it is told to."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """A file and its ETag, and what was asked for: the headers of each request.

    ``faults`` are done instead of a good answer, one a request, first to last.
    """

    def __init__(self, data, tag='"v1"', ranges=True, faults=()):
        self.data, self.tag, self.ranges, self.faults = data, tag, ranges, list(faults)
        self.asked, self.url = [], ""


class Handler(BaseHTTPRequestHandler):
    """Answers with the site's file, or with its next fault."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        site = self.site
        site.asked.append({key.lower(): value for key, value in self.headers.items()})
        if site.faults:
            site.faults.pop(0)(self, site)
        else:
            self.good(site.data)

    def good(self, data, count=None):
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

    def status(self, code, **headers):
        """Answer with a status and no content."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def drop_after(self, count):
        """Announce the whole file, send part of it, and hang up."""
        self.good(self.site.data, count)
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format, *args):
        """Keep the test output quiet."""


@contextmanager
def serve(data, **options):
    """Serve a file on a free port until the block is left."""
    site = Site(data, **options)
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
