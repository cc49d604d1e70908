"""Logs: the package's messages on standard error, for the command line and for scripts."""

import logging
import os
import sys
import time

PACKAGE = logging.getLogger("l4f_datagen")


class StderrHandler(logging.Handler):
    """Writes to the standard error of the moment, above a progress bar where one is drawn."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the message; warnings get their level, and with ``-v`` all get time and source."""
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.capitalize()}: {text}"
        if PACKAGE.isEnabledFor(logging.DEBUG):
            return f"{time.strftime('%H:%M:%S')} {record.name}: {text}"
        return text

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a closed standard error loses it and harms nothing."""
        from tqdm import tqdm

        if sys.stderr is None or sys.stderr.closed:
            return
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except (OSError, ValueError):
            return


def show_logs(level: int = logging.INFO) -> None:
    """Show the package's messages from ``level`` on; a second call changes the level alone.

    Under ``torchrun`` the first process speaks for all: the others show warnings only.
    """
    if not any(isinstance(handler, StderrHandler) for handler in PACKAGE.handlers):
        PACKAGE.addHandler(StderrHandler())
    follows = os.environ.get("RANK", "0") != "0"
    PACKAGE.setLevel(max(level, logging.WARNING) if follows else level)
