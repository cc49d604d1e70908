"""``inspect checkpoint`` by every address that ``make --generator`` takes."""

import hashlib
import json

import pytest

from l4f_datagen.recipe import catalogue
from l4f_datagen.recipe.catalogue import NVIDIA_ADA, Weights


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_an_address_is_fetched_once_and_says_what_the_file_says(cli_run, generator_file, serving):
    here = json.loads(cli_run("inspect", "checkpoint", generator_file, "--json").stdout)
    with serving.serve(generator_file.read_bytes()) as site:
        absent = cli_run("inspect", "checkpoint", site.url, "--offline")
        assert absent.exit_code == 5
        assert "weights.pkl: is not in the cache, and the network is switched" in absent.output
        fetched = cli_run("inspect", "checkpoint", site.url, "--json")
        again = cli_run("inspect", "checkpoint", site.url, "--json", "--offline")
        assert len(site.asked) == 1
    size, sha256 = generator_file.stat().st_size, here["sha256"]
    assert f"weights.pkl: {size} bytes, sha256 {sha256}" in fetched.stderr
    there = json.loads(fetched.stdout)
    assert there == json.loads(again.stdout)
    assert there.pop("file").endswith("-weights.pkl")
    assert here.pop("file") == str(generator_file)
    assert there == here


def test_a_file_of_the_catalogue_has_its_licence(cli_run, generator_file, serving, monkeypatch):
    data = generator_file.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    with serving.serve(data) as site:
        known = Weights(site.url, 16, NVIDIA_ADA, len(data), sha256, pinned=True)
        monkeypatch.setitem(catalogue.WEIGHTS, "test", known)
        result = cli_run("inspect", "checkpoint", "catalogue:test", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["kind"], facts["sha256"]) == ("generator", sha256)
    with serving.serve(data[:-1]) as site:
        known = Weights(site.url + "2", 16, NVIDIA_ADA, len(data), sha256, pinned=True)
        monkeypatch.setitem(catalogue.WEIGHTS, "test", known)
        result = cli_run("inspect", "checkpoint", "catalogue:test")
    assert result.exit_code == 5
    assert f"should have {len(data)} bytes, the server offers {len(data) - 1}" in result.output


def test_a_shipped_generator(cli_run):
    facts = json.loads(cli_run("inspect", "checkpoint", "builtin:toy-cars", "--json").stdout)
    assert (facts["kind"], facts["resolution"]) == ("generator", 64)
    assert facts["licence"]["name"] == "apache-2.0"


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("s3://b/g.pkl", 2, "s3:// is no address that weights are fetched from; give an https://"),
        ("https://[x", 2, "https://[x is no address (Invalid IPv6 URL)"),
        ("builtin:boats", 2, "builtin holds no 'boats'; known: builtin:toy-cars"),
        ("catalogue:boats", 2, "catalogue holds no 'boats'; known: catalogue:"),
        ("nothing.pkl", 4, "cannot be read (No such file or directory)"),
    ],
)
def test_what_names_no_checkpoint_is_one_line(cli_run, source, code, words):
    result = cli_run("inspect", "checkpoint", source)
    assert result.exit_code == code
    assert f"{source}: {words}" in result.output
    assert len(result.output.splitlines()) == 1
