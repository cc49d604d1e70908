import copy
import re
import shlex
from dataclasses import fields, is_dataclass
from itertools import chain, takewhile
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from l4f_datagen.core.errors import RecipeError
from l4f_datagen.recipe import check_recipe, recipe_hash
from l4f_datagen.recipe.domains import MAX_RECIPE_BYTES, load_recipe, override, read_recipe_file

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted(RECIPES.rglob("*.yaml"))


def recipe_of(**data):
    return check_recipe({"domain": "x"} | data, "my.yaml")


def problems_of(**data):
    with pytest.raises(RecipeError) as caught:
        recipe_of(**data)
    return str(caught.value)


def leaves(part: BaseModel, path=()):
    """Dotted name -> value of every setting, filters' parts included."""
    if not isinstance(part, BaseModel) and not is_dataclass(part):
        return {".".join(path): part}
    names = [f.name for f in fields(part)] if is_dataclass(part) else type(part).model_fields
    found = [leaves(getattr(part, name), (*path, name)) for name in names]
    return dict(chain.from_iterable(each.items() for each in found))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_recipe_opens_with_what_one_must_know_and_commands_that_parse(path, monkeypatch):
    from l4f_datagen.cli import cli

    monkeypatch.chdir(RECIPES.parent)
    recipe = load_recipe(path)
    assert recipe.domain == path.stem
    assert recipe.description
    comments = takewhile(lambda line: line.startswith("#"), path.read_text("utf-8").splitlines())
    named = (re.match(r"# ([A-Z][a-z]+)\s{2,}(\S.*)$", line) for line in comments)
    header = {match[1]: match[2].strip() for match in named if match}
    assert set(header) >= {"Purpose", "Downloads", "Launch", "Override"}
    assert all(header.values())
    assert header["Override"] != header["Launch"]
    for line in ("Launch", "Override"):
        tool, *words = shlex.split(header[line])
        assert tool == "l4f-datagen"
        context = cli.make_context("l4f-datagen", list(words))
        name, command, rest = cli.resolve_command(context, words)
        values = command.make_context(name, rest, parent=context).params
        assert (values.get("domain") or Path(values["recipe_file"]).stem) == path.stem
        assignments = list(values["assignments"])
        changed = load_recipe(path, assignments=assignments)
        assert (changed == recipe) == (not assignments)


PROBLEMS = """
samplng={} -> samplng: unknown key, did you mean sampling?
alpha={trainning: 1} -> alpha.trainning: unknown key, did you mean training?
filters.coverage={maxx: 1} -> maxx: unknown key, did you mean max?
generator.licence={nam: x} -> nam: unknown key, did you mean name?
qqqq=1 -> (1) qqqq: unknown key; `l4f-datagen recipes check FILE`
alpha.training.steps=true -> steps: input should be a number, got True
sampling.psi=[false] -> psi.0: input should be a number, got False
sampling.psi=[.nan] -> sampling.psi.0: input should be
sampling.psi=0.7 -> sampling.psi: input should be a list in [brackets], got 0.7
sampling=null -> sampling: input should be a valid dictionary
alpha.training.batch=65537 -> batch: input should be less than or
sampling={block_size: 4096, blocks_per_shard: 17} -> 17 makes shards of 69632 samples, at most 65536
generator.crop=[64, 0, 64, 8] -> crop: expected 0 <= left < right and 0 <= top < bottom, got [64, 0
generator.crop=[-1, 0, 4, 8] -> crop: expected 0 <= left < right
filters.coverage={min: 0.5, max: 0.4} -> coverage: min 0.5 is above max 0.4, which rejects every
alpha.training.reals=folder -> alpha.training: reals: folder and reals_folder go together
alpha.training.reals_folder=images -> alpha.training: reals: folder and reals_folder go together
generator.weights='' -> (1) generator.weights: string should have at least 1 character, got ''
alpha.weights='' -> (1) alpha.weights: string should have at least 1 character
alpha.background_path='' -> (1) alpha.background_path: string should have at least 1 character
alpha.training.reals_folder='' -> (1) alpha.training.reals_folder: string should have at least 1
sampling.latents='' -> (1) sampling.latents: string should have at least 1 character
output.category='' -> (1) output.category: string should have at least 1 character
output.composites_folder='' -> (1) output.composites_folder: string should have at least 1 char
output.formats=[cocoa] -> output.formats: 'cocoa' is not a format, did you mean coco?
output.formats=[coco] -> output.formats: coco lists files that png writes, add png
output={formats: [hf], cutouts: true} -> output: cutouts are written by png, add png to formats
output={formats: [yolo], composites: generated} -> output: composites are written by png, add png
output.composites=folder -> output: composites: folder and composites_folder go together
output.composites_folder=x -> composites: folder and composites_folder go together
output.image_format=tiff -> output.image_format: input should be 'png', 'webp' or 'jpeg'
output.coco_segmentation=rles -> coco_segmentation: input should be 'rle' or 'polygon'
output.instances=all -> output.instances: input should be 'image' or 'components'
output.alpha_bits=12 -> output.alpha_bits: input should be 8 or 16, got 12
""".strip().splitlines()
"""An assignment, and words of the problem."""


