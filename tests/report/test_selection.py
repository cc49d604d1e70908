import numpy as np
import pytest

from l4f_datagen.report.html import choose_shown
from l4f_datagen.report.records import records_of


def records(n, *, rejected=0.2, psis=(0.5, 1.0), seed=0):
    rng = np.random.RandomState(seed)
    rows = (
        {
            "image_id": k + 1,
            "psi": psis[k % len(psis)],
            "seed": k // len(psis),
            "shard": 0,
            "status": "rejected" if out else "accepted",
            "reason": "coverage_low" if out else None,
            "scores": {"border_contact": float(rng.rand())},
        }
        for k, out in enumerate(rng.rand(n) < rejected)
    )
    return records_of(rows)


@pytest.mark.parametrize("n", [0, 1, 2, 29, 30])
def test_few_samples_are_all_shown(n):
    assert sorted(choose_shown(records(n), 30)) == list(range(n))


@pytest.mark.parametrize("rejected", [0, 0.02, 0.2, 0.9, 1])
def test_many_are_cut_to_the_limit_each_once(rejected):
    table = records(1000, rejected=rejected)
    chosen = choose_shown(table, 60)
    assert len(chosen) == len(set(chosen)) == 60
    kept = int(table.accepted[chosen].sum())
    most = int(table.accepted.sum())
    assert kept == min(most, max(40, 60 - (1000 - most)))


def test_half_are_the_worst_and_half_an_even_spread():
    table = records(1000, rejected=0)
    chosen = choose_shown(table, 100)
    worst = np.argsort(-table.scores["border_contact"])[:50]
    assert set(worst.tolist()) <= set(chosen)
    rest = sorted(set(chosen) - set(worst.tolist()))
    assert abs(np.sum(table.psi[rest] == 0.5) - 25) <= 1
    assert np.diff(rest).max() < 100  # no tenth of the plan is left out
    assert rest[0] < 50
    assert rest[-1] > 900


def test_the_choice_is_a_function_of_the_ledger():
    assert choose_shown(records(500), 50) == choose_shown(records(500), 50)


def test_every_beginning_is_fair():
    table = records(1000)
    first = choose_shown(table, 90)[:30]
    assert 18 <= table.accepted[first].sum() <= 22
    worst_half = table.worst()[first] > np.quantile(table.worst(), 0.9)
    assert 11 <= worst_half.sum() <= 21
