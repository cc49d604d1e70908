import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from annotation_exports import (
    SQUARE,
    labelbox_label,
    labelbox_object,
    labelbox_row,
    png,
)

from l4f_datagen.annotations import mask_files
from l4f_datagen.annotations.mask_files import mask_downloader
from l4f_datagen.core.errors import AnnotationRefused, NetworkError


class Service(BaseHTTPRequestHandler):
    """Masks behind a key, redirects, errors; keeps what it was asked."""

    asked: list  # (path, authorization)
    answers: dict

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Authorization")))
        answer = self.answers.get(self.path, 404)
        if isinstance(answer, list):  # a queue of statuses, then bytes
            answer = answer.pop(0)
        if self.path.startswith("/key/") and self.headers.get("Authorization") != "Bearer k1":
            answer = 401
        self.send_response({bytes: 200, str: 302}.get(type(answer), answer))
        if isinstance(answer, str):
            self.send_header("Location", answer)
        self.end_headers()
        if isinstance(answer, bytes):
            self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def service(monkeypatch):
    """Answers by path; ``get`` asks for one, ``asked`` is what came."""
    monkeypatch.setattr(mask_files.time, "sleep", lambda _: None)
    monkeypatch.delenv("LABELBOX_API_KEY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    handler = type("Handler", (Service,), {"asked": [], "answers": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    host = f"127.0.0.1:{server.server_port}"

    def get(path, hosts=(host,), key_hosts=(host,)):
        options = {"allow_http": True, "timeout_s": 5}
        return mask_downloader(hosts=hosts, key_hosts=key_hosts, **options)(
            path if "://" in path else f"http://{host}{path}"
        )

    yield SimpleNamespace(asked=handler.asked, answers=handler.answers, host=host, get=get)
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_key_comes_from_the_environment_and_goes_to_key_hosts_only(service, monkeypatch):
    service.answers.update({"/key/mask": b"png", "/a": b"png"})
    with pytest.raises(NetworkError, match=r"key/mask: answered 401; set LABELBOX_API_KEY"):
        service.get("/key/mask?token=secret")
    monkeypatch.setenv("LABELBOX_API_KEY", "k1")
    assert service.get("/key/mask") == b"png"
    assert service.asked[-1] == ("/key/mask", "Bearer k1")
    assert service.get("/a", key_hosts=()) == b"png"
    assert service.asked[-1] == ("/a", None)


def test_errors_never_show_the_query(service):
    with pytest.raises(NetworkError) as caught:
        service.get("/gone?token=secret")
    assert "secret" not in str(caught.value)
    assert "30 days" in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ("http://169.254.169.254/latest", AnnotationRefused, "host '169.254.169.254' is not on"),
        ("file:///etc/passwd", AnnotationRefused, "not https"),
        ("/a", NetworkError, "more than 4 redirects"),
        ([503] * 9, NetworkError, "answered 503; try again later"),
        (b"0" * ((1 << 20) + 1), AnnotationRefused, "more than 1 MiB"),
    ],
)
def test_redirects_are_checked_and_too_much_or_nothing_is_refused(
    service, monkeypatch, answer, kind, said
):
    monkeypatch.setattr(mask_files, "MAX_BYTES", 1 << 20)
    service.answers["/a"] = answer
    with pytest.raises(kind, match=said):
        service.get("/a")


def test_redirects_are_followed_and_a_busy_service_is_asked_again(service):
    service.answers.update({"/a": "/b", "/b": [503, 429, b"png"]})
    assert service.get("/a") == b"png"
    with pytest.raises(NetworkError, match="does not answer"):
        service.get("http://127.0.0.1:1/a", hosts=("127.0.0.1:1",))


BOX, ELSEWHERE = "https://api.labelbox.com", "is not on the list"
NEVER_ASKED = [
    ("http://api.labelbox.com/a", "not https"),
    ("file:///etc/passwd", "not https"),
    ("ftp://api.labelbox.com/a", "not https"),
    ("/etc/passwd", "not https"),
    ("https://localhost/a", "host 'localhost' is not on the list; allow it with --mask-host"),
    ("https://127.0.0.1/a", ELSEWHERE),
    ("https://[::1]/a", ELSEWHERE),
    (f"{BOX}.evil.org/a", ELSEWHERE),
    ("https://evil.org/api.labelbox.com", ELSEWHERE),
    (f"{BOX}@evil.org/a", "holds a user name"),
    ("https://@api.labelbox.com/a", "holds a user name"),
    (f"{BOX}:8080/a", "port 8080"),
    (f"{BOX}:x/a", "no address"),
    ("https://[broken/a", "no address"),
]


@pytest.mark.parametrize(("url", "match"), NEVER_ASKED)
def test_addresses_that_are_not_allowed_are_never_asked(url, match):
    with pytest.raises(AnnotationRefused, match=match):
        mask_downloader()(url)


def test_a_labelbox_export_with_downloads_end_to_end(service, opened):
    service.answers["/mask"] = png(SQUARE)
    found = {"polygon": None, "mask": {"url": f"http://{service.host}/mask"}}
    row = labelbox_row(labelbox_label(labelbox_object(**found)))
    truth = opened(row, download=service.get)
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
