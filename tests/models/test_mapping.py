import numpy as np
import pytest
import torch

from l4f_datagen.models.mapping import draw_z, estimate_w_avg


def naive_mapping(generator, z):
    """The mapping once more, in double precision and one sample at a time."""
    spec = generator.spec
    tensors = {k: v.double().numpy() for k, v in generator.mapping.state_dict().items()}
    x = z.astype(np.float64)
    x = x / np.sqrt((x**2).mean() + 1e-8)
    for layer in range(spec.mapping_layers):
        weight = tensors[f"fc.{layer}.weight"] * 0.01 / np.sqrt(len(x))
        x = weight @ x + 0.01 * tensors[f"fc.{layer}.bias"]
        x = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
    return x


@pytest.mark.parametrize("mapping_layers", [1, 2, 8])
def test_mapping_agrees_with_the_formulas(make_generator, mapping_layers):
    generator = make_generator(mapping_layers=mapping_layers)
    z = draw_z([4, 5, 6], 8)
    expected = [naive_mapping(generator, row) for row in z]
    assert np.std(expected, axis=0).min() > 1e-3
    w = generator.mapping(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(w, expected, rtol=1e-4, atol=1e-5)


def test_mapping_sees_the_direction_of_z_alone(make_generator):
    z = torch.from_numpy(draw_z([1, 2], 8))
    mapping = make_generator().mapping
    assert torch.allclose(mapping(z), mapping(3 * z), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(mapping(z), mapping(-z), atol=1e-3)


class TestSeeds:
    def test_the_contract_with_nvidias_tools(self):
        z = draw_z([0, 42], 4)
        assert z.dtype == np.float32
        # RandomState(0) and RandomState(42), the standard normals NumPy has given since 1.0.
        np.testing.assert_allclose(
            z,
            [
                [1.76405235, 0.40015721, 0.97873798, 2.2408932],
                [0.49671415, -0.1382643, 0.64768854, 1.52302986],
            ],
            rtol=1e-6,
        )

    def test_a_seed_is_a_seed_in_any_company(self):
        assert np.array_equal(draw_z([5, 6, 2**32 - 1], 8)[2:], draw_z([2**32 - 1], 8))
        assert np.array_equal(draw_z(range(3), 8)[1], np.float32(np.random.RandomState(1).randn(8)))


def test_w_avg_is_the_mean_of_ten_thousand_fixed_draws(make_generator):
    generator = make_generator()
    z = np.random.RandomState(1000).randn(10_000, 8).astype(np.float32)
    expected = np.mean([naive_mapping(generator, row) for row in z], axis=0)
    average = estimate_w_avg(generator.mapping, 8)
    np.testing.assert_allclose(average.numpy(), expected, atol=1e-5)
    assert torch.equal(estimate_w_avg(generator.mapping, 8), average)
