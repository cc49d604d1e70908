import numpy as np
import torch
import torch.nn.functional as F

from l4f_datagen.benchmark.baselines.editing_in_style import (
    cluster_masks,
    feature_resolution,
    fit_clusters,
    spherical_kmeans,
)
from l4f_datagen.models.generator import Generator, GeneratorSpec, draw_z


def test_features_come_from_the_nearest_resolution(make_generator):
    assert feature_resolution(make_generator(16)) == 16
    widths = dict.fromkeys((4, 8, 16, 32, 64, 128), 2)
    assert feature_resolution(Generator(GeneratorSpec(128, widths, z_dim=2, w_dim=2))) == 64


def test_kmeans_finds_separate_directions():
    stream = np.random.RandomState(0)
    axes = torch.eye(3)
    points = F.normalize(axes.repeat_interleave(50, 0) + 0.05 * torch.randn(150, 3), dim=1)
    centres = spherical_kmeans(points, 3, stream)
    assert sorted((centres @ axes).argmax(1).tolist()) == [0, 1, 2]
    assert torch.allclose(centres.norm(dim=1), torch.ones(3))
    assert ((points @ centres.T).amax(1) > 0.9).all()


def test_masks_are_a_function_of_the_seed(make_generator):
    generator = make_generator(16)

    def batches(first):
        z = torch.from_numpy(draw_z(range(first, first + 4), generator.spec.z_dim))
        with torch.inference_mode():
            return [generator(z)]

    tested = batches(9)[0]
    masks = [cluster_masks(fit_clusters(generator, batches(0), seed), tested) for seed in (3, 3)]
    assert masks[0].shape == (4, 16, 16)
    assert masks[0].dtype == bool
    np.testing.assert_array_equal(*masks)
