import numpy as np
import torch
from PIL import Image

from l4f_datagen.io.figures import GAP_PX
from l4f_datagen.training.previews import PREVIEW_BATCH, Previews


def tile(sheet, row, column):
    step = 128 + GAP_PX
    top, left = GAP_PX + row * step, GAP_PX + column * step
    return sheet[top : top + 128 : 8, left : left + 128 : 8].astype(int)


def test_a_sheet_of_every_part(make_generator, make_alpha, make_part, tmp_path):
    generator = make_generator()
    for side in generator.spec.resolutions:  # paler, so that levels are not clamped
        torgb = generator.synthesis.get_submodule(f"b{side}").torgb
        torgb.weight *= 0.2
        torgb.bias *= 0.2
    previews = Previews(make_part(batch=2), generator, tmp_path)
    network = make_alpha(generator)
    previews.write(network, 50)
    assert [path.name for path in tmp_path.iterdir()] == ["preview-000050.png"]
    with Image.open(tmp_path / "preview-000050.png") as image:
        sheet = np.asarray(image)
    step = 128 + GAP_PX
    assert sheet.shape == (5 * step + GAP_PX, PREVIEW_BATCH * step + GAP_PX, 3)
    alpha = network(previews.pictures.features)
    for column in (0, PREVIEW_BATCH - 1):
        foreground, matte, background, mixed, cut = (tile(sheet, row, column) for row in range(5))
        share = alpha[column, 0, :, :, None].numpy()
        assert np.abs(matte - 255 * share).max() <= 1
        inside = [(image > 0) & (image < 255) for image in (foreground, background, mixed)]
        whole = np.logical_and.reduce(inside)  # clamped levels no longer add up
        assert whole.mean() > 0.2
        off = np.abs(mixed - share * foreground - (1 - share) * background)
        assert off[whole].max() <= 2
        assert np.abs(cut - share * foreground).max() > 20


def test_every_snapshot_shows_the_same_pictures(make_generator, make_alpha, make_part, tmp_path):
    generator = make_generator()
    torch.manual_seed(0)
    first = Previews(make_part(seed=1), generator, tmp_path)
    torch.manual_seed(1)
    second = Previews(make_part(seed=2), generator, tmp_path)
    first.write(make_alpha(generator), 1)
    second.write(make_alpha(generator), 2)
    one, two = ((tmp_path / f"preview-00000{k}.png").read_bytes() for k in (1, 2))
    assert one == two
