"""Session: the login, patience, and failures of the Hub in one line that never shows the token."""

import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import disable_progress_bars

from l4f_datagen.core.errors import L4FError, NetworkError

T = TypeVar("T")

STALL_S = 120.0
"""How long one read or write may make no progress at all."""
WAITS_S = (1.0, 4.0, 10.0)
"""Before each further try of a call that may yet go well."""
MAX_WAIT_S = 600.0
AGAIN = (408, 409, 412, 429, 500, 502, 503, 504)
TOKENS = "https://huggingface.co/settings/tokens"
RESUME = "run the same command again: what has arrived is not sent twice"

PROBLEMS = {
    401: ("the token is not valid", f"make one at {TOKENS} and put it into HF_TOKEN"),
    403: (
        "this token may not write there",
        f"take a name of your own, or a token with write access ({TOKENS})",
    ),
    404: (
        "no such dataset or revision, or none that this token can see",
        "see to the name and the token's rights",
    ),
    409: ("somebody else is writing there", RESUME),
    412: ("somebody else wrote there meanwhile", RESUME),
    413: ("the Hub finds a file too big", "make it with smaller shards"),
    429: ("the Hub asks to slow down", f"wait a while and {RESUME}"),
}


def open_session() -> tuple[HfApi, str]:
    """Return the client for the Hub of ``HF_ENDPOINT``, and its token.

    The token comes from ``HF_TOKEN`` or the usual login.

    Raises:
        NetworkError: no token, an unusable one, or offline mode.
    """
    if constants.HF_HUB_OFFLINE:
        raise NetworkError("HF_HUB_OFFLINE", "is set", "unset it to publish")
    try:
        token = get_token()
    except Exception as error:  # a login of an organisation that fails in its own ways
        problem = f"cannot be had ({type(error).__name__})"
        raise NetworkError("Hugging Face token", problem, "log in again") from None
    if not token:
        raise NetworkError(
            "Hugging Face token", "there is none", "set HF_TOKEN or log in with `hf auth login`"
        )
    if not re.fullmatch(r"[!-~]+", token):
        raise NetworkError(
            "Hugging Face token", "has characters no token has", f"copy it again from {TOKENS}"
        )
    if not sys.stderr.isatty() and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token), token


def patiently(call: Callable[[], T]) -> T:
    """Call the Hub, and again after a while where that may help; ``Retry-After`` is honoured.

    Raises:
        Exception: what the last try raised.
    """
    for wait in (*WAITS_S, None):
        client = get_session()
        if client.timeout == httpx2.Timeout(None):
            client.timeout = httpx2.Timeout(STALL_S)
        try:
            return call()
        except Exception as error:
            if wait is None or not _may_pass(root_of(error)):
                raise
            time.sleep(min(retry_after_s(root_of(error)) or wait, MAX_WAIT_S))
    raise AssertionError("unreachable")


def root_of(error: BaseException) -> BaseException:
    """Return what the client wrapped: its uploads raise ``RuntimeError`` from the real failure."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def retry_after_s(error: BaseException) -> float:
    """Return the seconds a refusal asks to wait, 0 where it asks for none."""
    response = getattr(error, "response", None)
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return float(asked) if re.fullmatch(r"\d+(\.\d+)?", asked) else 0.0


@contextmanager
def in_words(subject: str, token: str) -> Iterator[None]:
    """Turn failures inside the block into one line, and keep the token out of it and of all logs.

    Raises:
        NetworkError: instead of what the client raised.
    """
    scrub = _Scrubber(token)
    handlers = [*logging.getLogger("huggingface_hub").handlers, *logging.getLogger().handlers]
    for handler in handlers:
        handler.addFilter(scrub)
    try:
        yield
    except L4FError:
        raise
    except Exception as error:
        worded = failure(subject, root_of(error), token)
        shown = "".join(traceback.format_exception(error))
        if worded is None and token not in shown:
            raise  # a fault of our own: its traceback helps, and shows no secret
        if worded is None:
            what = f"{type(error).__name__}: {error}".replace(token, "***")
            worded = NetworkError(subject, what, "report this")
        raise worded from None
    finally:
        for handler in handlers:
            handler.removeFilter(scrub)


def failure(subject: str, error: BaseException, token: str) -> NetworkError | None:
    """Word a failure of the Hub or of the way there; None for one that is neither."""
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if isinstance(error, RepositoryNotFoundError):
            status = 404
        default = ("the Hub failed", f"wait a while and {RESUME}")
        if status < 500:
            default = ("the Hub refused", "see to what it says")
        problem, remedy = PROBLEMS.get(status, default)
        said = (error.server_message or "").replace(token, "***")
        said = f": {' '.join(said.split())[:200]}" if said and status not in (401, 404) else ""
        return NetworkError(subject, f"{problem} ({error.response.status_code}{said})", remedy)
    if isinstance(error, OfflineModeIsEnabled):
        return NetworkError(subject, "HF_HUB_OFFLINE is set", "unset it to publish")
    if isinstance(error, httpx2.TimeoutException):
        problem = f"the Hub was silent for {STALL_S:g} s"
        return NetworkError(subject, problem, f"see to the network and {RESUME}")
    if isinstance(error, httpx2.HTTPError | ConnectionError | TimeoutError) or _of_xet(error):
        what = " ".join(str(error).replace(token, "***").split())[:200]
        problem = f"the connection failed ({what or type(error).__name__})"
        return NetworkError(subject, problem, f"see to the network and {RESUME}")
    if isinstance(error, ValueError) and "Invalid metadata in README.md" in str(error):
        said = " ".join(str(error).partition("README.md.")[2].replace(token, "***").split())
        return NetworkError(subject, f"the Hub refuses the card's YAML head ({said})", "repair it")
    return None


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in AGAIN
    lost = httpx2.TransportError | ConnectionError | TimeoutError
    return isinstance(error, lost) or _of_xet(error)


def _of_xet(error: BaseException) -> bool:
    """Whether the Xet client failed; it raises its own classes, and ``RuntimeError``."""
    names = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return "hf_xet" in names or isinstance(error, RuntimeError)


class _Scrubber(logging.Filter):
    """Takes a token out of log records."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the message; every record passes."""
        message: Any = record.getMessage()
        if self._token in message:
            record.msg, record.args = message.replace(self._token, "***"), ()
        return True
