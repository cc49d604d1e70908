import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l4f_datagen.core.errors import UsageError
from l4f_datagen.recipe.seeds import MAX_SEED, parse_seeds

LISTS = {
    "7": [7],
    "0-3": [0, 1, 2, 3],
    "5,1-2,9": [5, 1, 2, 9],
    "3-3": [3],
    "007": [7],
    f"{MAX_SEED}": [MAX_SEED],
    f"{MAX_SEED - 1}-": [MAX_SEED - 1, MAX_SEED],
}


@pytest.mark.parametrize("text", LISTS)
def test_lists(text):
    parsed, seeds = parse_seeds(text), LISTS[text]
    assert list(parsed) == [parsed[k] for k in range(len(parsed))] == seeds
    for beyond in (len(seeds), -1, -len(seeds)):
        with pytest.raises(IndexError):
            parsed[beyond]


def test_an_open_end_goes_to_the_last_32_bit_seed():
    seeds = parse_seeds("10-19,100-")
    assert len(seeds) == 10 + 2**32 - 100
    assert [seeds[k] for k in (9, 10, 11, len(seeds) - 1)] == [19, 100, 101, MAX_SEED]


@settings(deadline=None)  # busy machines
@given(st.lists(st.integers(0, 300), min_size=2, max_size=8, unique=True).map(sorted))
def test_any_cut_into_ranges_reads_back(bounds):
    ranges = list(zip(bounds[::2], bounds[1::2], strict=False))
    ranges = ranges[1:] + ranges[:1]  # order is kept, not sorted
    parsed = parse_seeds(",".join(f"{first}-{last}" for first, last in ranges))
    expected = list(itertools.chain(*(range(first, last + 1) for first, last in ranges)))
    assert list(parsed) == [parsed[k] for k in range(len(parsed))] == expected


NO_LISTS = ["", "a", "1,", ",1", "-1", "1--2", "1 2", "1, 2", "1-2-3", "1.5", "0-3\n", "9" * 50]
REFUSED = dict.fromkeys(NO_LISTS, r"expected ranges such as 0-99,120, got '.*'; write for example")
REFUSED |= {
    "9-3": "9-3 runs backwards; write for example --seeds 0-99,120",
    f"{2**32}": f"{2**32} goes beyond {MAX_SEED}; seeds are 32-bit",
    f"0-{2**32}": f"0-{2**32} goes beyond {MAX_SEED}; seeds are 32-bit",
    f"{2**32}-": f"{2**32}- runs backwards",
    "0-5,5": "names seed 5 twice; write",
    "5,0-9": "names seed 5 twice; write",
    "0-,7": "names seed 7 twice; write",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_list(text):
    with pytest.raises(UsageError, match=f"^--seeds: {REFUSED[text]}"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("0-", [0, 1, 2, 3, 4]),
        ("3-", [3, 4]),
        ("4,0-2", [4, 0, 1, 2]),
        ("0-4", [0, 1, 2, 3, 4]),
        ("2,3-", [2, 3, 4]),
        *(("5", 5), ("0-7", 7), ("5-", 5), ("0-2,9", 9), ("0,100-", 100)),  # rows not there
    ],
)
def test_seeds_as_rows_of_a_file(text, taken):
    if isinstance(taken, list):
        assert list(parse_seeds(text).rows_of(5, "ws.npy")) == taken
        return
    with pytest.raises(UsageError) as caught:
        parse_seeds(text).rows_of(5, "ws.npy")
    told = f"--seeds: names row {taken}, but ws.npy has 5; rows count from 0 to 4"
    assert str(caught.value) == told
