"""The whole line on a tiny generator: same bytes twice, killed and resumed, other counts."""

import random
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from PIL import Image

from l4f_datagen.core.errors import L4FError, UsageError


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_two_runs_are_byte_identical_and_tell_the_same(make, made, rows_of, tmp_path, digests):
    counts = make("one")["counts"]
    assert digests(tmp_path / "one") == made("two")
    card = (tmp_path / "one" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["size_categories"] == ["n<1K"]
    assert head["license"] == "unknown"  # the recipe names none, and the Hub has this word
    assert "12 accepted of" in card
    assert "alpha > 0.5" in card
    assert pixels(tmp_path / "one" / "contact_sheet.png").shape[1] > 500
    assert counts["accepted"] == 12
    assert counts["attempted"] == 12 + sum(counts["rejected"].values())
    assert counts["rejected"]["coverage_low"] > 0  # else the filter was not put to work
    rows = rows_of("one")
    assert len(rows) == counts["attempted"]
    assert {row["psi"] for row in rows} == {0.5, 1.0}


def test_growing_keeps_what_is_there_and_equals_a_fresh_run(made, caplog):
    before, after = made("grown", 5), made("grown", 20)
    done = "is finished already: nothing was left to do"
    assert done not in caplog.text
    assert made("grown", 20) == after == made("fresh", 20)
    assert done in caplog.text
    images = {name: value for name, value in before.items() if name.startswith("images/")}
    assert images
    assert images.items() <= after.items()
    assert before["report.html"] != after["report.html"]


def test_unreachable_count_stops_with_words(make, tiny_recipe):
    tiny_recipe["filters"]["coverage"] = {"min": 1.0, "max": 1.0}
    tiny_recipe["sampling"]["seeds"] = "0-19"
    told = r"the plan ends with 0 of 12 samples accepted \(rejected: coverage_low 40\); give more"
    with pytest.raises(L4FError, match=told):
        make("out")


def test_alpha_is_trained_on_the_spot_once(made, tiny_recipe, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    training = {"steps": 2, "batch": 2, "min_fg_coverage": 0.2, "self_training": 1}
    tiny_recipe["alpha"] = {"training": training}
    tiny_recipe["filters"]["coverage"] = None
    first = made("one", 3, accept_doubtful_alpha=True)  # two steps train nothing
    assert any("training one on cpu" in line for line in caplog.messages)
    assert len(list((tmp_path / "cache" / "alpha").glob("*/alpha.safetensors"))) == 1
    caplog.clear()
    assert made("two", 3, accept_doubtful_alpha=True) == first
    assert not any("training one" in line for line in caplog.messages)


@pytest.fixture
def flags(tiny_recipe, tmp_path):
    """Those of a ``make`` in a process of its own."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny_recipe))
    return ["--recipe", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")]


def test_a_closed_standard_error_is_no_failure(flags, tmp_path):
    command = [sys.executable, "-m", "l4f_datagen", "make", "--n", "2", *flags]
    closed = subprocess.run(
        ["sh", "-c", f"{shlex.join(command)} 2>&-"], stdout=subprocess.PIPE, check=False
    )
    assert closed.returncode == 0
    assert b"2 samples of" in closed.stdout
    assert (tmp_path / "out" / "manifest.json").exists()


def test_crop_cuts_image_and_alpha_alike_and_not_beyond_the_canvas(make, tiny_recipe, tmp_path):
    for crop in ((0, 0, 17, 16), (0, 2, 16, 17)):
        tiny_recipe["generator"]["crop"] = crop
        with pytest.raises(UsageError, match="reaches beyond the 16 x 16 px images"):
            make("out")
    tiny_recipe["generator"]["crop"] = (0, 2, 16, 14)
    make("out", 2)
    for part in ("images", "masks", "alpha"):
        for path in (tmp_path / "out" / part).rglob("*.png"):
            assert pixels(path).shape[:2] == (12, 16)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_stop_keeps_what_is_finished(flags, tmp_path, number, code, word):
    # Background jobs of a shell, as these tests may be, start with Ctrl-C ignored.
    start = "import signal, l4f_datagen.cli as c; signal.signal(2, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{start}; c.main()", "make", "--n", "100000", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        while not (tmp_path / "out/.l4f/shards/00002.json").exists():
            assert child.poll() is None
            time.sleep(0.05)
        child.send_signal(number)
        _, said = child.communicate()
    assert child.returncode == code
    assert f"{word}; finished work is kept, the same command resumes" in said
    assert (tmp_path / "out/.l4f/shards/00002.json").exists()
    assert not list((tmp_path / "out").rglob("*.part"))
    assert not (tmp_path / "out/manifest.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_killed_at_fifty_random_moments_and_resumed_gives_the_same_bytes(tmp_path, digests):
    command = [sys.executable, "-m", "l4f_datagen", "make", "--domain", "toy-cars", "--n", "300"]
    command += ["--set", "sampling.blocks_per_shard=2", "--out"]
    started = time.monotonic()
    subprocess.run([*command, str(tmp_path / "calm")], check=True, capture_output=True)
    length = time.monotonic() - started
    wanted, rng = digests(tmp_path / "calm"), random.Random(0)
    kills = folders = 0
    while kills < 50:
        folder, ended = tmp_path / f"torn{folders}", False
        while not ended:
            child = subprocess.Popen(
                [*command, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                ended = child.wait(rng.uniform(0.2, 1.1) * length) == 0
                assert ended
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                kills += 1
        assert digests(folder) == wanted
        folders += 1
