"""``torchrun ... -m l4f_datagen train``, really launched: what two processes write and say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner

from l4f_datagen import cli as door
from l4f_datagen.checkpoints.native import save_generator
from l4f_datagen.checkpoints.open import open_alpha
from l4f_datagen.training.ranks import own_device

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe(tmp_path, make_generator, make_part):
    generator = make_generator()
    save_generator(tmp_path / "g.safetensors", generator.spec, generator.state_dict())
    part = make_part(steps=3, batch=8, balance="auto", area_weight=0.1, keep="best")
    data = {
        "domain": "tiny",
        "generator": {"weights": str(tmp_path / "g.safetensors")},
        "alpha": part.model_dump(mode="json"),
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "tiny.yaml"


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "l4f_datagen", "train", "--device", "cpu"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command += [str(argument) for argument in arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=400)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_train_as_one(recipe, tmp_path):
    joint = torchrun("--recipe", recipe, "--out", tmp_path / "two")
    assert joint.returncode == 0, joint.stderr
    alone = ["train", "--device", "cpu", "--recipe", recipe, "--out", tmp_path / "one"]
    single = CliRunner().invoke(door.cli, [str(word) for word in alone])
    assert single.exit_code == 0, single.output
    names = [sorted(p.name for p in (tmp_path / run).iterdir()) for run in ("one", "two")]
    assert names[0] == names[1]
    states = [open_alpha(tmp_path / run / "alpha.safetensors").state for run in ("one", "two")]
    torch.testing.assert_close(dict(states[1]), dict(states[0]), rtol=1e-3, atol=1e-4)
    logs = [
        [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    ]
    assert [row["step"] for row in logs[1]] == [1, 2, 3]
    for row, other in zip(*logs, strict=True):
        assert other == pytest.approx(row, rel=1e-4)
    assert joint.stdout == f"{tmp_path / 'two' / 'alpha.safetensors'}\n"
    assert joint.stderr.count("of the generator's images; mean alpha") == 1
    assert joint.stderr.count("keeping the snapshot") == 1
    assert "destroy_process_group" not in joint.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_of_two_processes_tells_the_error(recipe, tmp_path):
    flags = ["--set", "alpha.training.accumulate=8"]
    refused = torchrun("--recipe", recipe, "--out", tmp_path / "two", *flags)
    assert refused.returncode == 1
    lines = [line for line in refused.stderr.splitlines() if line.startswith("Error: ")]
    assert lines == [
        "Error: alpha.training.batch: a batch of 8 cannot be divided by 2 processes; "
        "give a multiple of processes times accumulate"
    ]
    assert not (tmp_path / "two").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_the_first_process_refuses_is_one_line(recipe, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    places = {
        "is not empty and holds other files": ["--out", tmp_path / "full"],
        "cannot be read": ["--out", tmp_path / "new", "--generator", tmp_path / "none.pkl"],
    }
    for words, flags in places.items():
        refused = torchrun("--recipe", recipe, *flags)
        assert refused.returncode == 1
        (line,) = [text for text in refused.stderr.splitlines() if text.startswith("Error: ")]
        assert words in line
        assert "Connection closed" not in refused.stderr
    assert not (tmp_path / "new").exists()


def test_a_process_that_fails_alone_says_which_it_is(monkeypatch, tmp_path):
    waited = []
    monkeypatch.setattr(door.time, "sleep", waited.append)
    flags = ["recipes", "check", str(tmp_path / "none.yaml")]
    first = CliRunner().invoke(door.cli, flags)
    assert first.output.startswith("Error: ")
    assert waited == []
    numbered = CliRunner(env={"RANK": "1"}).invoke(door.cli, flags)  # by a job array
    assert numbered.output == first.output
    assert waited == []
    second = CliRunner(env={"RANK": "1", "WORLD_SIZE": "2"}).invoke(door.cli, flags)
    assert second.output.startswith("Error: process 1: ")
    assert second.exit_code == first.exit_code
    assert waited == [door.FIRST_SPEAKS_SECONDS]


def test_every_process_has_a_device_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert own_device("auto") == "auto"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    given = ("auto", "cuda", "cuda:0", "cpu")
    assert [own_device(name) for name in given] == ["cuda:1", "cuda:1", "cuda:0", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_device("auto") == "auto"