class TestCheck:
    def test_a_domain_is_enough(self):
        recipe = recipe_of()
        with pytest.raises(ValueError, match="frozen"):
            recipe.domain = "y"
        assert recipe.sampling.psi == (0.5, 0.7, 1.0)
        assert recipe.output.formats == ("png", "coco", "hf")
        assert recipe.alpha.training.fg_coverage_weight is None

    @pytest.mark.parametrize("line", PROBLEMS)
    def test_what_is_wrong_with_a_value(self, line):
        assignment, _, words = line.partition(" -> ")
        assert words in problems_of(**override({}, [assignment]))

    def test_all_problems_at_once(self):
        with pytest.raises(RecipeError, match=r"my.yaml: 1 problem: \(1\) domain: is required; "):
            check_recipe({}, "my.yaml")
        text = problems_of(
            domain="Not A Name",
            samplng={},
            alpha={"background": "trunk", "training": {"steps": 0, "psi": 3, "reals": "folder"}},
            sampling={"psi": [], "seeds": "1,,2", "noise_mode": "off", "block_size": "many"},
            output={"formats": ["png", "pngg"], "mask_threshold": 1.0},
        )
        assert text.startswith("my.yaml: 11 problems: (1) ")
        for part in (
            "domain: string should match pattern",
            "samplng: unknown key",
            "alpha.background: input should be 'conv1', 'const', 'pictures' or 'generator', "
            "got 'trunk'",
            "alpha.training.steps: input should be greater than or equal to 1, got 0",
            "alpha.training.psi: input should be less than or equal to 2, got 3",
            "sampling.psi: tuple should have at least 1 item",
            "sampling.seeds: string should match pattern",
            "sampling.noise_mode: input should be 'const', 'random' or 'none', got 'off'",
            "sampling.block_size: input should be a valid integer",
            "output.formats: 'pngg' is not a format, did you mean png? known are png, coco, hf,",
            "output.mask_threshold: input should be less than 1, got 1.0",
        ):
            assert part in text

    def test_long_values_are_cut_and_problems_counted(self):
        text = problems_of(description=["word"] * 10_000)
        assert "..." in text
        assert len(text) < 400
        many = problems_of(**{f"key{number}": 1 for number in range(1000)})
        assert many.startswith("my.yaml: 1000 problems: (1) ")
        assert "(50) " in many
        assert "; and 950 more; " in many

    def test_values_are_made_alike(self):
        text = ["alpha.training.learning_rate=2e-3", "output.formats=[hf, png, hf]"]
        recipe = recipe_of(**override({}, text))
        assert recipe.alpha.training.learning_rate == 0.002  # YAML takes it for words
        assert recipe.output.formats == ("png", "hf")
        sizes = {"block_size": 4096, "blocks_per_shard": 16}  # the largest shard
        assert recipe_of(sampling=sizes).sampling.block_size == 4096


DATA = {"domain": "x", "sampling": {"psi": [0.7], "block_size": 8}}


