"""Photographs: checked before anything begins, cut or padded to the generator's canvas."""

from contextlib import nullcontext

import numpy as np
import pytest
from PIL import ExifTags, Image

from l4f_datagen.core.errors import InputRefused
from l4f_datagen.io.photographs import check_photographs, fit_image
from l4f_datagen.io.stores import open_store

WIDE = np.zeros((9, 16, 3), np.uint8)
WIDE[:, 4:12] = 200
"""16:9, grey in the middle half."""
NOISE = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)


def fill(folder, count=40, size=(16, 16)):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, (number,) * 3).save(folder / f"{number:02d}.png")
    return folder


def by_hand(image, side):
    """The whole image, centred on black."""
    scale = side / max(image.shape[:2])
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    canvas = Image.new("RGB", (side, side))
    fitted = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    canvas.paste(fitted, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(canvas)


class TestFit:
    @pytest.mark.parametrize("fit", ["crop", "pad"])
    def test_a_square_of_the_right_size_keeps_every_byte(self, fit):
        assert np.array_equal(fit_image(NOISE, 16, fit=fit), NOISE)
        assert np.array_equal(fit_image(NOISE, 7, fit=fit), by_hand(NOISE, 7))

    def test_a_wide_photograph_loses_its_sides_alike(self):
        square = fit_image(NOISE[:9], 9)
        assert np.array_equal(square[:, 4], fit_image(NOISE[:9, 3:13], 9)[:, 4])
        assert fit_image(WIDE, 16)[:, 0].max() < 100  # black of the photograph, at both sides
        assert (fit_image(WIDE, 16)[:, 2:14] > 150).all()
        assert np.array_equal(fit_image(WIDE, 16), fit_image(WIDE, 16)[:, ::-1])
        tall = fit_image(WIDE.transpose(1, 0, 2), 16)
        assert np.array_equal(tall, fit_image(WIDE, 16).transpose(1, 0, 2))

    def test_the_crop_is_filled_and_the_rest_is_black(self):
        bright = np.full((30, 30, 3), 255, np.uint8)
        canvas = fit_image(bright, 16, (0, 2, 16, 14))
        assert (canvas[2:14] == 255).all()
        assert not canvas[:2].any()
        assert not canvas[14:].any()
        wide = np.full((30, 40, 3), 255, np.uint8)  # of the crop's own aspect: nothing is cut
        assert np.array_equal(fit_image(wide, 16, (0, 2, 16, 14)), canvas)

    @pytest.mark.parametrize("shape", [(9, 16), (16, 9), (1, 3000), (3000, 1)])
    def test_padding_keeps_the_whole(self, shape):
        image = np.full((*shape, 3), 255, np.uint8)
        assert np.array_equal(fit_image(image, 16, fit="pad"), by_hand(image, 16))


class TestCheck:
    def check(self, folder, **more):
        return check_photographs(open_store(str(folder)), 16, **more)

    def test_a_few_unusable_ones_are_named_and_skipped(self, tmp_path, caplog):
        folder = fill(tmp_path / "set")
        (folder / "a.heic").write_bytes(b"x")
        (folder / "07.png").write_bytes(b"words")
        Image.new("RGB", (7, 7)).save(folder / "08.png")
        photographs = self.check(folder)
        assert [photographs.read(k).mean() for k in (6, 7)] == [6, 9]
        assert len(photographs) == 38
        assert "07.png: is not a readable image" in caplog.text
        assert "08.png: is 7 x 7 pixels, the generator draws 16 x 16" in caplog.text
        assert "2 of 40 photographs cannot be used and are skipped" in caplog.text
        assert "ignored are 1 .heic; images end in .png .bmp" in caplog.text

    def test_many_unusable_ones_and_a_single_one_are_refused(self, tmp_path):
        (tmp_path / "one").mkdir()
        Image.new("1", (10_000, 7_000)).save(tmp_path / "one" / "large.png")
        expected = "large.png: is 10000 x 7000 pixels, at most 64 MP are read; shrink it"
        with pytest.raises(InputRefused, match=expected):
            self.check(tmp_path / "one")
        folder = fill(tmp_path / "set")
        for number in (3, 4, 5):
            (folder / f"{number:02d}.png").write_bytes(b"words")
        expected = r"set: 3 of 40 photographs cannot be used, the first: .*03.png is not a readable"
        with pytest.raises(InputRefused, match=expected) as caught:
            self.check(folder)
        assert caught.value.exit_code == 4

    @pytest.mark.parametrize(
        ("size", "options", "usable"),
        [
            ((8, 8), {}, True),
            ((100, 8), {}, True),
            ((100, 7), {}, False),  # what is left of the middle is 7 x 7
            ((7, 100), {}, False),
            ((16, 6), {"crop": (0, 2, 16, 14)}, True),
            ((16, 5), {"crop": (0, 2, 16, 14)}, False),
            ((100, 5), {"fit": "pad"}, True),
            ((7, 7), {"fit": "pad"}, False),
        ],
    )
    def test_what_has_to_be_enlarged_too_much_is_refused(self, tmp_path, size, options, usable):
        told = rf"is {size[0]} x {size[1]} pixels, the generator"
        with nullcontext() if usable else pytest.raises(InputRefused, match=told):
            assert len(self.check(fill(tmp_path / "set", 3, size), **options)) == 3

    def test_damage_that_no_header_shows_costs_one_photograph(self, tmp_path, caplog):
        folder = fill(tmp_path / "set")
        for number in (5, 6):
            path = folder / f"{number:02d}.png"
            Image.fromarray(NOISE).save(path)
            path.write_bytes(path.read_bytes()[:300])
        photographs = self.check(folder)
        assert len(photographs) == 40
        assert [photographs.read(5).mean() for _ in range(2)] == [7, 7]
        assert caplog.text.count("05.png: is damaged") == 1
        (folder / "10.png").write_bytes(b"gone")
        with pytest.raises(InputRefused, match=r"10.png: is not a readable image"):
            photographs.read(10)

    @pytest.mark.parametrize(
        ("count", "words"), [(16, None), (1, "1 photograph,"), (15, "15 photographs,")]
    )
    def test_fewer_than_a_batch(self, tmp_path, caplog, count, words):
        photographs = self.check(fill(tmp_path / "set", count), batch=16)
        assert photographs.read(count - 1).mean() == count - 1
        said = f": {words} fewer than a batch of 16: a discriminator soon knows them by heart; "
        assert [said in text for text in caplog.messages] == ([True] if words else [])

    @pytest.mark.parametrize(
        ("crop", "fit", "words"),
        [
            (None, "crop", "the middle of 40 of 41 photographs is cut to 1:1 (44 % on average"),
            ((0, 2, 16, 14), "crop", "41 of 41 photographs is cut to 4:3 (25 % on average"),
            (None, "pad", "40 of 41 photographs get black bars (44 % on average, 44 % at most"),
        ],
    )
    def test_it_says_how_many_are_cut_and_by_how_much(self, tmp_path, caplog, crop, fit, words):
        folder = fill(tmp_path / "set", size=(32, 18))
        Image.new("RGB", (20, 20)).save(folder / "square.png")
        self.check(folder, crop=crop, fit=fit)
        assert words in caplog.text

    def test_upright_size_counts(self, tmp_path, caplog):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        Image.new("RGB", (16, 12)).save(tmp_path / "a.jpg", exif=exif)
        store = open_store(str(tmp_path))
        assert store.size(0) == (12, 16)
        assert store.read(0).shape == (16, 12, 3)
