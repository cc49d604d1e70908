"""Logs: messages on standard error, and no failure where there is none."""

import io
import logging
import sys

import pytest

from l4f_datagen.core.logs import show_logs

logger = logging.getLogger("l4f_datagen.test")


@pytest.mark.parametrize(
    ("level", "rank", "shown"),
    [
        (logging.INFO, "0", "one\nWarning: two\n"),
        (logging.WARNING, "0", "Warning: two\n"),
        (logging.INFO, "1", "Warning: two\n"),  # the other processes of a training only warn
    ],
)
def test_messages_from_a_level_on_go_to_standard_error(capsys, monkeypatch, level, rank, shown):
    monkeypatch.setenv("RANK", rank)
    show_logs(logging.INFO)
    show_logs(level)  # no second handler, or each line would stand twice
    logger.info("one")
    logger.warning("two")
    assert capsys.readouterr() == ("", shown)


def test_verbose_messages_carry_their_source(capsys):
    show_logs(logging.DEBUG)
    logger.debug("detail")
    assert capsys.readouterr().err.endswith(" l4f_datagen.test: detail\n")


def test_a_closed_standard_error_is_no_failure(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    show_logs()
    stream.close()
    logger.info("nobody reads this")
    monkeypatch.setattr(sys, "stderr", None)
    logger.info("nor this")