class TestOverride:
    def test_later_wins_and_the_rest_stays(self):
        before = copy.deepcopy(DATA)
        later = ["sampling.psi=[0.5, 1]", "sampling.psi=[0.9]", "alpha.training.steps=3"]
        changed = override(DATA, later)
        assert changed["sampling"] == {"psi": [0.9], "block_size": 8}
        assert (changed["domain"], changed["alpha"]) == ("x", {"training": {"steps": 3}})
        assert before == DATA

    def test_values_are_yaml(self):
        values = {"3": 3, "null": None, "'3'": "3", "a=b": "a=b", "": None, "{k: 1}": {"k": 1}}
        for text, value in values.items():
            assert override({}, [f"a.b={text}"]) == {"a": {"b": value}}

    def test_defaults_then_file_then_assignments(self, tmp_path):
        file = tmp_path / "r.yaml"
        file.write_text("domain: mine\ndescription: from the file\nsampling: {block_size: 4}\n")
        recipe = load_recipe(file, assignments=["sampling.block_size=5"], psi=1)
        assert (recipe.domain, recipe.description) == ("mine", "from the file")
        assert (recipe.sampling.block_size, recipe.sampling.psi) == (5, (1.0,))
        assert recipe.sampling.blocks_per_shard == 16

    @pytest.mark.parametrize(
        ("assignment", "text"),
        [
            ("sampling.psi", "expected a.b=value; write key=value"),
            ("=3", "expected a.b=value; write key=value"),
            ("domain.name=3", "domain holds no keys; check the key"),
            ("a=[1", r"value is not plain YAML \(.*\); quote it"),
            ("a=2024-99-99", r"value is not plain YAML \(month must be in 1..12\); quote it"),
            ("a=&x [*x]", r"value is not plain YAML \(aliases .*\); quote it"),
            ("a={b: 1, b: 2}", r"value is not plain YAML \(the key b is given twice, again in li"),
        ],
    )
    def test_errors(self, assignment, text):
        with pytest.raises(RecipeError, match=f"^--set {re.escape(assignment)}: {text}"):
            override(DATA, [assignment])


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (b"- a\n", r"must be a mapping of keys, got list; compare with"),
            (b"", r"must be a mapping of keys, got NoneType"),
            (b"\x00\xff\xfe\x80", r"is not plain YAML \('utf-8' codec can't decode"),
            (b"domain: [", r"is not plain YAML \("),
            (b"a: &a [1]\nb: [*a, *a]", r"is not plain YAML \(aliases such as"),
            (b"a: 1\na: 2\n", r"is not plain YAML \(the key a is given twice, again in line 2\)"),
            (b"a" * (MAX_RECIPE_BYTES + 1), r"is larger than 100 kB, which no recipe is; compare"),
            (Path("/none.yaml"), r"cannot be read \(No such file .*\); check the pa"),
            (Path("/"), r"cannot be read \(Is a directory\)"),
            (Path("/dev/zero"), "is larger than 100 kB"),  # a file without end
        ],
    )
    def test_what_is_no_recipe_is_refused(self, tmp_path, content, text):
        file = content
        if isinstance(content, bytes):
            file = tmp_path / "r.yaml"
            file.write_bytes(content)
        with pytest.raises(RecipeError, match=rf"^{file}: {text}"):
            read_recipe_file(file)

    def test_dump_comes_back(self, tmp_path):
        licence = {"commercial": False}
        recipe = recipe_of(
            description="Ünïcode: [not a list] # no comment",
            generator={"crop": [0, 64, 512, 448], "licence": licence},
            filters={"border": None},
            sampling={"psi": [0.5, 0.5, 1], "seeds": "0010"},
            output={"category": "no"},
        )
        file = tmp_path / "r.yaml"
        file.write_text(recipe.dump(), encoding="utf-8")
        assert load_recipe(file) == recipe
        spelled_out = yaml.safe_load(recipe.dump())
        assert spelled_out["alpha"]["training"]["steps"] == 75
        assert spelled_out["filters"]["border"] is None


