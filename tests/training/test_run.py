import json

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from l4f_datagen.checkpoints.native import save_generator
from l4f_datagen.checkpoints.open import open_alpha, open_generator
from l4f_datagen.core.errors import CheckpointRefused, UsageError
from l4f_datagen.io import training_folder
from l4f_datagen.io.training_folder import claim_folder, try_lock
from l4f_datagen.recipe import Recipe
from l4f_datagen.training import loop as training_module
from l4f_datagen.training.identity import training_id
from l4f_datagen.training.run import state_path, train_alpha


@pytest.fixture
def checkpoint(make_generator, tmp_path):
    generator = make_generator()
    path = tmp_path / "generator.safetensors"
    save_generator(path, generator.spec, generator.state_dict())
    return open_generator(path)


def train(checkpoint, part, out, **more):
    recipe = Recipe(domain="tiny", alpha=part)
    return train_alpha(recipe, checkpoint, out, device="cpu", **more).path


def test_a_run_leaves_what_people_and_machines_need(checkpoint, make_part, tmp_path):
    out = tmp_path / "run"
    result = train(checkpoint, make_part(balance="auto", keep="best"), out)
    assert result == out / "alpha.safetensors"
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 7))
    with Image.open(out / "curves.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
    events = EventAccumulator(str(out / "events"))
    events.Reload()
    logged = events.Scalars("attempt-1/alpha_coverage")
    assert [event.step for event in logged] == list(range(1, 7))
    assert [event.value for event in logged] == pytest.approx([r["alpha_coverage"] for r in rows])
    assert sorted(p.name for p in out.glob("preview-*.png")) == [
        "preview-000003.png",
        "preview-000006.png",
        "preview-final.png",
    ]


def test_the_file_holds_the_verdict(checkpoint, make_part, tmp_path, caplog):
    recipe = Recipe(domain="tiny", alpha=make_part())
    trained = train_alpha(recipe, checkpoint, tmp_path / "run", device="cpu")
    stored = open_alpha(trained.path).native.training["verdict"]
    assert stored == trained.verdict.to_dict()
    assert f"the alpha network is {trained.verdict}" in caplog.messages
    again = train_alpha(recipe, checkpoint, tmp_path / "run", device="cpu")
    assert again == trained


def test_what_another_process_trains_is_waited_for_and_used(
    checkpoint, make_part, tmp_path, caplog, monkeypatch
):
    out, part = tmp_path / "run", make_part()
    network = train(checkpoint, part, tmp_path / "other").read_bytes()
    claim_folder(out, training_id(part, checkpoint), other="")
    lock = (out / "lock").open("a")
    assert try_lock(lock)

    def finish(seconds):
        (out / "alpha.safetensors").write_bytes(network)
        lock.close()

    monkeypatch.setattr(training_folder.time, "sleep", finish)
    assert train(checkpoint, part, out).read_bytes() == network
    assert f"{out}: another process works here; waiting for it to end" in caplog.messages
    assert "alpha network was trained by another process" in caplog.text
    assert not (out / "log.jsonl").exists()


@pytest.mark.slow
def test_from_any_kept_snapshot_it_ends_bit_for_bit_alike(checkpoint, make_part, tmp_path, caplog):
    part = make_part(balance="auto", keep="best", snapshot_interval=2)
    out = tmp_path / "run"
    first = train(checkpoint, part, out, keep_states=True).read_bytes()
    for step in (2, 4):
        again = train(checkpoint, part, out, resume_at=step)
        assert f"resuming alpha training at step {step}" in caplog.messages
        assert again.read_bytes() == first
    rows = (out / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in rows] == list(range(1, 7))


def test_a_state_that_was_not_kept(checkpoint, make_part, tmp_path):
    out = tmp_path / "run"
    train(checkpoint, make_part(), out)
    assert state_path(out).exists()
    expected = r"--resume-at 3: .*run: keeps no state of that step, only of none; train with --keep"
    with pytest.raises(UsageError, match=expected) as caught:
        train(checkpoint, make_part(), out, resume_at=3)
    assert caught.value.exit_code == 2


def test_a_resume_that_was_stopped_is_continued(
    checkpoint, make_part, tmp_path, monkeypatch, caplog
):
    part, out = make_part(snapshot_interval=2), tmp_path / "run"
    first = train(checkpoint, part, out, keep_states=True).read_bytes()
    real = training_module.train_step

    def stopped(state, context):
        if state.step == 3:
            raise KeyboardInterrupt
        return real(state, context)

    monkeypatch.setattr(training_module, "train_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint, part, out, resume_at=2)
    assert not (out / "alpha.safetensors").exists()
    monkeypatch.setattr(training_module, "train_step", real)
    assert train(checkpoint, part, out).read_bytes() == first
    assert "resuming alpha training at step 2" in caplog.messages
    train(checkpoint, part, out)
    assert f"alpha network is trained already: {out / 'alpha.safetensors'}" in caplog.messages


@pytest.mark.parametrize(
    "size", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (100, -100))]
)
def test_a_damaged_network_is_made_again(checkpoint, make_part, tmp_path, caplog, size):
    out = tmp_path / "run"
    result = train(checkpoint, make_part(), out)
    whole = result.read_bytes()
    result.write_bytes(whole[:size])
    assert train(checkpoint, make_part(), out).read_bytes() == whole
    assert f"alpha network is damaged and is made again: {result}" in caplog.messages


def test_on_a_full_disk_it_stops_and_later_goes_on(checkpoint, make_part, tmp_path, fill_disk):
    part, out = make_part(), tmp_path / "run"
    claim_folder(out, training_id(part, checkpoint), other="")
    fill_disk(out / "state.pt")
    with pytest.raises(OSError, match="No space left"):
        train(checkpoint, part, out)
    assert sorted(path.name for path in out.iterdir()) == [
        *("curves.png", "events", "lock", "log.jsonl", "training-id"),
    ]
    assert train(checkpoint, part, out).exists()


def test_a_checkpoint_without_discriminator(checkpoint, make_part, tmp_path):
    expected = (
        r"^alpha.training.discriminator: .*generator.safetensors gives none \(holds 'generator', "
        r"expected 'discriminator'\); set alpha.training.discriminator=scratch, or give a "
        r"checkpoint with both networks$"
    )
    with pytest.raises(CheckpointRefused, match=expected) as caught:
        train(checkpoint, make_part(discriminator="pretrained"), tmp_path / "run")
    assert caught.value.exit_code == 4
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("lowest", "at"), [(100, None), (None, 3)])
def test_what_is_refused_claims_no_folder(checkpoint, make_part, tmp_path, lowest, at):
    with pytest.raises(UsageError):
        train(checkpoint, make_part(lowest_resolution=lowest), tmp_path / "run", resume_at=at)
    assert not (tmp_path / "run").exists()
