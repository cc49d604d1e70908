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
from l4f_datagen.checkpoints.open import open_alpha

ROOT = Path(__file__).parents[2]


@pytest.fixture
def torchrun(tmp_path, generator_file, make_part):
    """Train a tiny recipe by two processes, or by one."""
    part = make_part(steps=3, batch=8, balance="auto", area_weight=0.1, keep="best")
    weights, alpha = {"weights": str(generator_file)}, part.model_dump(mode="json")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump({"domain": "tiny", "generator": weights, "alpha": alpha}))

    def launch(*arguments, processes=2):
        words = ["train", "--device", "cpu", "--recipe", recipe, *arguments]
        if processes == 1:
            return CliRunner().invoke(door.cli, [str(word) for word in words])
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2", "-m", "l4f_datagen", *map(str, words)]
        alone = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        options = {"capture_output": True, "text": True, "timeout": 400}
        return subprocess.run(command, env=os.environ | alone, **options, check=False)

    return launch


def refusal(refused):
    """Return the one line that says why."""
    assert refused.returncode == 1
    (line,) = [text for text in refused.stderr.splitlines() if text.startswith("Error: ")]
    return line


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_train_as_one(torchrun, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    joint = torchrun("--out", two)
    assert joint.returncode == 0, joint.stderr
    single = torchrun("--out", one, processes=1)
    assert single.exit_code == 0, single.output
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in two.iterdir())
    states = [dict(open_alpha(run / "alpha.safetensors").state) for run in (two, one)]
    torch.testing.assert_close(*states, rtol=1e-3, atol=1e-4)
    logs = [
        [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        for run in (one, two)
    ]
    assert [row["step"] for row in logs[1]] == [1, 2, 3]
    for row, other in zip(*logs, strict=True):
        assert other == pytest.approx(row, rel=1e-4)
    assert joint.stdout == f"{two / 'alpha.safetensors'}\n"
    assert joint.stderr.count("of the generator's images; mean alpha") == 1
    assert joint.stderr.count("keeping the snapshot") == 1
    assert "destroy_process_group" not in joint.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_of_two_processes_tells_the_error(torchrun, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    new = tmp_path / "new"
    cases = {
        "Error: alpha.training.batch: a batch of 8 cannot be divided by 2 processes; "
        "give a multiple of processes times accumulate": [
            *("--out", new, "--set", "alpha.training.accumulate=8")
        ],
        "is not empty and holds other files": ["--out", tmp_path / "full"],
        "cannot be read": ["--out", new, "--generator", tmp_path / "none.pkl"],
    }
    for words, flags in cases.items():
        refused = torchrun(*flags)
        assert words in refusal(refused)
        assert "Connection closed" not in refused.stderr
    assert not new.exists()


def test_a_process_that_fails_alone_says_which_it_is(monkeypatch, tmp_path):
    waited = []
    monkeypatch.setattr(door.time, "sleep", waited.append)
    flags = ["recipes", "check", str(tmp_path / "none.yaml")]
    first = CliRunner().invoke(door.cli, flags)
    assert first.output.startswith("Error: ")
    numbered = CliRunner(env={"RANK": "1"}).invoke(door.cli, flags)  # by a job array
    assert numbered.output == first.output
    assert waited == []
    second = CliRunner(env={"RANK": "1", "WORLD_SIZE": "2"}).invoke(door.cli, flags)
    assert second.output.startswith("Error: process 1: ")
    assert second.exit_code == first.exit_code
    assert waited == [door.FIRST_SPEAKS_SECONDS]
