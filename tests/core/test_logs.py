"""Logs: messages on standard error, and no failure where there is none."""

import io
import logging
import sys

import pytest

from l4f_datagen.core.logs import show_logs

logger = logging.getLogger("l4f_datagen.test")


@pytest.mark.parametrize(
    ("level", "shown"), [(logging.INFO, "one\nWarning: two\n"), (logging.WARNING, "Warning: two\n")]
)
def test_messages_from_a_level_on_go_to_standard_error(capsys, level, shown):
    show_logs(logging.INFO)
    show_logs(level)  # no second handler, or each line would stand twice
    logger.info("one")
    logger.warning("two")
    assert capsys.readouterr() == ("", shown)


def test_verbose_messages_carry_their_source(capsys):
    show_logs(logging.DEBUG)
    logger.debug("detail")
    assert capsys.readouterr().err.endswith(" l4f_datagen.test: detail\n")


def test_the_other_processes_of_a_training_only_warn(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    show_logs()
    logger.info("said by the first")
    logger.warning("said by all")
    assert capsys.readouterr().err == "Warning: said by all\n"


def test_a_closed_standard_error_is_no_failure(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    show_logs()
    stream.close()
    logger.info("nobody reads this")
    monkeypatch.setattr(sys, "stderr", None)
    logger.info("nor this")
