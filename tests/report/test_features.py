import numpy as np
import pytest
import torch
from PIL import Image

from l4f_datagen.io.figures import GAP_PX
from l4f_datagen.models.generator import draw_z
from l4f_datagen.report.features import feature_sheet, principal_colours, trgb_sheet

STEP = 128 + GAP_PX
COLUMNS = 4


def tile(sheet, row, column, rows=2):
    left = sheet.width - COLUMNS * STEP + column * STEP  # words stand above and to the left
    top = sheet.height - rows * STEP + row * STEP
    return np.asarray(sheet.crop((left, top, left + 128, top + 128)))


@torch.inference_mode()
def synthesis(generator, seed, psi):
    return generator(torch.from_numpy(draw_z([seed], generator.spec.z_dim)), psi)


class TestTrgb:
    def test_every_map_is_stretched_as_the_paper_says(self, make_generator):
        generator = make_generator(16)
        sheet = trgb_sheet(generator, [3, 7], 0.7)
        assert sheet.width > COLUMNS * STEP + GAP_PX
        for row, seed in enumerate((3, 7)):
            maps = synthesis(generator, seed, 0.7).rgb_maps
            for column, resolution in enumerate((4, 8, 16), 1):
                x = maps[resolution][0].numpy()
                wanted = np.rint((x - x.min()) / (x.max() - x.min()) * 255).transpose(1, 2, 0)
                large = wanted.repeat(128 // resolution, axis=0).repeat(128 // resolution, axis=1)
                assert np.abs(tile(sheet, row, column).astype(int) - large).max() <= 1

    def test_the_first_column_is_the_image_and_psi_counts(self, make_generator):
        generator = make_generator(16)
        image = synthesis(generator, 3, 1.0).image[0].clamp(-1, 1).permute(1, 2, 0).numpy()
        shown = tile(trgb_sheet(generator, [3], 1.0), 0, 0, rows=1)[::8, ::8]
        assert np.abs(shown.astype(int) - (image + 1) * 127.5).max() <= 0.51
        one, again, other = (trgb_sheet(generator, [3], psi).tobytes() for psi in (1.0, 1.0, 0.2))
        assert one == again != other


class TestPrincipalColours:
    def test_are_the_components_an_svd_gives(self):
        features = torch.from_numpy(np.random.RandomState(0).randn(2, 6, 5, 4)).float()
        colours = principal_colours(features)
        pixels = features.permute(0, 2, 3, 1).reshape(-1, 6).double().numpy()
        pixels = pixels - pixels.mean(axis=0)
        _, _, vectors = np.linalg.svd(pixels, full_matrices=False)
        for channel in range(3):
            vector = vectors[channel]
            projected = pixels @ (vector * np.sign(vector[np.abs(vector).argmax()]))
            share = (projected - projected.min()) / np.ptp(projected)
            assert np.abs(colours[..., channel].reshape(-1) - share * 255).max() <= 0.51

    def test_constant_features_and_those_of_missing_channels_are_black(self):
        colours = principal_colours(torch.arange(8.0).reshape(1, 2, 2, 2))
        assert (colours[..., 0].max(), colours[..., 2].max()) == (255, 0)
        assert principal_colours(torch.ones(1, 4, 2, 2)).max() == 0


def test_features_share_their_colours_between_seeds(make_generator):
    sheet = feature_sheet(make_generator(16), [3, 7], 0.7)
    for column in (1, 2, 3):
        both = np.concatenate([tile(sheet, row, column).reshape(-1, 3) for row in (0, 1)])
        assert both.min(axis=0).tolist() == [0, 0, 0]
        assert both.max(axis=0).tolist() == [255, 255, 255]


class TestCommands:
    @pytest.mark.parametrize("what", ["trgb", "features"])
    def test_write_a_png_of_any_generator(self, cli_run, generator_file, tmp_path, what):
        out = tmp_path / "sheet.png"
        asked = ("inspect", what, "--generator", generator_file, "--out", out)
        result = cli_run(*asked, "--seeds", "0-1,9", "--psi", "0.5")
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{out}\n"
        with Image.open(out) as image:
            assert image.width > COLUMNS * STEP + GAP_PX
            assert image.height > 3 * STEP + GAP_PX

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            (["--seeds", "0-99"], "names 100; name 64 at most"),
            (["--psi", "nan"], "expected a number from 0 to 2, got nan"),
        ],
    )
    def test_impossible_asks(self, cli_run, generator_file, tmp_path, flags, words):
        asked = ("inspect", "trgb", "--generator", generator_file, "--out", tmp_path / "x.png")
        result = cli_run(*asked, *flags)
        assert result.exit_code == 2
        assert words in result.output
        assert not (tmp_path / "x.png").exists()

    def test_a_file_that_cannot_be_written(self, cli_run, generator_file, tmp_path):
        for out in (generator_file / "x.png", tmp_path / f"{'x' * 300}.png", tmp_path):
            result = cli_run("inspect", "trgb", "--generator", generator_file, "--out", out)
            assert result.exit_code == 2
            problem = "is a folder" if out == tmp_path else "cannot be written"
            assert f"{out}: {problem}" in result.output
        assert list(tmp_path.iterdir()) == [generator_file]
