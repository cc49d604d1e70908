"""Client: the official client of the Hub, logged in, patient and quiet."""

import logging
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, get_session, get_token, utils
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from l4f_datagen.core.errors import L4FError, NetworkError
from l4f_datagen.core.progress import duration_text

T = TypeVar("T")
Arguments = ParamSpec("Arguments")
logger = logging.getLogger(__name__)

STALL_S = 120.0
"""One read or write without any progress for so long is given up; a loaded Hub needs up to 60 s."""
WAITS_S = (1.0, 4.0, 10.0)
"""Before each further try of a call that may succeed later; the client's own tries come first."""
MAX_WAIT_S = 600.0
"""The Hub counts requests in windows of five minutes: nothing longer is worth waiting for."""
NEWS_S = 10.0  # a long call is reported so often
TRANSIENT = (408, 409, 412, 429, 500, 502, 503, 504)
"""After these the same request may succeed; 409 and 412: another commit at the same moment."""
TOKENS = "https://huggingface.co/settings/tokens"
RESUME = "run the same command again: what has arrived is not sent twice"

WRITE = f"use a repository of your own, or a token with write access ({TOKENS})"
UNKNOWN = "there is no such dataset or revision, or this token cannot see it"
PROBLEMS = {
    401: ("the token is not valid", f"make one at {TOKENS} and put it into HF_TOKEN"),
    403: ("this token may not write there", WRITE),
    404: (UNKNOWN, "check the name and the token's rights"),
    409: ("another upload is in progress there", RESUME),
    412: ("another upload changed it meanwhile", RESUME),
    413: ("a file is too large for the Hub", "make the dataset with smaller shards"),
    429: ("too many requests for the Hub", f"wait a few minutes and {RESUME}"),
}


@contextmanager
def hub_session(subject: str) -> Iterator[HfApi]:
    """Give the client for the Hub of ``HF_ENDPOINT``, with the token of ``HF_TOKEN`` or the login.

    Inside the block it prints nothing, and its failures become one NetworkError without the token.
    """
    if constants.HF_HUB_OFFLINE:
        raise NetworkError("HF_HUB_OFFLINE", "is set", "unset it to publish")
    problem, remedy = "", ""
    try:
        token = get_token() or ""
    except Exception as error:  # the client's logins of organisations raise errors of many classes
        token, problem, remedy = "", f"cannot be read ({type(error).__name__})", "log in again"
    if not token and not problem:
        problem, remedy = "is missing", "set HF_TOKEN or log in with `hf auth login`"
    elif not re.fullmatch(r"[!-~]*", token):
        problem, remedy = "contains characters that no token has", f"copy it again from {TOKENS}"
    if problem:
        raise NetworkError("Hugging Face token", problem, remedy)
    with quiet(), translate_errors(subject, token):
        yield HfApi(token=token)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the client's bars and messages out of the terminal: ``retry`` says what matters."""
    with ExitStack() as stack:
        for name in ("huggingface_hub", "httpx2", "httpcore2"):
            loud = logging.getLogger(name)
            stack.callback(loud.setLevel, loud.level)
            loud.setLevel(logging.CRITICAL)
        if not utils.are_progress_bars_disabled():
            utils.disable_progress_bars()
            stack.callback(utils.enable_progress_bars)
        yield


def retry(call: Callable[Arguments, T], *args: Arguments.args, **options: Arguments.kwargs) -> T:
    """Call the Hub, and again after a while where that may help; ``Retry-After`` is honoured."""
    waits = iter(WAITS_S)
    while True:
        # The client makes its sessions without a time limit, and new ones after a lost connection.
        session = get_session()
        if session.timeout == httpx2.Timeout(None):
            session.timeout = httpx2.Timeout(STALL_S)
        try:
            return call(*args, **options)
        except Exception as error:
            cause, wait = _root_of(error), next(waits, None)
            reason, asked, transient = "the connection to the Hub failed", "", _is_lost(cause)
            if isinstance(cause, HfHubHTTPError):
                status = cause.response.status_code
                reason = f"{PROBLEMS.get(status, ('the Hub failed', ''))[0]} ({status})"
                asked = cause.response.headers.get("Retry-After", "")
                transient = status in TRANSIENT
            if wait is None or not transient:
                raise
            wait = min(float(asked) if re.fullmatch(r"\d+(\.\d+)?", asked) else wait, MAX_WAIT_S)
            logger.info("%s: trying again in %g s", reason, wait)
            time.sleep(wait)


@contextmanager
def news(what: str) -> Iterator[None]:
    """Say what is done, and every ten seconds that it still is."""
    done = threading.Event()

    def report() -> None:
        start = time.monotonic()
        while not done.wait(NEWS_S):
            logger.info("%s: %s so far", what, duration_text(time.monotonic() - start))

    logger.info("%s", what)
    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _root_of(error: BaseException) -> BaseException:
    """Return what the client wrapped: its uploads raise ``RuntimeError`` from the real failure."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def translate_errors(subject: str, token: str) -> Iterator[None]:
    """Turn failures of the client into one line, and keep the token out of it."""
    try:
        yield
    except L4FError:
        raise
    except Exception as error:
        failure = describe_failure(subject, _root_of(error), token)
        if failure is None and token not in "".join(traceback.format_exception(error)):
            raise  # a defect of this tool: its traceback helps, and does not show the token
        what = f"{type(error).__name__}: {error}".replace(token, "***")
        raise (failure or NetworkError(subject, what, "report this")) from None


def describe_failure(subject: str, error: BaseException, token: str) -> NetworkError | None:
    """Describe a failure of the Hub or the network; None for one that is neither."""
    if isinstance(error, HfHubHTTPError):
        status = 404 if isinstance(error, RepositoryNotFoundError) else error.response.status_code
        default = ("the Hub refused the request", "correct what it names")
        if status >= 500:
            default = ("the Hub failed", f"wait a few minutes and {RESUME}")
        problem, remedy = PROBLEMS.get(status, default)
        message = (error.server_message or "").replace(token, "***")
        message = f": {' '.join(message.split())[:200]}" if status not in (401, 404) else ""
        return NetworkError(subject, f"{problem} ({error.response.status_code}{message})", remedy)
    if isinstance(error, OfflineModeIsEnabled):
        return NetworkError(subject, "HF_HUB_OFFLINE is set", "unset it to publish")
    said = " ".join(str(error).replace(token, "***").split())
    if isinstance(error, ValueError) and "Invalid metadata in README.md" in said:
        said = said.partition("README.md.")[2].strip()
        return NetworkError(subject, f"the Hub refuses the card's YAML head ({said})", "repair it")
    if not _is_lost(error):
        return None
    problem = f"the connection failed ({said[:200] or type(error).__name__})"
    if isinstance(error, httpx2.TimeoutException):
        problem = f"the Hub did not answer for {STALL_S:g} s"
    return NetworkError(subject, problem, f"check the network and {RESUME}")


def _is_lost(error: BaseException) -> bool:
    """Whether the way to the Hub failed; the Xet client raises its own classes for that."""
    names = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    lost = httpx2.HTTPError | ConnectionError | TimeoutError | RuntimeError
    return isinstance(error, lost) or "hf_xet" in names
