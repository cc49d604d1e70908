import numpy as np

from l4f_datagen.benchmark.figure import DIMMED, GAP_PX, LABEL_PX, TILE_PX, figure
from l4f_datagen.io.figures import OUTLINE_RGB


def test_a_mask_is_lit_outlined_and_the_rest_dimmed():
    image = np.full((16, 16, 3), 200, np.uint8)
    mask = np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    drawn = np.asarray(figure([image, image], [("one", [mask, ~mask])]))
    step, factor = TILE_PX + GAP_PX, TILE_PX // 16
    assert drawn.shape == (2 * step + GAP_PX, LABEL_PX + 2 * step, 3)

    def at(row, column, y, x):
        top, left = GAP_PX + row * step, LABEL_PX + column * step
        return tuple(drawn[top + y * factor, left + x * factor])

    bare, dim = (200, 200, 200), (round(200 * DIMMED),) * 3
    assert at(0, 0, 1, 1) == at(0, 1, 8, 8) == bare
    assert at(1, 0, 8, 8) == at(1, 1, 1, 1) == bare
    assert at(1, 0, 1, 1) == at(1, 1, 8, 8) == dim
    assert at(1, 0, 4, 8) == OUTLINE_RGB
    assert (drawn[:, :LABEL_PX] < 128).any()  # the names are written
