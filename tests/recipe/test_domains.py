from pathlib import Path

import pytest

from l4f_datagen.core.errors import NetworkError, RecipeError
from l4f_datagen.recipe import domains
from l4f_datagen.recipe.catalogue import WEIGHTS
from l4f_datagen.recipe.domains import (
    BUILTIN,
    describe_domains,
    find_recipe,
    load_recipe,
    local_weights,
    recipes_folder,
    shipped_recipes,
    weights_path,
)


def test_a_checkout_ships_the_recipes_beside_the_package():
    assert recipes_folder() == Path(domains.__file__).parents[2] / "recipes"
    assert find_recipe("toy-cars") == recipes_folder() / "toy-cars.yaml"
    assert set(BUILTIN) <= set(shipped_recipes())


def test_a_wheel_ships_them_inside(monkeypatch, tmp_path):
    (tmp_path / "_recipes").mkdir()
    (tmp_path / "_recipes" / "boats.yaml").write_text("domain: boats\n")
    monkeypatch.setattr(domains, "PACKAGE", tmp_path)
    assert shipped_recipes() == {"boats": tmp_path / "_recipes" / "boats.yaml"}
    assert load_recipe("boats").domain == "boats"


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        *((name, r"toy-cars\?") for name in ("toy-car", "toycars", "Toy-Cars", "toy cars")),
        ("cars", "lsun-car or toy-cars or lsun-car-paper"),
        ("faces", "ffhq or metfaces"),
        ("horse", "lsun-horse or lsun-horse-paper"),
        ("lsun-cra", "lsun-cat or lsun-car"),
    ],
)
def test_names_alike_are_offered(name, offered):
    with pytest.raises(RecipeError, match=f"{name}: no such domain; did you mean {offered}"):
        find_recipe(name)


def test_keywords_name_keys_of_the_recipe():
    recipe = load_recipe(
        "toy-cars", psi=0.7, seeds="0-9", formats=["png"], alpha__training__steps=5, alpha="a.pt"
    )
    assert (recipe.sampling.psi, recipe.sampling.seeds) == ((0.7,), "0-9")
    assert recipe.output.formats == ("png",)
    assert (recipe.alpha.weights, recipe.alpha.training.steps) == ("a.pt", 5)
    mine = load_recipe(generator="g.pkl", psi=[0.5, 1])
    assert (mine.domain, mine.sampling.psi, mine.alpha.weights) == ("custom", (0.5, 1.0), None)
    with pytest.raises(RecipeError, match="stepz: unknown key, did you mean steps"):
        load_recipe("toy-cars", alpha__training__stepz=5)


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("sampling.psy=1", r"sampling\.psy: unknown key, did you mean psi\?"),
        ("output.composites=folder", "output: composites: folder and com"),
    ],
)
def test_what_set_got_wrong_is_blamed_on_set(assignment, problem):
    with pytest.raises(RecipeError, match=rf"^--set: 1 problem: \(1\) {problem}"):
        load_recipe("toy-cars", assignments=[assignment])


@pytest.mark.parametrize(
    ("name", "words"), [("zzzzqqq", "; `l4f-datagen recipes list` names"), ("../recipes/ffhq", "")]
)
def test_a_name_like_no_other_and_no_path(name, words):
    with pytest.raises(RecipeError, match=f"no such domain{words}"):
        find_recipe(name)


def test_builtin_weights_and_files(monkeypatch):
    folder = BUILTIN["toy-cars"].folder
    monkeypatch.setenv("HOME", "/home/somebody")
    for find in (local_weights, weights_path):
        assert find("builtin:toy-cars", "alpha") == folder / "alpha.safetensors"
        assert find("some/file.pt", "generator") == Path("some/file.pt")
        assert find("odd:name.pt", "generator") == Path("odd:name.pt")
        assert find("~/file.pt", "generator") == Path("/home/somebody/file.pt")


def test_catalogue_weights_lie_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path))
    path = local_weights("catalogue:stylegan2-ffhq", "generator")
    assert path.name == WEIGHTS["stylegan2-ffhq"].filename
    assert tmp_path in path.parents
    with pytest.raises(NetworkError):
        weights_path("catalogue:stylegan2-ffhq", "generator", offline=True)


@pytest.mark.parametrize("address", ["s3://b/g.pkl", "hf://user/g.pkl", "file:///g.pkl"])
def test_addresses_that_are_not_fetched(address):
    with pytest.raises(RecipeError, match=r"generator\.weights: .*:// is no address .*https://"):
        local_weights(address, "generator")


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ("builtin:", "builtin holds no ''; known: builtin:toy-cars"),
        ("builtin:boats", "builtin holds no 'boats'; known: builtin:toy-cars"),
        ("builtin:../toy-cars", "builtin holds no '../toy-cars'; known: "),
        ("catalogue:boats", "catalogue holds no 'boats'; known: catalogue:"),
    ],
)
@pytest.mark.parametrize("find", [local_weights, weights_path])
def test_names_that_are_not_there(find, weights, text):
    with pytest.raises(RecipeError, match=f"^alpha.weights: {text}"):
        find(weights, "alpha")
    with pytest.raises(RecipeError, match=f"^alpha.background_path: {text}"):
        find(weights, "generator", key="alpha.background_path")


def test_every_shipped_domain_is_described():
    rows = describe_domains()
    assert [row["domain"] for row in rows] == list(shipped_recipes())
    (toy_cars,) = [row for row in rows if row["domain"] == "toy-cars"]
    facts = (toy_cars["px"], toy_cars["licence"], toy_cars["weights"], toy_cars["cached"])
    assert facts == ("64", "apache-2.0", "builtin:toy-cars", "yes")