DECIDES = """
domain=other description=other generator.class_index=3 generator.crop=[0,0,4,4]
generator.licence.name=other generator.licence.link=other generator.licence.commercial=true
generator.licence.attribution=author alpha.background=const sampling.psi=[1.0,0.7,0.5]
sampling.seeds=5- sampling.noise_mode=none sampling.block_size=16 sampling.blocks_per_shard=8
sampling.precision=bf16 sampling.truncation_cutoff=4 sampling.style_mixing=0.1
sampling.mask_cleanup=[fill_holes] sampling.same_seeds=true sampling.refine=matting
filters.preset=none filters.coverage.min=0.03 filters.coverage.max=0.9 filters.border.max=0.5
filters.components={"max":3} filters.uncertainty={"max":0.2} filters.discriminator={"min":-1}
filters.noise={"min_iou":0.5} filters.flip={"min_iou":0.5} filters.duplicates={"min_distance":0.1}
output.formats=[png] output.category=other output.mask_threshold=0.6 output.alpha_bits=16
output.image_format=webp output.cutouts=true output.composites=generated
output.instances=components output.coco_segmentation=polygon output.keep_rejected=true
"""
"""What the dataset's bytes depend on, beyond the tensors that the two sha256 stand for."""


class TestHash:
    BASE = recipe_of()

    @staticmethod
    def named(recipe, generator="g" * 64, alpha="a" * 64, **values):
        return recipe_hash(recipe, generator=generator, alpha=alpha, **values)

    def changed(self, assignment):
        data = override(self.BASE.model_dump(mode="json"), [assignment])
        recipe = check_recipe(data, "f")
        assert recipe != self.BASE
        return self.named(recipe)

    def test_every_setting_is_sorted_into_one_of_the_two(self):
        training = {name for name in leaves(self.BASE) if name.startswith("alpha.training.")}
        weights = {"generator.weights", "alpha.weights", "alpha.lowest_resolution"}
        weights |= {"alpha.background_path", "alpha.background_shuffled", "alpha.fit"}
        weights |= {"sampling.latents", "sampling.latent_space", "output.composites_folder"}
        weights |= {f"output.split.{name}" for name in ("train", "val", "test")}
        deciding = {assignment.partition("=")[0] for assignment in DECIDES.split()}
        assert set(leaves(self.BASE)) == deciding | training | weights

    def test_what_decides_bytes_changes_it_and_how_weights_came_about_does_not(self):
        names = {self.named(self.BASE), *map(self.changed, DECIDES.split())}
        assert len(names) == 1 + len(DECIDES.split())
        others = "generator.weights=g.pt alpha.weights=a.pt alpha.training.seed=7"
        others += " alpha.lowest_resolution=8 alpha.training.steps=7 alpha.training.reals=toy-cars"
        for assignment in others.split():
            assert self.changed(assignment) == self.named(self.BASE), assignment

    def test_files_and_weights_are_named_by_their_values_wherever_they_lie(self):
        def pictures(folder):
            return recipe_of(output={"composites": "folder", "composites_folder": folder})

        def latents(file, space="w"):
            return recipe_of(sampling={"latents": file, "latent_space": space})

        splits = [recipe_of(output={"split": {"val": share}}) for share in (0.2, 0.3)]
        names = {
            self.named(self.BASE),
            self.named(self.BASE, generator="h" * 64),
            self.named(self.BASE, alpha="h" * 64),
            self.named(self.BASE, generator="a" * 64, alpha="g" * 64),
            *(self.named(pictures(folder), backgrounds="1" * 64) for folder in "ab"),
            self.named(pictures("b"), backgrounds="2" * 64),
            *(self.named(latents(file), latents="l") for file in ("ws.npy", "other.pt")),
            self.named(latents("ws.npy"), latents="m"),
            self.named(latents("ws.npy", "z"), latents="l"),
            *map(self.named, splits),
        }
        assert len(names) == 4 + 2 + 3 + 2
        assert all(re.fullmatch(r"[0-9a-f]{64}", name) for name in names)

    def test_spelling_does_not(self):
        formats = {"formats": ["hf", "coco", "png", "png"], "mask_threshold": "0.5"}
        spelled = recipe_of(output=formats, sampling={"psi": [0.5, 0.7, 1]})
        assert self.named(spelled) == self.named(self.BASE)
