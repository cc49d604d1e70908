"""A dataset of discs with two psi, two reasons and a whole provenance; no torch needed."""

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.core.sample import sample_key
from l4f_datagen.dataset.manifest import Facts
from l4f_datagen.dataset.store import open_dataset
from l4f_datagen.recipe import OutputPart, check_recipe
from l4f_datagen.report.pages import write_report
from l4f_datagen.report.records import read_records, records_of

RECIPE = check_recipe(
    {
        "domain": "discs",
        "description": "Discs & <noise>.",
        "sampling": {"psi": [0.5, 1.0], "block_size": 4, "blocks_per_shard": 2},
        "filters": {"coverage": {"min": 0.08, "max": 0.3}},
        "output": {"category": "disc"},
    },
    "test",
)
ORIGIN = {
    "domain": "discs",
    "recipe": RECIPE.model_dump(mode="json"),
    "recipe_hash": "abc",
    "generator": {"format": "test", "sha256": "1" * 64, "resolution": 16},
    "alpha": {"sha256": "2" * 64},
    "licence": {"name": "apache-2.0", "link": "https://example.org/licence", "commercial": True},
    "package": "l4f-datagen 0",
    "device": "cpu",
}


@pytest.fixture
def disc_dataset(discs, tmp_path):
    """Make a dataset of ``n`` accepted discs."""

    def sample(place):
        seed, psi = place // 2, (0.5, 1.0)[place % 2]
        disc = discs.make_disc(place, size=16)
        low = disc.scores["coverage"] < 0.15
        scores = disc.scores | {"alpha_uncertainty": round(psi / 100 + place / 1e5, 6)}
        told = {"reason": disc.reason and ("coverage_low" if low else "coverage_high")}
        return replace(disc, key=sample_key(psi, seed), psi=psi, seed=seed, scores=scores, **told)

    def blocks(shard):
        for start in range(shard * 8, shard * 8 + 8, 4):
            yield [sample(place) for place in range(start, start + 4)]

    def make(n=24, *, name="set", formats=("png",), keep_rejected=False):
        folder = tmp_path / name
        output = OutputPart(formats=tuple(formats), keep_rejected=keep_rejected)
        recipe = RECIPE.model_copy(update={"output": output}).dump()
        options = {"recipe": recipe, "recipe_hash": "abc", "output": output, "workers": 1}
        with open_dataset(folder, **options) as dataset:
            markers = discs.take_shards(dataset, n, blocks)
            dataset.finish(Facts("disc", 0.9, "apache-2.0", provenance=ORIGIN), {})
        return SimpleNamespace(folder=folder, origin=ORIGIN, markers=markers, blocks=blocks)

    return make


@pytest.fixture
def page_of():
    """Write the report of a dataset, as text."""

    def write(made, origin=None, **options):
        records = read_records(made.folder)
        return write_report(made.folder, origin or made.origin, records, **options).decode()

    return write


@pytest.fixture
def rows_of():
    """Records of rows that say only what matters."""

    def make(rows):
        places = {"psi": 0.7, "seed": 0, "shard": 0, "reason": None}
        full = (places | {"image_id": k, "scores": {}} | row for k, row in enumerate(rows, 1))
        words = ("accepted", "rejected")
        return records_of(row | {"status": words[bool(row["reason"])]} for row in full)

    return make


class Page(HTMLParser):
    """What a page names: ids, addresses, images, headings of the third order, and words."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.addresses, self.images, self.headings, self.words = [], [], [], [], []
        self._tag = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._tag, named = tag, dict(attrs)
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [named[name] for name in ("src", "href", "xlink:href") if name in named]
        self.images += [named] if tag == "img" else []

    def handle_endtag(self, tag):
        self._tag = None

    def handle_data(self, data):
        self.words.append(" ".join(data.split()))
        self.headings += [data.strip()] if self._tag == "h3" else []


@pytest.fixture
def parse():
    return Page


@pytest.fixture
def decode_webp():
    """Pixels of a picture that is held in its own address."""

    def decode(address):
        head, _, body = address.partition(",")
        assert head == "data:image/webp;base64"
        with Image.open(io.BytesIO(base64.b64decode(body))) as image:
            return np.asarray(image)

    return decode


RUN = {
    "steps": 4,
    "kept_step": 3,
    "attempts": [
        {"attempt": 1, "step": [1, 2], "d_loss": [1.5, None], "realism": [0.5, 0.6],
         "binarization": [0.3, 0.2], "alpha_coverage": [0.9, 1.0]},
        {"attempt": 2, "step": [1, 2, 3, 4], "d_loss": [1.4, 1.3, 1.2, 1.1],
         "realism": [0.7, 0.8, 0.9, 1.0], "binarization": [0.25, 0.125, 0.0625, 0.03125],
         "alpha_coverage": [0.5, 0.375, 0.25, 0.1875]},
    ],
}  # fmt: skip


@pytest.fixture
def trained():
    """Origin of a dataset whose alpha network was trained for it, and a preview sheet."""
    buffer = io.BytesIO()
    pixels = np.random.RandomState(0).randint(0, 256, (64, 106, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((1060, 640)).save(buffer, "PNG")
    return ORIGIN | {"alpha": ORIGIN["alpha"] | {"run": RUN}}, buffer.getvalue()
