"""Domains and weights by name: what ships, what is offered, where files lie."""

import hashlib
import re
from pathlib import Path

import pytest

from l4f_datagen.core.errors import NetworkError, RecipeError
from l4f_datagen.recipe import domains
from l4f_datagen.recipe.catalogue import NVIDIA_ADA, WEIGHTS, Weights, weights_by_sha256


def test_a_checkout_ships_the_recipes_beside_the_package_and_describes_them():
    checkout = Path(domains.__file__).parents[2]
    assert domains.find_recipe("toy-cars") == checkout / "recipes" / "toy-cars.yaml"
    assert set(domains.BUILTIN) <= set(domains.shipped_recipes())
    rows = domains.describe_domains()
    assert [row["domain"] for row in rows] == list(domains.shipped_recipes())
    (cars,) = [row for row in rows if row["domain"] == "toy-cars"]
    facts = [cars[name] for name in ("px", "licence", "weights", "cached")]
    assert facts == ["64", "apache-2.0", "builtin:toy-cars", "yes"]


def test_a_wheel_ships_them_inside(monkeypatch, tmp_path):
    (tmp_path / "_recipes").mkdir()
    (tmp_path / "_recipes" / "boats.yaml").write_text("domain: boats\n")
    monkeypatch.setattr(domains, "PACKAGE", tmp_path)
    assert domains.shipped_recipes() == {"boats": tmp_path / "_recipes" / "boats.yaml"}
    assert domains.load_recipe("boats").domain == "boats"


def test_names_alike_are_offered():
    offered = dict.fromkeys(("toy-car", "toycars", "Toy-Cars", "toy cars"), "toy-cars")
    offered |= {"cars": "lsun-car or toy-cars or lsun-car-paper", "faces": "ffhq or metfaces"}
    offered |= {"horse": "lsun-horse or lsun-horse-paper", "lsun-cra": "lsun-cat or lsun-car"}
    words = {name: rf"; did you mean {near}\?" for name, near in offered.items()}
    words |= {"zzzzqqq": "; `l4f-datagen recipes list` names", "../recipes/ffhq": ""}
    for name, said in words.items():
        with pytest.raises(RecipeError, match=f"{name}: no such domain{said}"):
            domains.find_recipe(name)


def test_keywords_name_keys_of_the_recipe():
    recipe = domains.load_recipe(
        "toy-cars", psi=0.7, seeds="0-9", formats=["png"], alpha__training__steps=5, alpha="a.pt"
    )
    assert (recipe.sampling.psi, recipe.sampling.seeds) == ((0.7,), "0-9")
    assert recipe.output.formats == ("png",)
    assert (recipe.alpha.weights, recipe.alpha.training.steps) == ("a.pt", 5)
    mine = domains.load_recipe(generator="g.pkl", psi=[0.5, 1])
    assert (mine.domain, mine.sampling.psi, mine.alpha.weights) == ("custom", (0.5, 1.0), None)
    with pytest.raises(RecipeError, match="stepz: unknown key, did you mean steps"):
        domains.load_recipe("toy-cars", alpha__training__stepz=5)


def test_what_set_got_wrong_is_blamed_on_set():
    problems = {"sampling.psy=1": r"sampling\.psy: unknown key, did you mean psi\?"}
    problems |= {"output.composites=folder": "output: composites: folder and com"}
    for assignment, problem in problems.items():
        with pytest.raises(RecipeError, match=rf"^--set: 1 problem: \(1\) {problem}"):
            domains.load_recipe("toy-cars", assignments=[assignment])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HOME", "/home/somebody")
    return tmp_path / "cache"


def test_where_weights_lie(cache):
    shipped = domains.BUILTIN["toy-cars"] / "alpha.safetensors"
    for find in (domains.local_weights, domains.weights_path):
        assert find("builtin:toy-cars", "alpha") == shipped
        assert find("some/file.pt", "generator") == Path("some/file.pt")
        assert find("odd:name.pt", "generator") == Path("odd:name.pt")
        assert find("~/file.pt", "generator") == Path("/home/somebody/file.pt")
    path = domains.local_weights("catalogue:stylegan2-ffhq", "generator")
    assert path.name == WEIGHTS["stylegan2-ffhq"].filename
    assert cache in path.parents
    with pytest.raises(NetworkError):
        domains.weights_path("catalogue:stylegan2-ffhq", "generator", offline=True)


@pytest.mark.parametrize("good", [True, False])
def test_the_catalogue_is_fetched_with_all_that_is_known(cache, serving, monkeypatch, good):
    data = b"weights" * 100
    sha256 = hashlib.sha256(data).hexdigest() if good else "0" * 64
    with serving.serve(data) as site:
        entry = Weights(site.url, 16, NVIDIA_ADA, len(data), sha256, pinned=True)
        monkeypatch.setitem(WEIGHTS, "test", entry)
        if good:
            assert domains.weights_path("catalogue:test", "generator").read_bytes() == data
            return
        with pytest.raises(NetworkError, match="is another file"):
            domains.weights_path("catalogue:test", "generator")


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        *((f"{kind}://b/g.pkl", ".*:// is no address .*https://") for kind in ("s3", "hf", "file")),
        ("builtin:", "builtin holds no ''; known: builtin:toy-cars"),
        ("builtin:boats", "builtin holds no 'boats'; known: builtin:toy-cars"),
        ("builtin:../toy-cars", "builtin holds no '../toy-cars'; known: "),
        ("catalogue:boats", "catalogue holds no 'boats'; known: catalogue:"),
    ],
)
@pytest.mark.parametrize("find", [domains.local_weights, domains.weights_path])
def test_names_that_are_not_there(find, weights, text):
    with pytest.raises(RecipeError, match=f"^alpha.weights: {text}"):
        find(weights, "alpha")
    with pytest.raises(RecipeError, match=f"^alpha.background_path: {text}"):
        find(weights, "generator", key="alpha.background_path")


def test_the_catalogue_is_whole_and_tells_its_files_apart():
    for weights in WEIGHTS.values():
        assert re.fullmatch(r"https://[\w./-]+\.pkl", weights.url)
        assert weights.filename.endswith(".pkl")
        assert weights.resolution in [2**k for k in range(4, 11)]
        assert weights.licence.link.startswith("https://")
        assert weights.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", weights.sha256)
        assert not weights.pinned or None not in (weights.sha256, weights.size)
        assert weights.sha256 is None or weights_by_sha256(weights.sha256) is weights
    assert weights_by_sha256("0" * 64) is None
    assert len({weights.filename for weights in WEIGHTS.values()}) == len(WEIGHTS)
    for domain in ("ffhq", "car", "cat", "horse"):  # those of the paper
        assert WEIGHTS[f"stylegan2-{domain}"].pinned
