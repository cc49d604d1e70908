import json
from types import SimpleNamespace

import numpy as np
import pytest

from l4f_datagen.pipeline import doctor


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("L4F_CACHE", str(tmp_path / "cache"))


def named(findings):
    return {finding.name: finding for finding in findings}


def sample(coverage):
    return SimpleNamespace(mask=np.arange(100) < 100 * coverage)


def test_a_healthy_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "render_toy_cars", lambda: [sample(0.2), sample(0.3)])
    found = named(doctor.examine(tmp_path / "not" / "there"))
    assert all(finding.healthy for finding in found.values())
    assert found["self-test"].value == "2 toy cars rendered, masks cover 25%"
    assert found["cache"].value == str(tmp_path / "cache")


def test_a_failing_render_is_told_and_ends_with_1(cli_run, monkeypatch):
    def fail():
        raise OSError("weights are gone")

    monkeypatch.setattr(doctor, "render_toy_cars", fail)
    result = cli_run("doctor")
    assert result.exit_code == 1
    assert "! self-test      failed: weights are gone  (install again" in result.output
    assert "Error: doctor: needs attention: self-test; follow the advice above" in result.output


def test_a_token_is_found_but_never_shown(cli_run, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    result = cli_run("doctor", "--no-render", "--json")
    assert result.exit_code == 0
    assert "secret" not in result.output
    [token] = [row for row in json.loads(result.output) if row["name"] == "hub token"]
    assert token["value"] == "found"


@pytest.mark.parametrize("coverage", [0.0, 1.0])
def test_what_is_amiss_has_advice(tmp_path, monkeypatch, coverage):
    monkeypatch.setattr(doctor, "render_toy_cars", lambda: [sample(coverage)])
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**8))
    found = named(doctor.examine(tmp_path))
    ill = {name: finding.advice for name, finding in found.items() if not finding.healthy}
    assert ill == {
        "cache": "set L4F_CACHE to a folder that can be written",
        "self-test": "install again; the weights are off",
    }
    disk = found["free disk"]
    assert (disk.value, disk.advice) == ("0.1 GB", "make room or name another --out")


def test_the_embedded_domain_really_renders():
    samples = doctor.render_toy_cars()
    assert {sample.image.shape for sample in samples} == {(64, 64, 3)}
    assert 0.05 < np.mean([sample.mask.mean() for sample in samples]) < 0.6
