import numpy as np
import pytest
from PIL import Image

from l4f_datagen.io.figures import (
    GAP_PX,
    OUTLINE_RGB,
    contact_sheet,
    cut_out,
    explained,
    fit,
    grey,
    outline,
    save_png,
    sheet,
)


def picture(height=8, width=8, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def drawn(image):
    return (image == OUTLINE_RGB).all(axis=2)


class TestOutline:
    def test_every_pixel_by_its_neighbours(self):
        rng = np.random.RandomState(1)
        image, mask = np.zeros((12, 10, 3), np.uint8), rng.rand(12, 10) < 0.7
        lines = drawn(outline(image, mask))
        for y, x in np.ndindex(12, 10):
            beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [mask[j, i] for j, i in beside if 0 <= j < 12 and 0 <= i < 10]
            assert lines[y, x] == (mask[y, x] and not all(inside))

    def test_only_the_line_is_drawn_and_on_a_copy(self):
        image, mask = picture(), np.ones((8, 8), bool)
        result = outline(image, mask)
        assert np.array_equal(image, picture())
        assert np.array_equal(result[~drawn(result)], image[~drawn(result)])


class TestCutOut:
    def test_white_shows_the_image_and_black_the_board(self):
        image = picture(32, 32)
        assert np.array_equal(cut_out(image, np.full((32, 32), 255, np.uint8)), image)
        board = cut_out(image, np.zeros((32, 32), np.uint8))
        assert set(np.unique(board)) == {205, 245}
        assert (board[:8, :8] == 245).all()
        assert (board[:8, 8:16] == 205).all()
        assert (board[8:16, 8:16] == 245).all()
        blend = cut_out(np.full_like(image, 100), np.full((32, 32), 51, np.uint8))  # a fifth
        assert (blend[:8, :8] == round(0.2 * 100 + 0.8 * 245)).all()


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        *((64, 64, (128, 128)), (50, 50, (100, 100)), (32, 64, (128, 64)), (128, 128, (128, 128))),
        *((129, 129, (128, 128)), (512, 384, (96, 128)), (4000, 1, (1, 128))),
    ],
)
def test_pictures_fit_a_tile_and_small_ones_keep_hard_pixels(height, width, size):
    image = picture(height, width)
    fitted = fit(image, 128)
    assert fitted.size == size
    factor = 128 // max(height, width)
    if factor:
        assert np.array_equal(fitted, image.repeat(factor, axis=0).repeat(factor, axis=1))


def test_every_tile_of_a_sheet_is_in_its_place_on_white():
    rows = [[picture(16, 16, seed) for seed in (0, 1, 2)], [picture(16, 16, 3)]]
    pixels = np.asarray(sheet(rows, tile_px=16))
    expected = np.full((2 * 20 + GAP_PX, 3 * 20 + GAP_PX, 3), 255)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            top, left = GAP_PX + 20 * y, GAP_PX + 20 * x
            expected[top : top + 16, left : left + 16] = tile
    assert np.array_equal(pixels, expected)


class TestContactSheet:
    def test_samples_in_threes_four_a_row(self):
        image, mask = picture(16, 16), np.zeros((16, 16), bool)
        mask[4:12, 4:12] = True
        alpha = (mask * 200).astype(np.uint8)
        step = 128 + GAP_PX
        assert contact_sheet([]).size == (GAP_PX, GAP_PX)
        for count, columns, rows in ((1, 3, 1), (4, 12, 1), (5, 12, 2), (9, 12, 3)):
            result = contact_sheet(iter([("seed 0", image, alpha, mask)] * count))
            assert result.width == columns * step + GAP_PX
            assert result.height > rows * (step + GAP_PX)
        pixels = np.asarray(contact_sheet([("seed 0", image, alpha, mask)]))
        pixels = pixels[-GAP_PX - 128 : -GAP_PX : 8]
        tiles = outline(image, mask), grey(alpha), cut_out(image, alpha)
        for start, tile in zip(range(GAP_PX, 3 * step, step), tiles, strict=True):
            assert np.array_equal(pixels[:, start : start + 128 : 8], tile)


class TestExplained:
    tiles = sheet([[picture(16, 16, seed) for seed in range(6)]] * 2, tile_px=64)

    @pytest.mark.parametrize("words", [{}, {"rows": ("a", "long name")}, {"columns": "abcdef"}])
    def test_the_tiles_stand_untouched_at_the_bottom_right(self, words):
        page = explained(self.tiles, "Title", "What good looks like. " * 9, **words)
        pixels = np.asarray(page)
        height, width = self.tiles.size[::-1]
        assert np.array_equal(pixels[-height:, -width:], np.asarray(self.tiles))
        above, beside = pixels[:-height], pixels[-height:, :-width]
        assert (above < 255).any()
        assert (beside < 255).any() == ("rows" in words)

    def test_letters_grow_with_the_picture(self):
        small, large = (
            explained(Image.new("RGB", (width, 8), "white"), "Title").height - 8
            for width in (600, 6000)
        )
        assert large > 3 * small

    def test_long_words_stay_inside(self):
        page = np.asarray(explained(self.tiles, "word " * 400))
        assert page.shape[0] > 2 * self.tiles.height
        assert (page[:, -2:] == 255).all()


def test_the_same_pixels_are_the_same_bytes_and_a_failed_write_keeps_them(tmp_path):
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        save_png(Image.fromarray(picture()), file)
    with pytest.raises(OSError, match="cannot write mode F as PNG"):
        save_png(Image.new("F", (4, 4)), files[0])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == files
    with Image.open(files[0]) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), picture())
