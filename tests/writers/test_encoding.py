import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from l4f_datagen.writers.encoding import BLOCKS_AHEAD, encode, encode_blocks


def decode(png):
    return Image.open(io.BytesIO(png))


def test_pngs_give_back_the_arrays(discs):
    sample = discs.make_disc(1)
    encoded = encode(sample, alpha_bits=8)
    image, mask, alpha = map(decode, (encoded.image, encoded.mask, encoded.alpha))
    assert (image.mode, mask.mode, alpha.mode) == ("RGB", "L", "L")
    np.testing.assert_array_equal(image, sample.image)
    np.testing.assert_array_equal(np.asarray(mask) == 255, sample.mask)
    assert set(np.unique(mask)) == {0, 255}
    np.testing.assert_array_equal(alpha, np.rint(sample.alpha * 255))
    assert encoded.coverage == pytest.approx(sample.mask.mean())


def test_sixteen_bit_alpha(discs):
    sample = discs.make_disc(2)
    alpha = decode(encode(sample, alpha_bits=16).alpha)
    assert alpha.mode == "I;16"
    assert np.asarray(alpha).max() == 65535
    np.testing.assert_allclose(np.asarray(alpha) / 65535, sample.alpha, atol=0.5 / 65535)


def test_same_sample_same_bytes(discs):
    first, again = (encode(discs.make_disc(7), alpha_bits=8) for _ in range(2))
    assert (first.image, first.mask, first.alpha) == (again.image, again.mask, again.alpha)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: {"image": s.image.astype(np.float32)}, "expected image uint8"),
        (lambda s: {"image": s.image[:, :, 0]}, r"expected image uint8 \(16, 16, 3\)"),
        (lambda s: {"alpha": s.alpha.astype(np.float64)}, "expected alpha float32"),
        (lambda s: {"alpha": s.alpha[None]}, r"expected alpha float32 \(16, 16\)"),
        (lambda s: {"mask": s.mask.astype(np.uint8)}, "expected mask bool"),
        (lambda s: {"mask": s.mask[1:]}, r"expected mask bool \(16, 16\), got bool \(15, 16\)"),
        (lambda s: {"alpha": s.alpha * 2}, r"expected alpha in \[0, 1\], got 0.0 to 2.0"),
        (lambda s: {"alpha": s.alpha - 1}, r"expected alpha in \[0, 1\], got -1.0 to 0.0"),
        (lambda s: {"alpha": s.alpha * np.float32("nan")}, r"expected alpha in \[0, 1\], got nan"),
        (lambda s: {"image": s.image[:0], "alpha": s.alpha[:0], "mask": s.mask[:0]}, "got uint8"),
    ],
)
def test_wrong_arrays_are_refused(discs, change, match):
    sample = discs.make_disc(0)
    with pytest.raises(ValueError, match=f"psi1000-seed0000000: .*{match}"):
        encode(replace(sample, **change(sample)), alpha_bits=8)


@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_keep_their_order_and_rejected_samples_have_no_files(discs, workers):
    blocks = [[discs.make_disc(seed) for seed in range(at, at + 20)] for at in (0, 20, 40)]
    with ThreadPoolExecutor(workers) as pool:
        found = list(encode_blocks(blocks, pool, alpha_bits=8))
    assert [[sample for sample, _ in block] for block in found] == blocks
    for sample, encoded in (pair for block in found for pair in block):
        assert (encoded is None) == (sample.reason is not None)
        assert encoded is None or encoded.sample is sample


def test_blocks_ahead_are_bounded_while_encoding_stalls(discs):
    gate, pulled = threading.Event(), []

    def blocks():
        for number in range(10):
            pulled.append(number)
            yield [discs.make_disc(number)]

    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate.wait)
        threading.Timer(0.3, gate.set).start()
        next(encode_blocks(blocks(), pool, alpha_bits=8))
    assert len(pulled) == BLOCKS_AHEAD + 1


def test_an_encoder_that_fails_is_heard(discs):
    broken = replace(discs.make_disc(1), mask=np.zeros((3, 3), np.bool_))
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="expected mask bool"):
        list(encode_blocks([[discs.make_disc(0)], [broken]], pool, alpha_bits=8))
