"""What cannot be is refused in one line, with its exit code, before anything is written."""

import re
import shlex

import datasets
import lmdb
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from l4f_datagen.checkpoints.native import save_alpha, save_generator
from l4f_datagen.checkpoints.open import open_generator
from l4f_datagen.cli import cli
from l4f_datagen.training import loop as training_module
from l4f_datagen.training.state import StepFacts

SHORT = {
    "CARS": "make --domain toy-cars --n 5 --out out",
    "MAKE": "make --generator g.safetensors --n 5 --out out --set alpha.training.steps=1",
    "SAMPLE": "sample --generator g.safetensors --out",
    "TRAIN": "train --generator g.safetensors --out out",
    "VALIDATE": "validate --truth t",
    "INSPECT": "inspect checkpoint",
    "LONG": "x" * 300,
    "NO_IMAGE": "holds no image (.png .bmp .tif .tiff .webp .gif .jpg .jpeg); name photographs of "
    "the domain",
    "NOT_THERE": "cannot be read (No such file or directory)",
    "NOT_CACHED": "is not in the cache, and the network is switched off; ",
    "PICTURES": "--set alpha.background=pictures --set alpha.background_path",
    "FFHQ": "--set alpha.background=generator --set alpha.background_path=catalogue:stylegan2-ffhq",
    "LMDB": "--set alpha.training.reals=lmdb --set alpha.training.reals_folder=lmdb",
    "HUB": "--set alpha.training.reals=hf --set alpha.training.reals_folder=nobody/cats",
    "ODD": r"my\n 'reals': #1",  # meant as it is spelt
}
LINES = r"""
2 make -> Missing option '--n'; see l4f-datagen make --help
2 segmenter train -> Missing argument 'DATASET'; see l4f-datagen segmenter train
2 mak -> No such command 'mak'
2 make --n 5 --out x -> recipe: is not given
2 make --domain toy-car --n 5 --out x -> --domain toy-car: no such domain; did you mean toy-cars?
2 CARS --formats tiff -> Invalid value for '--formats' / '--format': 'tiff' is not a format; known
2 CARS --set sampling.block_sise=3 -> --set: 1 problem: (1) sampling.block_sise: unknown key, did
2 CARS --set nonsense -> --set nonsense: expected a.b=value
2 CARS --recipe x.yaml -> --domain: given together with --recipe
2 merge a b -> merge: takes one OUT, or PARTS with --out; name --out FOLDER
2 merge s3://a/b --out x -> merge: PARTS must be folders; let the jobs write to one URL
2 push x -> USER/NAME: is not given; name the repository, or --to-folder DIR for a copy
2 push x a/b --to-folder y -> --to-folder: given together with USER/NAME, which speak to the Hub
2 push x --to-folder y --yes -> --to-folder: given together with --yes, which speak to the Hub
2 VALIDATE -> prediction: nothing says what to score; give --pred, or --domain
2 VALIDATE --pred x --domain toy-cars -> --pred: given together with flags
2 VALIDATE --pred x --keys k -> --pred: given together with flags
2 VALIDATE --domain toy-cars --record -> --record: needs a dataset
2 VALIDATE --pred x --plot a.png -> --plot: there is nothing to plot
2 VALIDATE --pred x --sweep psi,seed -> Invalid value for '--sweep': expected psi, threshold or both
2 report LONG -> LONG
4 INSPECT LONG -> LONG
2 CARS --out LONG -> LONG
4 make --generator broken.pt --n 5 --out out -> broken.pt:
2 SAMPLE out -> --seeds: neither --seeds nor --n is given; say which or how many
2 SAMPLE bare.yaml --n 1 -> ... cannot be written
2 SAMPLE out --seeds 3-4 --diverse -> --diverse: given together with --seeds
2 SAMPLE out --seeds '' -> --set: 1 problem: (1) sampling.seeds: string should match pattern
4* MAKE --generator none.pt -> none.pt: NOT_THERE
4* MAKE --alpha none.pt -> none.pt: NOT_THERE
2* MAKE --device abacus -> --device abacus: cannot be used here (
2* MAKE --devices cpu,abacus -> --device abacus: cannot be used here (
2* MAKE --devices cpu,meta -> --devices: names cpu and meta, whose images differ
2* MAKE --overwrite --shard 0/2 -> --overwrite: given with --shard, would delete
2* MAKE --composites . -> out: is inside the folder of backgrounds .: its images
2* make --recipe bare.yaml --n 1 --out out -> generator: the recipe names no weights; give --generat
2 MAKE --ray-address auto -> --ray-address: given without --engine ray; add --engine ray
2 MAKE --devices cpu --engine ray -> --devices: given with --engine ray; a cluster knows its own
2 MAKE --shard 4/4 -> --shard: expected i/n with i from 0 to n - 1, got '4/4'; write
2 MAKE --push me/cars --shard 0/4 -> --push: publishes a finished folder, and none is made here
2 MAKE --psi '' -> Invalid value for '--psi' / '--trunc': expected numbers such as 0.5,0.7
2 MAKE --seeds '' -> --set: 1 problem: (1) sampling.seeds: string should match pattern
2 MAKE --truncation-cutoff 7 -> --truncation-cutoff: 7 is beyond the 6 rows of ws
2 MAKE --latent-space z -> ... latent_space describes latents, and none are given
2 MAKE --filters harsh -> Invalid value for '--filters'
4 MAKE --latents none.npy -> none.npy: NOT_THERE
4 MAKE --latents narrow.npy -> narrow.npy: has shape 9 x 7, this generator takes
2 MAKE --set 'filters.discriminator={min: 0}' -> filters.discriminator:
4 MAKE LMDB -> lmdb: NO_IMAGE
5 MAKE --offline HUB -> ... NOT_CACHED
5 MAKE --offline FFHQ -> ... NOT_CACHED
2 INSPECT s3://b/g.pkl -> INSPECT s3://b/g.pkl: s3:// is no address that weights are fetched from;
2 INSPECT https://[x -> INSPECT https://[x: https://[x is no address (Invalid IPv6 URL)
2 INSPECT builtin:boats -> INSPECT builtin:boats: builtin holds no 'boats'; known: builtin:toy-cars
2 INSPECT catalogue:boats -> INSPECT catalogue:boats: catalogue holds no 'boats'; known: catalogue:
4 INSPECT nothing.pkl -> nothing.pkl: NOT_THERE
2 TRAIN --few-shot -> --few-shot: needs annotated images; give --truth EXPORT
2 TRAIN --keys keys.csv -> --keys: needs annotated images; give --truth EXPORT
2 TRAIN --format coco -> --format: needs annotated images; give --truth EXPORT
2 TRAIN --pair-by auto -> --pair-by: needs annotated images; give --truth EXPORT
2 TRAIN --offset 0 -> --offset: needs annotated images; give --truth EXPORT
4 TRAIN --few-shot --truth nowhere -> nowhere: no such file or folder
2 TRAIN --reals '' -> --reals: is empty; name photographs of the domain
4 TRAIN --reals "ODD" -> ODD/a.png: is 7 x 5 pixels, the generator draws 16 x 16; take photographs
4 TRAIN --reals empty -> empty: NO_IMAGE
4 TRAIN --reals rows -> rows: holds no rows; name a dataset with images
4 TRAIN --reals table -> table: cannot be opened (Instruction "train" corresponds to no data!);
4 TRAIN --reals text -> text: has no image column, only text; name another dataset
4 TRAIN PICTURES=small -> small/a.png: is 7 x 5 pixels
5 TRAIN --offline --reals nobody/cats -> ... NOT_CACHED
5 TRAIN --offline FFHQ -> ... NOT_CACHED
"""
"""Exit code (with a star: the same with --dry-run), command and the words the line begins with."""


