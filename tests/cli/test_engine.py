"""Options of engines, devices and shares: what excludes what is told in one line."""

import pytest
from click.testing import CliRunner

from l4f_datagen.cli import cli
from l4f_datagen.cli.make import _engine_values
from l4f_datagen.rendering.quota import Share

GIVEN = {"devices": None, "workers": None, "engine": "local", "ray_address": None, "shard": None}
MAKE = ["make", "--domain", "toy-cars", "--n", "1"]


def run(*args):
    result = CliRunner().invoke(cli, args)
    return result.exit_code, result.stderr


def test_options_become_what_a_job_takes():
    assert _engine_values({**GIVEN, "devices": "cuda:0,cuda:1", "shard": "1/4"}) == {
        **{"devices": ("cuda:0", "cuda:1"), "workers": None, "engine": "local"},
        **{"ray_address": None, "share": Share(1, 4)},
    }


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--ray-address", "auto"], "--ray-address: given without --engine ray; add --engine ray"),
        (["--devices", "cpu", "--engine", "ray"], "--devices: given with --engine ray; a cluster"),
        (["--shard", "4/4"], "--shard: expected i/n with i from 0 to n - 1, got '4/4'; write"),
        (["--push", "me/cars", "--shard", "0/4"], "--push: publishes a finished folder, and none"),
        (["--shard", "0/2", "--overwrite"], "--overwrite: given with --shard, would delete"),
    ],
)
def test_flags_that_exclude_each_other(tmp_path, flags, said):
    code, told = run(*MAKE, "--out", str(tmp_path / "out"), *flags)
    assert code == 2
    assert said in told
    assert not (tmp_path / "out").exists()


def test_a_merge_of_several_folders_needs_a_new_one(tmp_path):
    code, told = run("merge", str(tmp_path / "a"), str(tmp_path / "b"))
    assert (code, "takes one OUT, or PARTS with --out; name --out FOLDER" in told) == (2, True)
    code, told = run("merge", "s3://cars/a", "--out", str(tmp_path / "b"))
    assert (code, "PARTS must be folders; let the jobs write to one URL" in told) == (2, True)
