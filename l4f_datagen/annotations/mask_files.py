"""Mask files an export points to: by object id or URL in a folder, or downloaded on request.

An export is a foreign file, so its URLs are not trusted: only https, only hosts of an allow-list,
only as many bytes as a mask may have, and every redirect is checked like the first address. The key
goes to the service itself and to no other host, allowed or not.
"""

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

import numpy as np

from l4f_datagen.core.errors import NetworkError
from l4f_datagen.io.photo import SUFFIXES

from .bundle import open_bundle
from .drawing import Canvas, Drawer, Mask
from .mask_rule import mask_image, object_mask
from .records import Record, broken, composed

LABELBOX_HOSTS = frozenset(("api.labelbox.com", "storage.labelbox.com", "storage.googleapis.com"))
KEY_HOSTS = frozenset(("api.labelbox.com",))
KEY_VARIABLE = "LABELBOX_API_KEY"
MAX_BYTES = 64 << 20  # of one mask image: as many as the pixels that are read
MAX_REDIRECTS = 4  # a choice, as is the next one
TRIES = 3

# Words in the path of a mask URL that do not name a file.
PLAIN_WORDS = {
    *("api", "v1", "projects", "tasks", "annotations"),
    *("masks", "mask", "index", "feature", "masks-dir"),
}


class MaskFiles:
    """Finds the mask image of one object in a folder or zip, or downloads it by its URL."""

    def __init__(self, masks_dir: str | None, download: Callable[[str], bytes] | None) -> None:
        self.masks_dir, self.download = masks_dir, download
        self._bundle = None if masks_dir is None else open_bundle(Path(masks_dir))
        self._names: dict[str, list[str]] = {}
        self._last: tuple[str, bytes] | None = None  # objects of a composite mask share a URL
        for name in self._bundle.names if self._bundle else ():
            if name.lower().endswith(SUFFIXES):
                self._names.setdefault(composed(PurePosixPath(name).stem), []).append(name)

    def fetch(self, object_id: str | None, url: str | None, where: str) -> bytes:
        """Bytes of the mask image of one object.

        Tried in this order: a file named by the object id, a file named like a part of the URL's
        path (from its end), the download.
        """
        for stem in (object_id, *url_stems(url)):
            names = self._names.get(composed(stem), []) if stem else []
            if len(names) > 1:
                problem = f"mask {stem:.60} is {names[0]} and {names[1]}"
                raise broken(where, problem, "keep one of them")
            if names and self._bundle is not None:
                return self._bundle.read(names[0])
        if url and self.download is not None:
            if self._last is None or self._last[0] != url:
                self._last = (url, self.download(url))
            return self._last[1]
        given = (
            f"in {self.masks_dir}" if self.masks_dir else "here, and no folder of masks is given"
        )
        problem = f"its mask {(object_id or '')[:60]} is not found {given}"
        raise broken(where, problem, "give --masks-dir with the downloaded masks, or --download")

    def drawer(self, object_id: str | None, url: object) -> Drawer:
        """Drawer of the mask image of one object, see `fetch`."""
        place = url if isinstance(url, str) else None
        return lambda c: object_mask(self.fetch(object_id, place, c.where), c.where)

    def colour_drawer(self, composite: Record) -> Drawer:
        """Drawer of the pixels of one colour (``color_rgb``) in a composite mask (``url``)."""
        url, colour = composite.get("url"), composite.get("color_rgb")

        def draw(canvas: Canvas) -> Mask:
            levels, where = colour if isinstance(colour, list) else [], canvas.where
            if len(levels) != 3 or any(type(n) is not int or not 0 <= n <= 255 for n in levels):
                raise broken(where, f"color_rgb {colour!r:.40}")
            data = self.fetch(None, url if isinstance(url, str) else None, where)
            drawn = (mask_image(data, where).colours() == np.asarray(levels, np.uint8)).all(axis=2)
            if not drawn.any():
                problem = f"no pixel of its colour {colour} in the composite mask"
                raise broken(where, problem, "export the labels and download the masks again")
            return np.asarray(drawn)

        return draw


