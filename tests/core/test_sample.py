import dataclasses

import numpy as np
import pytest
import torch

from l4f_datagen.core.sample import alpha_to_uint8, image_to_uint8, sample_key


def test_every_byte_comes_back_half_goes_to_even_and_the_rest_is_clamped():
    levels = np.arange(256, dtype=np.uint8)
    floats = levels.astype(np.float32) / 127.5 - 1
    assert np.array_equal(image_to_uint8(floats), levels)
    assert np.array_equal(image_to_uint8(torch.from_numpy(floats)).numpy(), levels)
    extremes = np.array([-7, -1, 0, 1, 7], np.float32)
    assert image_to_uint8(extremes).tolist() == [0, 0, 128, 255, 255]


def test_numpy_and_torch_agree_with_python():
    floats = np.random.RandomState(0).uniform(-1.5, 1.5, (3, 5, 7)).astype(np.float32)
    as_torch, as_numpy = image_to_uint8(torch.from_numpy(floats)), image_to_uint8(floats)
    # The same single-precision steps, one number at a time; Python's round is half to even.
    shifted = [np.float32(min(max(x, -1), 1)) + np.float32(1) for x in floats.ravel()]
    assert (as_torch.dtype, as_numpy.dtype) == (torch.uint8, np.uint8)
    assert as_numpy.ravel().tolist() == [round(float(x * np.float32(127.5))) for x in shifted]
    assert np.array_equal(as_torch.numpy(), as_numpy)


def test_alpha_levels():
    levels = alpha_to_uint8(np.array([0, 0.25, 0.5, 0.9, 1], np.float32))
    assert levels.dtype == np.uint8
    assert levels.tolist() == [0, 64, 128, 230, 255]  # 63.75, 127.5 to even, 229.5 less a bit up
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(alpha_to_uint8(every.astype(np.float32) / 255), every)


def test_keys():
    keys = {
        (0.7, 123): "psi0700-seed0000123",
        (0, 0): "psi0000-seed0000000",
        (1.0, 9_999_999): "psi1000-seed9999999",
        (2.0, 2**32 - 1): "psi2000-seed4294967295",
        (0.0014, 1): "psi0001-seed0000001",
    }
    assert {drawn: sample_key(*drawn) for drawn in keys} == keys


def test_a_sample_is_frozen_and_knows_its_status(make_sample):
    sample = make_sample()
    assert sample.status == "accepted"
    assert dataclasses.replace(sample, reason="coverage_low").status == "rejected"
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.reason = "no"
