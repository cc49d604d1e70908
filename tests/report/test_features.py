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


def test_every_rgb_map_is_stretched_as_the_paper_says(make_generator):
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


def test_the_first_column_is_the_image_and_psi_counts(make_generator):
    generator = make_generator(16)
    image = synthesis(generator, 3, 1.0).image[0].clamp(-1, 1).permute(1, 2, 0).numpy()
    shown = tile(trgb_sheet(generator, [3], 1.0), 0, 0, rows=1)[::8, ::8]
    assert np.abs(shown.astype(int) - (image + 1) * 127.5).max() <= 0.51
    one, again, other = (trgb_sheet(generator, [3], psi).tobytes() for psi in (1.0, 1.0, 0.2))
    assert one == again != other


def test_principal_colours_are_the_components_an_svd_gives():
    features = torch.from_numpy(np.random.RandomState(0).randn(2, 6, 5, 4)).float()
    colours = principal_colours(features)
    pixels = features.permute(0, 2, 3, 1).reshape(-1, 6).double().numpy()
    pixels = pixels - pixels.mean(axis=0)
    _, _, vectors = np.linalg.svd(pixels, full_matrices=False)
    for channel, vector in enumerate(vectors[:3]):
        projected = pixels @ (vector * np.sign(vector[np.abs(vector).argmax()]))
        share = (projected - projected.min()) / np.ptp(projected)
        assert np.abs(colours[..., channel].reshape(-1) - share * 255).max() <= 0.51


def test_constant_features_and_those_of_missing_channels_are_black():
    colours = principal_colours(torch.arange(8.0).reshape(1, 2, 2, 2))
    assert (colours[..., 0].max(), colours[..., 2].max()) == (255, 0)
    assert principal_colours(torch.ones(1, 4, 2, 2)).max() == 0


def test_features_share_their_colours_between_seeds(make_generator):
    sheet = feature_sheet(make_generator(16), [3, 7], 0.7)
    for column in (1, 2, 3):
        both = np.concatenate([tile(sheet, row, column).reshape(-1, 3) for row in (0, 1)])
        assert both.min(axis=0).tolist() == [0, 0, 0]
        assert both.max(axis=0).tolist() == [255, 255, 255]


@pytest.fixture
def inspected(cli_run, generator_file):
    return lambda what, out, *flags: cli_run(
        "inspect", what, "--generator", generator_file, "--out", out, *flags
    )


@pytest.mark.parametrize("what", ["trgb", "features"])
def test_commands_write_a_png_of_any_generator(inspected, tmp_path, what):
    out = tmp_path / "sheet.png"
    result = inspected(what, out, "--seeds", "0-1,9", "--psi", "0.5")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    with Image.open(out) as image:
        assert image.width > COLUMNS * STEP + GAP_PX
        assert image.height > 3 * STEP + GAP_PX


def test_impossible_asks_and_places_are_refused(inspected, generator_file, tmp_path):
    before = list(tmp_path.iterdir())
    for out, flags, words in (
        ("x.png", ["--seeds", "0-99"], "names 100; name 64 at most"),
        ("x.png", ["--psi", "nan"], "expected a number from 0 to 2, got nan"),
        (f"{generator_file.name}/x.png", [], "x.png: cannot be written"),
        (f"{'x' * 300}.png", [], "x.png: cannot be written"),
        ("", [], f"{tmp_path}: is a folder"),
    ):
        result = inspected("trgb", tmp_path / out, *flags)
        assert result.exit_code == 2
        assert words in result.output
    assert list(tmp_path.iterdir()) == before
