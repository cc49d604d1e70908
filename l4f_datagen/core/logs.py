"""Logs: the package's messages on standard error, for the command line and for scripts."""

import logging
import os
import sys
import time
from contextlib import suppress

PACKAGE = logging.getLogger("l4f_datagen")


class StderrHandler(logging.Handler):
    """Writes to the standard error of the moment, above a progress bar where one is drawn.

    Warnings get their level, and with ``-v`` all get time and source. A closed standard error loses
    the line and harms nothing.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        from tqdm import tqdm

        text = self.format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.capitalize()}: {text}"
        if PACKAGE.isEnabledFor(logging.DEBUG):
            text = f"{time.strftime('%H:%M:%S')} {record.name}: {text}"
        if sys.stderr is not None and not sys.stderr.closed:
            with suppress(OSError, ValueError):
                tqdm.write(text, file=sys.stderr)


def show_logs(level: int = logging.INFO) -> None:
    """Show the package's messages from ``level`` on; a second call changes the level alone.

    Under ``torchrun`` the first process speaks for all: the others show warnings only.
    """
    if not any(isinstance(handler, StderrHandler) for handler in PACKAGE.handlers):
        PACKAGE.addHandler(StderrHandler())
    follows = os.environ.get("RANK", "0") != "0"
    PACKAGE.setLevel(max(level, logging.WARNING) if follows else level)
