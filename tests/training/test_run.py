"""A training as a folder: what it leaves, how it is gone on with, and what it is refused for."""

import json
from functools import partial

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from l4f_datagen.checkpoints.native import save_discriminator, save_generator
from l4f_datagen.checkpoints.open import discriminator_beside, open_alpha, open_generator
from l4f_datagen.core.errors import CheckpointRefused, L4FError, UsageError
from l4f_datagen.io import training_folder
from l4f_datagen.io.training_folder import claim_folder, try_lock
from l4f_datagen.models.discriminator import Discriminator
from l4f_datagen.recipe import Recipe
from l4f_datagen.training import loop as training_module
from l4f_datagen.training.run import pretrained, state_path, train_alpha, training_id


@pytest.fixture
def checkpoint(generator_file):
    return open_generator(generator_file)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def train(checkpoint, make_part, out):
    """Train with the values of a recipe part, and return the network's file."""

    def call(checkpoint=checkpoint, out=out, *, keep_states=False, resume_at=None, **values):
        recipe = Recipe(domain="tiny", alpha=make_part(**values))
        options = {"device": "cpu", "keep_states": keep_states, "resume_at": resume_at}
        return train_alpha(recipe, checkpoint, out, **options).path

    return call


def steps_of(out):
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_people_and_machines_need(train, out):
    assert train(balance="auto", keep="best") == out / "alpha.safetensors"
    assert steps_of(out) == list(range(1, 7))
    with Image.open(out / "curves.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
    events = EventAccumulator(str(out / "events"))
    events.Reload()
    logged = events.Scalars("attempt-1/alpha_coverage")
    assert [event.step for event in logged] == list(range(1, 7))
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [event.value for event in logged] == pytest.approx([r["alpha_coverage"] for r in rows])
    previews = ["preview-01-000003.png", "preview-01-000006.png", "preview-final.png"]
    assert sorted(p.name for p in out.glob("preview-*.png")) == previews


def test_previews_of_an_attempt_do_not_overwrite_those_before(train, out):
    train(balance="two-sided", steps=3)
    sheets = {path.name for path in out.glob("preview-*.png")}
    assert {"preview-01-000003.png", "preview-02-000003.png"} <= sheets


def test_the_file_holds_the_verdict(checkpoint, make_part, out, caplog):
    recipe = Recipe(domain="tiny", alpha=make_part())
    trained, again = (train_alpha(recipe, checkpoint, out, device="cpu") for _ in range(2))
    stored = open_alpha(trained.path).native.training["verdict"]
    assert stored == trained.verdict.to_dict()
    assert f"the alpha network is {trained.verdict}" in caplog.messages
    assert f"alpha network is trained already: {trained.path}" in caplog.messages
    assert again == trained


def test_what_another_process_trains_is_waited_for_and_used(
    checkpoint, make_part, train, out, tmp_path, caplog, monkeypatch
):
    network = train(out=tmp_path / "other").read_bytes()
    claim_folder(out, training_id(make_part(), checkpoint), other="")
    lock = (out / "lock").open("a")
    assert try_lock(lock)

    def finish(seconds):
        (out / "alpha.safetensors").write_bytes(network)
        lock.close()

    monkeypatch.setattr(training_folder.time, "sleep", finish)
    assert train().read_bytes() == network
    assert f"{out}: another process works here; waiting for it to end" in caplog.messages
    assert "alpha network was trained by another process" in caplog.text
    assert not (out / "log.jsonl").exists()


@pytest.mark.slow
def test_from_any_kept_snapshot_it_ends_bit_for_bit_alike(train, out, caplog):
    train = partial(train, balance="auto", keep="best", snapshot_interval=2)
    first = train(keep_states=True).read_bytes()
    for step in (2, 4):
        again = train(resume_at=step)
        assert f"resuming alpha training at step {step}" in caplog.messages
        assert again.read_bytes() == first
    assert steps_of(out) == list(range(1, 7))


def test_a_state_that_was_not_kept(train, out):
    train()
    assert state_path(out).exists()
    expected = r"--resume-at 3: .*run: keeps no state of that step, only of none; train with --keep"
    with pytest.raises(UsageError, match=expected) as caught:
        train(resume_at=3)
    assert caught.value.exit_code == 2


def test_a_resume_that_was_stopped_is_continued(train, out, monkeypatch, caplog):
    train = partial(train, snapshot_interval=2)
    first = train(keep_states=True).read_bytes()
    real = training_module.train_step

    def stopped(state, context):
        if state.step == 3:
            raise KeyboardInterrupt
        return real(state, context)

    monkeypatch.setattr(training_module, "train_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(resume_at=2)
    assert not (out / "alpha.safetensors").exists()
    monkeypatch.setattr(training_module, "train_step", real)
    assert train().read_bytes() == first
    assert "resuming alpha training at step 2" in caplog.messages


@pytest.mark.parametrize(
    "size", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (100, -100))]
)
def test_a_damaged_network_is_made_again(train, caplog, size):
    result = train()
    whole = result.read_bytes()
    result.write_bytes(whole[:size])
    assert train().read_bytes() == whole
    assert f"alpha network is damaged and is made again: {result}" in caplog.messages


