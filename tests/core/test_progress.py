import io
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from l4f_datagen.core.progress import Progress, show_progress


def samples(accepted, rejected):
    return [SimpleNamespace(reason=None)] * accepted + [SimpleNamespace(reason="x")] * rejected


@pytest.fixture
def bar():
    with tqdm(total=20, file=io.StringIO(), mininterval=0, desc="make") as bar:
        yield bar


def test_a_block_advances_by_what_is_counted(bar):
    progress = Progress(bar, "accepted")
    progress.rendered(samples(3, 2))
    assert bar.n == 3
    assert "accepted=3, rejected=2" in str(bar)


def test_attempts_count_rejected_ones_too(bar):
    progress = Progress(bar, "attempts")
    progress.rendered(samples(3, 2))
    assert bar.n == 5
    assert "accepted=3, rejected=2" in str(bar)


def test_what_lay_there_makes_this_run_no_faster(bar):
    progress = Progress(bar, "accepted")
    progress.found(10, 14)
    assert (bar.n, bar.initial) == (10, 10)
    assert "accepted=10, rejected=4" in str(bar)
    progress.rendered(samples(4, 0))
    assert (bar.n, bar.initial) == (14, 10)
    facts = {**bar.format_dict, "elapsed": 2.0, "rate": None}
    assert "2.00it/s" in tqdm.format_meter(**facts)  # 4 in 2 seconds, not 14


def test_a_shard_that_ends_inside_a_block_is_set_right(bar):
    progress = Progress(bar, "accepted")
    progress.rendered(samples(18, 3))
    progress.rendered(samples(5, 4))  # the plan wants 20: three of these are cut away
    assert bar.n == 20
    progress.settle(20, 25)
    assert bar.n == 20
    assert "accepted=20, rejected=5" in str(bar)


def test_it_is_silent_where_nobody_looks(capsys):
    with show_progress(3, "accepted") as progress:
        progress.rendered(samples(3, 1))
    assert capsys.readouterr().err == ""
    assert (progress.accepted, progress.rejected) == (3, 1)
