import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.annotations.truth import TruthMask
from l4f_datagen.core.errors import UsageError
from l4f_datagen.report.score_plot import plot_svg, save_plot
from l4f_datagen.scoring.match import Pair
from l4f_datagen.scoring.sweep import SweepCounts


@pytest.fixture
def sweep():
    def make(*axes):
        counts, stream = SweepCounts(axes), np.random.RandomState(0)
        for number in range(6):
            alpha = stream.rand(12, 12).astype(np.float32)
            truth = TruthMask(alpha + 0.2 * stream.randn(12, 12) > 0.6)
            psi = (500, 1000)[number % 2]
            counts(Pair(f"psi{psi:04d}-seed{number:07d}", truth, alpha > 0.5, alpha))
        return counts.sweep(np.random.RandomState(0))

    return make


def texts(svg):
    return [node.text for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]


def test_threshold_plot_has_a_line_a_psi_and_one_for_all(sweep):
    svg = plot_svg(sweep("psi", "threshold"))
    said = texts(svg)
    for words in ("all images (6)", "psi 0.5 (3)", "psi 1 (3)", "mIoU", "masks as given"):
        assert words in said
    assert plot_svg(sweep("psi", "threshold")) == svg


def test_psi_plot_names_every_psi_and_its_images(sweep):
    said = " ".join(texts(plot_svg(sweep("psi"))))
    assert "0.5" in said
    assert said.count("3 images") == 2


def test_files_are_what_their_suffix_says(sweep, tmp_path):
    save_plot(sweep("threshold"), tmp_path / "deep" / "a.PNG")
    with Image.open(tmp_path / "deep" / "a.PNG") as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 10
    save_plot(sweep("threshold"), tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "deep"]


@pytest.mark.parametrize("name", ["a.jpg", "a"])
def test_other_suffixes_are_refused(sweep, tmp_path, name):
    with pytest.raises(UsageError, match=rf"{name}: ends in .*; name a \.png or \.svg"):
        save_plot(sweep("psi"), tmp_path / name)


def test_a_plot_that_cannot_be_written_is_refused(sweep, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"a\.svg: cannot be written"):
        save_plot(sweep("psi"), tmp_path / "file" / "a.svg")
