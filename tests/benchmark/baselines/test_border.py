import numpy as np

from l4f_datagen.benchmark.baselines.border import background_groups, border


def test_the_border_is_a_frame():
    edge = border((6, 8))
    assert edge.sum() == 6 * 8 - 2 * 4
    assert not edge[2:-2, 2:-2].any()


def test_groups_at_the_border_are_background():
    labels = np.zeros((2, 12, 12), int)
    labels[:, 4:8, 4:8] = 1  # never at the border
    labels[:, :, :3] = 2  # a strip along one side
    assert background_groups(labels, 4).tolist() == [True, False, True, False]
