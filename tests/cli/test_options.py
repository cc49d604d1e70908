"""Lists of psi and of formats are read as told."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4f_datagen.cli import cli
from l4f_datagen.cli.options import FORMAT_LIST, PSI_LIST

PSI = {
    "0.7": (0.7,),
    "0.5,0.7,1.0": (0.5, 0.7, 1.0),
    "1,0.5": (1.0, 0.5),
    "0.5:1,0.7:2": (0.5, 0.7, 0.7),
    "0.5:2,0.7:4": (0.5, 0.7, 0.7),
    "0.7:6": (0.7,),
    "0,2": (0.0, 2.0),
    "0.5:,1": (0.5, 1.0),
}
FORMATS = {"png": ("png",), "hf, png": ("png", "hf"), "coco,png,coco": ("png", "coco")}
WRONG_PSI = {
    "": "expected numbers such as 0.5,0.7 or 0.5:1,0.7:2, got ''",
    "0.5,": "expected numbers such as",
    "0.5:1.5": "expected numbers such as",
    "2.1": "psi must be in [0, 2], got 2.1",
    "-0.1": "psi must be in [0, 2], got -0.1",
    "nan": "psi must be in [0, 2], got nan",
    "0.5:0": "a share must be from 1 to 1000, got 0",
    "0.5:1001": "a share must be from 1 to 1000, got 1001",
    "0.5,0.50": "psi 0.50 is named twice; give it a share instead, 0.50:2",
}


def test_lists():
    for kind, table in ((PSI_LIST, PSI), (FORMAT_LIST, FORMATS)):
        assert {text: kind.convert(text, None, None) for text in table} == table
    for flag in ("--formats", "--format"):
        words = ["--n", "1", "--out", "x", flag, "coco,png"]
        context = cli.commands["make"].make_context("make", words)
        assert context.params["formats"] == ("png", "coco")


@given(
    st.dictionaries(st.sampled_from([0.1, 0.35, 0.7, 1.0, 1.999]), st.integers(1, 40), min_size=1)
)
def test_shares_are_exact_and_in_lowest_terms(shares):
    text = ",".join(f"{psi}:{share}" for psi, share in shares.items())
    turns = PSI_LIST.convert(text, None, None)
    counts = {psi: turns.count(psi) for psi in shares}
    assert list(dict.fromkeys(turns)) == list(shares)
    first = next(iter(shares))
    assert all(counts[psi] * shares[first] == shares[psi] * counts[first] for psi in shares)
    assert not any(all(count % k == 0 for count in counts.values()) for k in range(2, 41))


def test_lists_that_are_refused():
    cases = [(PSI_LIST, text, problem) for text, problem in WRONG_PSI.items()]
    for text in ("", "png,", "PNG", "png coco", "yolo9"):
        cases.append((FORMAT_LIST, text, f"{text.split(',')[-1]!r} is not a format"))
    for kind, text, problem in cases:
        with pytest.raises(click.BadParameter) as caught:
            kind.convert(text, None, None)
        assert problem in caught.value.message
