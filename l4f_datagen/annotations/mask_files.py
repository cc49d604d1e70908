"""Mask files an export points to: by object id or URL in a folder, or downloaded on request.

An export is a foreign file, so its URLs are not trusted: only https, only hosts of an allow-list,
only as many bytes as a mask may have, and every redirect is checked like the first address. The key
goes to the service itself and to no other host, allowed or not.
"""

import http.client
import os
import time
import urllib.error
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

import numpy as np

from l4f_datagen.core.errors import NetworkError
from l4f_datagen.core.masks import Mask

from .bundle import open_bundle
from .drawing import Area, Canvas
from .mask_rule import mask_image, object_mask
from .records import URL_PATH, Record, broken, composed
from .truth import TruthOptions

LABELBOX_HOSTS = frozenset(("api.labelbox.com", "storage.labelbox.com", "storage.googleapis.com"))
KEY_HOSTS = frozenset(("api.labelbox.com",))
KEY_VARIABLE = "LABELBOX_API_KEY"
MAX_BYTES = 64 << 20  # of one mask image: as many as the pixels that are read
MAX_REDIRECTS = 4  # a choice, as is the next one
TRIES = 3

# Parts of the path of a mask URL that do not name a file.
PLAIN_WORDS = ("", "api", "v1", "projects", "tasks", "annotations", "masks", "mask", "index",
               "feature", "masks-dir")  # fmt: skip


class MaskFiles:
    """Finds the mask image of one object in a folder or zip, or downloads it by its URL."""

    def __init__(self, options: TruthOptions) -> None:
        self.masks_dir = options.masks_dir
        self._bundle = open_bundle(Path(self.masks_dir)) if self.masks_dir is not None else None
        # Objects of a composite mask share a URL.
        self._download = options.download and lru_cache(maxsize=1)(options.download)

    def fetch(self, object_id: object, url: object, where: str) -> bytes:
        """Bytes of the mask image of one object.

        Tried in this order: a file named by the object id, a file named like a part of the URL's
        path (from its end), the download.
        """
        own, address = (text if isinstance(text, str) else "" for text in (object_id, url))
        match = URL_PATH.match(address)
        parts = (match.group(1) if match else address.partition("?")[0]).split("/")
        pairs = zip(["", *parts], parts, strict=False)  # numbers after `index` name no file
        named = [p for before, p in pairs if before != "index" and p.lower() not in PLAIN_WORDS]
        for stem in (own, *(PurePosixPath(unquote(part)).stem for part in reversed(named))):
            names = self._bundle.images.get(composed(stem), []) if self._bundle else []
            if len(names) > 1:
                raise broken(where, f"mask {stem:.60} is {names[0]} and {names[1]}", "keep one")
            if names and self._bundle:
                return self._bundle.read(names[0])
        if address and self._download is not None:
            return self._download(address)
        given = f"in {self.masks_dir}" if self.masks_dir else "here: no folder of masks is given"
        remedy = "give --masks-dir with the downloaded masks, or --download"
        raise broken(where, f"its mask {own[:60]} is not found {given}", remedy)

    def area(self, object_id: object, url: object) -> Area:
        """The object in the mask image of its own, see `fetch`."""
        return Area(lambda c: object_mask(self.fetch(object_id, url, c.where), c.where))

    def colour_area(self, composite: Record) -> Area:
        """The pixels of one colour (``color_rgb``) in a composite mask (``url``)."""
        url, colour = composite.many("url", "color_rgb")

        def draw(canvas: Canvas) -> Mask:
            levels, where = colour if isinstance(colour, list) else [], canvas.where
            if len(levels) != 3 or any(type(n) is not int or not 0 <= n <= 255 for n in levels):
                raise broken(where, f"color_rgb {colour!r:.40}")
            planes = mask_image(self.fetch(None, url, where), where)
            drawn = (planes.colours() == np.asarray(levels, np.uint8)).all(axis=2)
            if not drawn.any():
                raise broken(where, f"no pixel of its colour {colour} in the composite mask")
            return np.asarray(drawn)

        return Area(draw)


def mask_downloader(
    *,
    hosts: Collection[str] = LABELBOX_HOSTS,
    key_hosts: Collection[str] = KEY_HOSTS,
    allow_http: bool = False,
    timeout_s: float = 30.0,
) -> Callable[[str], bytes]:
    """Make the function that fetches one mask: URL in, bytes out.

    It raises `AnnotationRefused` for an address that is not allowed and `NetworkError` for one that
    does not answer. It asks ``hosts`` (names, or ``name:port``), and gives ``key_hosts``
    ``LABELBOX_API_KEY`` of the environment as bearer key. Plain http is for a server of one's own.
    The timeout is that of each attempt.
    """
    token, opener = os.environ.get(KEY_VARIABLE), build_opener(_NoRedirect)

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


class _NoRedirect(HTTPRedirectHandler):
    """Hands redirects back, so that their target is checked before it is asked."""

    def redirect_request(self, *_: object) -> None:
        return None


def _check(url: str, hosts: Collection[str], allow_http: bool) -> None:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise broken(_shown(url), "no address") from error
    allowed, shown = {name.lower() for name in hosts}, _shown(url)
    is_named = f"{host}:{port}" in allowed
    if parts.scheme not in (("https", "http") if allow_http else ("https",)):
        raise broken(shown, "not https", "only https masks are downloaded")
    if "@" in parts.netloc:
        raise broken(shown, "holds a user name", "remove it from the address")
    if not is_named and host not in allowed:
        raise broken(shown, f"host {host!r:.60} is not on the list", "allow it with --mask-host")
    if not is_named and port not in (None, 443):
        raise broken(shown, f"port {port}", "allow it with --mask-host HOST:PORT")


def _ask(
    opener: OpenerDirector, url: str, headers: dict[str, str], timeout_s: float
) -> bytes | str:
    """Bytes of an answer, or the address it redirects to."""
    shown = _shown(url)
    for attempt in range(TRIES):
        try:
            with opener.open(Request(url, headers=headers), timeout=timeout_s) as answer:
                data: bytes = answer.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise broken(shown, f"more than {MAX_BYTES >> 20} MiB", "no mask is that large")
            return data
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection open
            location = error.headers.get("Location")
            if error.code in (301, 302, 303, 307, 308) and location:
                return str(location)
            reason = f"answered {error.code}"
            if error.code < 500 and error.code != 429:
                remedy = "masks die after 30 days: export again"
                remedy = (
                    f"set {KEY_VARIABLE} to a valid key" if error.code in (401, 403) else remedy
                )
                raise NetworkError(shown, reason, remedy) from error
        except (http.client.HTTPException, OSError, ValueError) as error:  # URLError is an OSError
            reason = f"does not answer ({error})"
        if attempt + 1 < TRIES:
            time.sleep(0.2 * 2**attempt)
    raise NetworkError(shown, reason, "try again later or give --masks-dir")


def _shown(url: str) -> str:
    """A URL without its query, which may hold a token."""
    return "mask " + url.split("?", 1)[0][:120]