def spelt(text):
    return re.sub(r"\b[A-Z_]+\b", lambda word: SHORT.get(word[0], word[0]), text)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Folder of files that cannot be used."""
    folder = tmp_path_factory.mktemp("inputs")
    np.save(folder / "narrow.npy", np.zeros((9, 7), np.float32))
    Image.new("RGB", (16, 16)).save(folder / "background.png")
    (folder / "broken.pt").write_bytes(b"no checkpoint at all")
    (folder / "bare.yaml").write_text("domain: bare\n")
    for name in ("small", SHORT["ODD"], "empty", "table"):
        (folder / name).mkdir()
        if name not in ("empty", "table"):
            Image.new("RGB", (7, 5)).save(folder / name / "a.png")
    images = datasets.Features(image=datasets.Image())
    no_rows = datasets.Dataset.from_dict({"image": []}, features=images)
    no_rows.save_to_disk(str(folder / "rows"))
    no_rows.to_parquet(str(folder / "table" / "train-00000.parquet"))
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(folder / "text"))
    lmdb.open(str(folder / "lmdb"), map_size=2**20).close()
    return folder


@pytest.fixture
def refused(tmp_path, monkeypatch, generator_file):
    """Run a command that has to be refused in an own folder, and return the one line it says."""
    monkeypatch.chdir(tmp_path)

    def call(words, exit_code, *, claims=()):
        before = {*tmp_path.iterdir(), tmp_path / "cache", *(tmp_path / name for name in claims)}
        result = CliRunner().invoke(cli, list(map(str, words)), prog_name="l4f-datagen")
        assert result.exit_code == exit_code, result.output
        *others, line = result.output.splitlines()
        assert not any(text.startswith(("Error", "Traceback")) for text in others)
        assert not others or {"--generator", "--recipe"} & set(words)
        assert {*tmp_path.iterdir()} <= before
        return line

    return call


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_in_one_line_before_anything_is_written(refused, tmp_path, inputs, line):
    for path in inputs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    command, _, said = line.partition(" -> ")
    code, _, command = command.partition(" ")
    words = shlex.split(spelt(command))
    for more in ([], ["--dry-run"]) if "*" in code else ([],):
        told = refused([*words, *more], int(code.strip("*")))
        if said.startswith("... "):
            assert spelt(said[4:]) in told
        else:
            assert told.startswith(f"Error: {spelt(said)}")


@pytest.mark.parametrize(("resolution", "seed"), [(16, 9), (32, 0)])
def test_an_alpha_network_of_another_generator(
    refused, tmp_path, make_generator, make_alpha, resolution, seed
):
    other = make_generator(resolution, seed=seed)
    save_generator(tmp_path / "other.safetensors", other.spec, other.state_dict())
    fingerprint = open_generator(tmp_path / "other.safetensors").fingerprint
    save_alpha(tmp_path / "a.safetensors", make_alpha(other), generator_fingerprint=fingerprint)
    line = refused([*SHORT["MAKE"].split(), "--alpha", "a.safetensors"], 4)
    same_size = resolution == 16
    problem = "was trained on another" if same_size else "is for images of"
    assert line.startswith(f"Error: a.safetensors: {problem}")
    assert line.endswith("`l4f-datagen train`" if same_size else "belong together")


def test_photographs_of_another_class(refused, tmp_path, monkeypatch):
    """The discriminator recognises every composite, whatever is tried."""

    def beaten(training, setting):
        training.step += 1
        facts = StepFacts(training.step, 0.001, 9.0, 0.1, 0.3, training.attempt)
        training.recent = [*training.recent, facts]
        return facts

    monkeypatch.setattr(training_module, "train_step", beaten)
    (tmp_path / "cats").mkdir()
    noise = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "cats" / "a.png")
    flags = ["--set=alpha.training.batch=2", "--set=alpha.training.attempts=2", "--steps", 60]
    words = [*SHORT["TRAIN"].split(), "--reals", "cats", *flags]
    assert refused(words, 4, claims=["out"]) == (
        "Error: cats: the discriminator recognises every composite beside these photographs: they "
        "show another class, or do not look like the generator's images; use photographs of what "
        "the generator draws, or --reals generator"
    )