def test_on_a_full_disk_it_stops_and_later_goes_on(checkpoint, make_part, train, out, fill_disk):
    claim_folder(out, training_id(make_part(), checkpoint), other="")
    fill_disk(out / "state.pt")
    with pytest.raises(OSError, match="No space left"):
        train()
    left = ["curves.png", "events", "lock", "log.jsonl", "training-id"]
    assert sorted(path.name for path in out.iterdir()) == left
    assert train().exists()


@pytest.mark.parametrize(
    ("values", "exit_code", "words"),
    [
        ({"lowest_resolution": 100}, 2, "^alpha.lowest_resolution: must be one of 8, 16"),
        ({"resume_at": 3}, 2, "^--resume-at 3: .*run: keeps no state of that step, only of none"),
        (
            {"discriminator": "pretrained"},
            4,
            r"^alpha.training.discriminator: .*g.safetensors gives none \(holds 'generator', "
            r"expected 'discriminator'\); set alpha.training.discriminator=scratch, or give a "
            r"checkpoint with both networks$",
        ),
    ],
)
def test_what_is_refused_claims_no_folder(train, out, values, exit_code, words):
    with pytest.raises(L4FError, match=words) as caught:
        train(**values)
    assert caught.value.exit_code == exit_code
    assert not out.exists()


class TestPretrained:
    """A training that starts from the checkpoint's own discriminator, wherever that lies."""

    def write_judge(self, path, channels, seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            judge = Discriminator(max(channels), channels)
        save_discriminator(path, judge)
        return judge.state_dict()

    @pytest.fixture
    def folder(self, tmp_path, make_generator):
        """That of a pretraining, as far as both networks go."""
        (folder := tmp_path / "pretrained").mkdir()
        spec = make_generator().spec
        save_generator(folder / "generator.safetensors", spec, make_generator().state_dict())
        self.write_judge(folder / "discriminator.safetensors", spec.channels)
        return folder

    def test_only_under_the_names_that_pretrain_writes(self, folder):
        generator, judge = folder / "generator.safetensors", folder / "discriminator.safetensors"
        assert discriminator_beside(generator) == judge
        assert discriminator_beside(folder / "other.safetensors") is None
        assert discriminator_beside(folder / "..") is None
        judge.rename(folder / "judge.safetensors")
        assert discriminator_beside(generator) is None

    def test_it_starts_from_the_one_beside_its_generator(self, folder, make_part, train, tmp_path):
        checkpoint = open_generator(folder / "generator.safetensors")
        path = folder / "discriminator.safetensors"
        written = self.write_judge(path, checkpoint.spec.channels, seed=7)
        assert pretrained(make_part(), checkpoint) is None
        opened = pretrained(make_part(discriminator="pretrained"), checkpoint).state_dict()
        assert all(torch.equal(opened[name], value) for name, value in written.items())
        networks = {
            train(checkpoint, tmp_path / f"from-{kind}", discriminator=kind).read_bytes()
            for kind in ("pretrained", "scratch")
        }
        assert len(networks) == 2

    def test_one_of_another_size_is_refused_by_its_own_name(self, folder, make_part):
        self.write_judge(folder / "discriminator.safetensors", {4: 4, 8: 4, 16: 4, 32: 4})
        checkpoint = open_generator(folder / "generator.safetensors")
        expected = r"discriminator: the one in .*/discriminator.safetensors takes 32 px, images ha"
        with pytest.raises(CheckpointRefused, match=expected):
            pretrained(make_part(discriminator="pretrained"), checkpoint)

    def test_it_names_a_training_that_starts_from_it(self, folder, make_part):
        checkpoint = open_generator(folder / "generator.safetensors")
        path, channels = folder / "discriminator.safetensors", checkpoint.spec.channels
        names = {"pretrained": [], "scratch": []}
        for seed in (0, 0, 1):
            self.write_judge(path, channels, seed)
            for kind, found in names.items():
                found.append(training_id(make_part(discriminator=kind), checkpoint))
        first, same, other = names["pretrained"]
        assert first == same != other
        assert len(set(names["scratch"])) == 1
        path.unlink()  # then it can only lie in the generator's file, whose bytes name it
        beside_none = training_id(make_part(discriminator="pretrained"), checkpoint)
        assert beside_none not in (first, other)
