"""Progress: a bar on a terminal, lines elsewhere, silence where nobody asked for messages."""

import io
import logging
import os
import sys
from types import SimpleNamespace

import pytest

from l4f_datagen.core import progress as module
from l4f_datagen.core.progress import Meter, Progress, duration_text, size_text, usable_cores


def samples(accepted, rejected):
    return [SimpleNamespace(reason=None)] * accepted + [SimpleNamespace(reason="x")] * rejected


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    watch = SimpleNamespace(now=0.0, monotonic=lambda: watch.now)
    monkeypatch.setattr(module, "time", watch)
    return watch


def test_blocks_advance_by_what_is_counted_and_a_shard_that_ends_inside_one_is_set_right():
    attempts, accepted = Progress(20, "attempts"), Progress(20, "accepted")
    for progress, done in ((attempts, 5), (accepted, 3)):
        progress.rendered(samples(3, 2))
        assert progress.meter.done == done
        assert progress.meter.line().endswith("accepted 3, rejected 2")
    accepted.rendered(samples(15, 1))
    accepted.rendered(samples(5, 4))  # the plan wants 20: three of these are cut away
    assert accepted.meter.done == 20
    accepted.settle(20, 25)
    assert (accepted.meter.done, accepted.accepted, accepted.rejected) == (20, 20, 5)


def test_samples_of_an_earlier_run_make_this_one_no_faster(clock):
    progress = Progress(20, "accepted")
    progress.found(10, 14)
    clock.now = 2.0
    progress.rendered(samples(4, 0))
    assert progress.meter.line() == (
        "make: 14 of 20 samples (70%), 2 samples/s, 3 s left, accepted 14, rejected 4"
    )


def test_off_a_terminal_lines_become_rarer(clock, caplog):
    meter = Meter(1000, "train", "steps")
    for second in range(1, 200):
        clock.now = float(second)
        meter.advance(loss=0.5)
    assert len(caplog.messages) == 6 + 2
    assert caplog.messages[0] == ("train: 10 of 1,000 steps (1%), 1 steps/s, 16 min left, loss 0.5")


def test_a_terminal_gets_a_bar_and_quiet_gets_nothing(monkeypatch):
    for level, shown in ((logging.INFO, True), (logging.WARNING, False)):
        stream = io.StringIO()
        stream.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", stream)
        logging.getLogger("l4f_datagen").setLevel(level)
        with Meter(3, "get", "bytes", in_bytes=True) as meter:
            meter.found(1)
            meter.advance(2)
        assert ("get: 100%" in stream.getvalue()) is shown


@pytest.mark.parametrize("is_none", [True, False])
def test_no_standard_error_is_no_failure(monkeypatch, is_none):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", None if is_none else closed)
    with Progress(3, "accepted") as progress:
        progress.rendered(samples(3, 1))
    assert progress.accepted == 3


def test_amounts_read_as_people_write_them():
    durations = {5: "5 s", 200: "3 min", 4000: "1 h 7 min", 3e5: "3.5 days"}
    assert {seconds: duration_text(seconds) for seconds in durations} == durations
    sizes = {12: "12 bytes", 364_027_523: "364 MB", 2e12: "2 TB"}
    assert {size: size_text(size) for size in sizes} == sizes


def test_a_process_confined_to_some_cores_counts_those_else_all(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 6}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    for told, counted in ((7, 7), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda told=told: told)
        assert usable_cores() == counted
