"""How the local Hub listens and answers: JSON in, JSON or a status out."""

import json
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any


class Answers(BaseHTTPRequestHandler):
    """A request's body, and the words that go back."""

    protocol_version = "HTTP/1.1"

    def body(self) -> bytes:
        """Return what was sent."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def json_body(self) -> Any:
        """Return what was sent as JSON; nothing is an empty object."""
        return json.loads(self.body() or b"{}")

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
