"""Datasets of the tiny recipe, made by the whole line."""

import json

import pytest

from l4f_datagen.pipeline.config import MakeConfig
from l4f_datagen.pipeline.make import make_dataset
from l4f_datagen.recipe import check_recipe


@pytest.fixture
def make(tiny_recipe, tmp_path):
    """Make what the tiny recipe says by then: in a folder of ``tmp_path``, or at a URL."""

    def call(out, number=12, **options):
        place = out if "://" in str(out) else tmp_path / out
        return make_dataset(MakeConfig(check_recipe(tiny_recipe, "test"), place, number, **options))

    return call


@pytest.fixture
def made(make, tmp_path, digests):
    """The same, and the digests of what it wrote."""

    def call(out, number=12, **options):
        make(out, number, **options)
        return digests(tmp_path / out)

    return call


@pytest.fixture
def rows_of(tmp_path):
    """Function: folder -> the rows of its ledger."""

    def read(folder):
        lines = (tmp_path / folder / "ledger.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return read
