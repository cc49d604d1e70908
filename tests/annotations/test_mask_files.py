import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
    monkeypatch.setattr(mask_files.time, "sleep", lambda _: None)
    monkeypatch.delenv("LABELBOX_API_KEY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    handler = type("Handler", (Service,), {"asked": [], "answers": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    host = f"127.0.0.1:{server.server_port}"
    yield handler, host
    server.shutdown()
    server.server_close()
    thread.join()


def downloader(host, **more):
    more.setdefault("key_hosts", (host,))
    return mask_downloader(hosts=(host,), allow_http=True, timeout_s=5, **more)


def test_bytes_come_with_the_key_from_the_environment(service, monkeypatch):
    handler, host = service
    handler.answers["/key/mask"] = b"png"
    with pytest.raises(NetworkError, match=r"key/mask: answered 401; set LABELBOX_API_KEY"):
        downloader(host)(f"http://{host}/key/mask?token=secret")
    monkeypatch.setenv("LABELBOX_API_KEY", "k1")
    assert downloader(host)(f"http://{host}/key/mask") == b"png"
    assert handler.asked[-1] == ("/key/mask", "Bearer k1")


def test_errors_never_show_the_query(service):
    _, host = service
    with pytest.raises(NetworkError) as caught:
        downloader(host)(f"http://{host}/gone?token=secret")
    assert "secret" not in str(caught.value)
    assert "30 days" in str(caught.value)
    assert caught.value.exit_code == 5


def test_the_key_goes_to_key_hosts_only(service, monkeypatch):
    handler, host = service
    monkeypatch.setenv("LABELBOX_API_KEY", "k1")
    handler.answers["/a"] = b"png"
    assert downloader(host, key_hosts=())(f"http://{host}/a") == b"png"
    assert handler.asked == [("/a", None)]


def test_redirects_are_followed_and_checked(service):
    handler, host = service
    handler.answers.update({"/a": "/b", "/b": b"png"})
    assert downloader(host)(f"http://{host}/a") == b"png"
    for target, kind, said in (
        ("http://169.254.169.254/latest", AnnotationRefused, "host '169.254.169.254' is not on"),
        ("file:///etc/passwd", AnnotationRefused, "not https"),
        ("/a", NetworkError, "more than 4 redirects"),
    ):
        handler.answers["/a"] = target
        with pytest.raises(kind, match=said):
            downloader(host)(f"http://{host}/a")


def test_a_busy_service_is_asked_again_and_a_silent_one_is_a_network_error(service):
    handler, host = service
    handler.answers["/a"] = [503, 429, b"png"]
    assert downloader(host)(f"http://{host}/a") == b"png"
    handler.answers["/a"] = [503] * 9
    with pytest.raises(NetworkError, match="answered 503; try again later"):
        downloader(host)(f"http://{host}/a")
    with pytest.raises(NetworkError, match="does not answer"):
        downloader("127.0.0.1:1")("http://127.0.0.1:1/a")


def test_more_bytes_than_a_mask_has_are_refused(service, monkeypatch):
    handler, host = service
    monkeypatch.setattr(mask_files, "MAX_BYTES", 1 << 20)
    handler.answers["/a"] = b"0" * ((1 << 20) + 1)
    with pytest.raises(AnnotationRefused, match="more than 1 MiB"):
        downloader(host)(f"http://{host}/a")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://api.labelbox.com/a", "not https"),
        ("file:///etc/passwd", "not https"),
        ("ftp://api.labelbox.com/a", "not https"),
        ("/etc/passwd", "not https"),
        ("https://localhost/a", "host 'localhost' is not on the list; allow it with --mask-host"),
        ("https://127.0.0.1/a", "is not on the list"),
        ("https://[::1]/a", "is not on the list"),
        ("https://api.labelbox.com.evil.org/a", "is not on the list"),
        ("https://evil.org/api.labelbox.com", "is not on the list"),
        ("https://api.labelbox.com@evil.org/a", "holds a user name"),
        ("https://api.labelbox.com:8080/a", "port 8080"),
        ("https://api.labelbox.com:x/a", "no address"),
        ("https://[broken/a", "no address"),
    ],
)
def test_addresses_that_are_not_allowed_are_never_asked(url, match):
    with pytest.raises(AnnotationRefused, match=match):
        mask_downloader()(url)


def test_a_labelbox_export_with_downloads_end_to_end(service, opened, monkeypatch):
    handler, host = service
    monkeypatch.setenv("LABELBOX_API_KEY", "k1")
    handler.answers["/key/mask"] = png(SQUARE)
    found = {"polygon": None, "mask": {"url": f"http://{host}/key/mask"}}
    row = labelbox_row(labelbox_label(labelbox_object(**found)))
    truth = opened(row, download=downloader(host))
    np.testing.assert_array_equal(truth[0].load().mask, SQUARE)
