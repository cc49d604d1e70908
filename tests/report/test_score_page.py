"""Score page: what it shows of the scores, and the plot of a sweep."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.annotations.truth import TruthItem, TruthMask, TruthSet
from l4f_datagen.core.errors import UsageError
from l4f_datagen.report.score_page import (
    FALSE_NEGATIVE_RGB,
    FALSE_POSITIVE_RGB,
    IGNORED_RGB,
    error_overlay,
    plot_svg,
    save_page,
    save_plot,
    score_page,
)
from l4f_datagen.scoring import Pair, match_truth, score_match
from l4f_datagen.scoring.match import Predicted
from l4f_datagen.scoring.sweep import SweepCounts

SIDE = 40
TRUTH = np.pad(np.ones((24, 24), bool), 8)


class Drawn:
    """A prediction that is worse the higher its number; every other one has an image."""

    source, format = "drawn <b>", "test"

    def __init__(self, count, side=SIDE):
        self.names = [f"psi0700-seed{number:07d}.png" for number in range(count)]
        self.side = side

    def load(self, place, size_hw=None):
        alpha = np.zeros((self.side, self.side), np.float32)
        scale = self.side // SIDE
        alpha[(8 + place % 9) * scale : 34 * scale, 8 * scale : 32 * scale] = 0.8
        return Predicted(alpha > 0.5, alpha)

    def image(self, place):
        return np.full((SIDE, SIDE, 3), 90, np.uint8) if place % 2 == 0 else None

    def notes(self):
        return []


def page_of(count, sweep=False, side=SIDE, resize=None):
    drawn = Drawn(count, side)
    names = ["<script>alert(1)</script>" + name for name in drawn.names]
    items = [TruthItem(name, (SIDE, SIDE), lambda _: TruthMask(TRUTH)) for name in names]
    matched = match_truth(TruthSet("truth.json", "test", items), drawn, pair_by="key")
    counts = SweepCounts(("psi", "threshold")) if sweep else None
    report = score_match(matched, watch=counts, resize=resize)
    swept = counts.sweep(np.random.RandomState(0)) if counts else None
    return report, score_page(report, matched, swept, "cars <1>").decode()


def test_errors_are_painted_in_two_colours_of_their_own():
    mask = np.roll(TRUTH, 3, axis=0)
    ignore = np.zeros_like(TRUTH)
    ignore[:2] = ignore[8, 8] = True
    image = np.random.RandomState(0).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    for under in (image, None):
        painted = error_overlay(under, TRUTH, mask, ignore)
        for colour, where in (
            (FALSE_POSITIVE_RGB, mask & ~TRUTH & ~ignore),
            (FALSE_NEGATIVE_RGB, TRUTH & ~mask & ~ignore),
            (IGNORED_RGB, ignore),
        ):
            np.testing.assert_array_equal((painted == colour).all(axis=2), where)
        agreed = painted[(mask == TRUTH) & ~ignore]
        assert (agreed == agreed[:, :1]).all()  # grey
        assert painted[20, 20].mean() > painted[4, 4].mean()  # lighter on the object


def test_the_page_holds_table_intervals_and_overlays_worst_first(parse, decode_webp):
    report, text = page_of(12)
    page = parse(text)
    for value in (report.scores.miou, report.intervals["miou"].low, report.scores.foreground.iou):
        assert f"{value:.4f}" in text
    worst = [image.name for image in report.worst(12)]
    assert page.headings == worst
    assert worst[0].endswith("seed0000008.png")
    assert "cars &lt;1&gt;" in text
    assert "<script" not in text
    overlays = [image["src"] for image in page.images if image["alt"].startswith("errors on")]
    images = [image for image in page.images if image["alt"].startswith("image of")]
    assert (len(overlays), len(images)) == (12, 6)
    wrong = (decode_webp(overlays[0]) == FALSE_NEGATIVE_RGB).all(axis=2)
    assert wrong.sum() == 8 * 24  # the worst starts 8 rows low
    assert all(address.startswith("data:") for address in page.addresses)
    assert "http" not in text.replace("http://www.w3.org", "")


def test_only_the_worst_are_drawn_of_many_and_that_is_said(parse):
    report, text = page_of(60)
    assert "40 of 60 images are drawn." in text
    assert parse(text).headings == [image.name for image in report.worst(40)]
    assert text.count("<tr><td>&lt;script") == 60


def test_the_sweep_is_plotted_inside():
    _, text = page_of(8, sweep=True)
    assert "<svg" in text
    assert "Best threshold" in text
    assert len(re.findall(r"<tr><td>0\.7</td>", text)) == 20
    assert page_of(8, sweep=True)[1] == text


def test_predictions_of_another_size_are_drawn_on_the_truth(parse, decode_webp):
    _, text = page_of(4, side=2 * SIDE, resize="nearest")
    overlay = next(i for i in parse(text).images if i["alt"].startswith("errors on"))
    assert decode_webp(overlay["src"]).shape == (SIDE, SIDE, 3)


def test_pages_go_into_a_folder_or_a_file(tmp_path):
    assert save_page(b"x", tmp_path / "new" / "folder") == tmp_path / "new/folder/score.html"
    assert save_page(b"y", tmp_path / "a.html").read_bytes() == b"y"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "new"]
    with pytest.raises(UsageError, match=r"a\.html/b/score\.html: cannot be written"):
        save_page(b"x", tmp_path / "a.html" / "b")


def swept(*axes):
    counts, stream = SweepCounts(axes), np.random.RandomState(0)
    for number in range(6):
        alpha = stream.rand(12, 12).astype(np.float32)
        truth = TruthMask(alpha + 0.2 * stream.randn(12, 12) > 0.6)
        psi = (500, 1000)[number % 2]
        counts(Pair(f"psi{psi:04d}-seed{number:07d}", truth, alpha > 0.5, alpha))
    return counts.sweep(np.random.RandomState(0))


def texts(svg):
    return [node.text for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]


def test_plots_name_what_they_show():
    svg = plot_svg(swept("psi", "threshold"))
    wanted = {"all psi (6 images)", "psi 0.5 (3 images)", "mIoU", "masks as given"}
    assert wanted <= set(texts(svg))
    assert plot_svg(swept("psi", "threshold")) == svg
    said = " ".join(texts(plot_svg(swept("psi"))))
    assert "0.5" in said
    assert said.count("3 images") == 2


def test_files_are_what_their_suffix_says(tmp_path):
    sweep = swept("threshold")
    save_plot(sweep, tmp_path / "deep" / "a.PNG")
    with Image.open(tmp_path / "deep" / "a.PNG") as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 10
    save_plot(sweep, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "deep"]
    for name, match in (
        ("a.jpg", r"a\.jpg: ends in \.jpg; name a \.png or \.svg"),
        ("a", r"a: ends in nothing; name a \.png or \.svg"),
        ("a.svg/b.svg", r"b\.svg: cannot be written"),
    ):
        with pytest.raises(UsageError, match=match):
            save_plot(sweep, tmp_path / name)