def url_stems(url: str | None) -> list[str]:
    """File stems a URL may stand for, from the end of its path; numbers after `index` are none."""
    if not url:
        return []
    parts = [unquote(part) for part in urlsplit(url).path.split("/") if part]
    kept = [
        part
        for place, part in enumerate(parts)
        if part.lower() not in PLAIN_WORDS and (place == 0 or parts[place - 1] != "index")
    ]
    return [PurePosixPath(part).stem for part in reversed(kept)]


def mask_downloader(
    *,
    hosts: Collection[str] = LABELBOX_HOSTS,
    key_hosts: Collection[str] = KEY_HOSTS,
    key: str | None = None,
    allow_http: bool = False,
    timeout_s: float = 30.0,
) -> Callable[[str], bytes]:
    """Make the function that fetches one mask: URL in, bytes out.

    It raises `AnnotationRefused` for an address that is not allowed and `NetworkError` for one that
    does not answer. It asks ``hosts`` (names, or ``name:port``), and gives ``key_hosts`` the bearer
    key; None takes ``LABELBOX_API_KEY`` from the environment. Plain http is for a server of one's
    own. The timeout is that of each attempt.
    """
    token = key if key is not None else os.environ.get(KEY_VARIABLE)
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler())

    def fetch(url: str) -> bytes:
        address = url
        for _ in range(MAX_REDIRECTS + 1):
            _check(address, hosts, allow_http)
            headers = {"User-Agent": "l4f-datagen"}
            if token and urlsplit(address).netloc.lower() in key_hosts:
                headers["Authorization"] = f"Bearer {token}"
            answer = _ask(opener, address, headers, timeout_s)
            if isinstance(answer, bytes):
                return answer
            address = urljoin(address, answer)
        raise NetworkError(_shown(url), f"more than {MAX_REDIRECTS} redirects", "export again")

    return fetch


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Hands redirects back, so that their target is checked before it is asked."""

    def redirect_request(self, *_: object) -> None:
        return None


def _check(url: str, hosts: Collection[str], allow_http: bool) -> None:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise broken(_shown(url), "no address") from error
    if parts.scheme != "https" and not (allow_http and parts.scheme == "http"):
        raise broken(_shown(url), "not https", "only https masks are downloaded")
    if parts.username is not None or parts.password is not None:
        raise broken(_shown(url), "holds a user name", "remove it from the address")
    allowed = {name.lower() for name in hosts}
    if host not in allowed and f"{host}:{port}" not in allowed:
        problem = f"host {host!r:.60} is not on the list"
        raise broken(_shown(url), problem, "allow it with --mask-host")
    if port not in (None, 443) and f"{host}:{port}" not in allowed:
        raise broken(_shown(url), f"port {port}", "allow it with --mask-host HOST:PORT")


def _ask(
    opener: urllib.request.OpenerDirector, url: str, headers: dict[str, str], timeout_s: float
) -> bytes | str:
    """Bytes of an answer, or the address it redirects to."""
    for attempt in range(TRIES):
        try:
            request = urllib.request.Request(url, headers=headers)
            with opener.open(request, timeout=timeout_s) as answer:
                data: bytes = answer.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                problem = f"more than {MAX_BYTES >> 20} MiB"
                raise broken(_shown(url), problem, "a mask is smaller than that")
            return data
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection open
            location = error.headers.get("Location")
            if error.code in (301, 302, 303, 307, 308) and location:
                return str(location)
            if error.code in (401, 403):
                problem = f"refused with {error.code}"
                remedy = f"set {KEY_VARIABLE} to a valid key"
                raise NetworkError(_shown(url), problem, remedy) from error
            if error.code < 500 and error.code != 429:
                remedy = "composite masks die 30 days after the export: export again"
                raise NetworkError(_shown(url), f"answered {error.code}", remedy) from error
            reason = f"answered {error.code}"
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            reason = f"does not answer ({error})"
        if attempt + 1 < TRIES:
            time.sleep(0.2 * 2**attempt)
    raise NetworkError(_shown(url), reason, "try again later or give --masks-dir")


def _shown(url: str) -> str:
    """A URL without its query, which may hold a token."""
    return "mask " + url.split("?", 1)[0][:120]
