"""Samples become bytes once, block by block, in threads; their objects are measured."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pycocotools.mask as coco_mask
import pytest
from PIL import Image
from scipy import ndimage

from l4f_datagen.dataset.formats.backgrounds import foreground_rgb
from l4f_datagen.dataset.formats.encoding import (
    BLOCKS_AHEAD,
    Encoder,
    encode_blocks,
    find_instances,
)
from l4f_datagen.recipe import OutputPart

PLAIN = Encoder(OutputPart(formats=("png",)))


def decode(picture):
    return Image.open(io.BytesIO(picture))


def encode(sample, **output):
    [(_, encoded)] = Encoder(OutputPart(**output)).encode([sample])
    return encoded


def encode_all(blocks, encoder=PLAIN, workers=1):
    with ThreadPoolExecutor(workers) as pool:
        return list(encode_blocks(blocks, pool, encoder))


def test_sixteen_bit_alpha(discs):
    sample = discs.make_disc(2)
    alpha = decode(encode(sample, alpha_bits=16).alpha)
    assert alpha.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(alpha), np.rint(sample.alpha * 65535))


@pytest.mark.parametrize(
    ("image_format", "kind", "worst"),
    [("png", "PNG", 0), ("webp", "WEBP", 0), ("jpeg", "JPEG", 90)],
)
def test_image_formats(discs, image_format, kind, worst):
    sample = replace(discs.make_disc(3, size=32), reason=None)
    encoded = encode(sample, image_format=image_format, cutouts=True)
    image = decode(encoded.image)
    assert (image.format, image.mode) == (kind, "RGB")
    if kind == "JPEG":  # 4:4:4: no channel is halved
        assert {part[1:3] for part in image.layer} == {(1, 1)}
    assert np.abs(np.int16(image) - sample.image).max() <= worst  # noise: the worst case of JPEG
    assert decode(encoded.mask).format == decode(encoded.alpha).format == "PNG"
    cutout = decode(encoded.cutout)
    assert cutout.format == ("WEBP" if image_format == "webp" else "PNG")
    colours = foreground_rgb(sample.image, sample.alpha)
    np.testing.assert_array_equal(np.asarray(cutout)[..., :3], colours)
    np.testing.assert_array_equal(np.asarray(cutout)[..., 3], np.rint(sample.alpha * 255))


def test_objects_are_found_for_the_formats_that_list_them(discs):
    assert encode(discs.make_disc(0), formats=("png", "hf")).instances == ()
    assert len(encode(discs.make_disc(0), formats=("yolo",)).instances) == 1


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
        (lambda s: {"background": None}, r"expected background uint8 \(16, 16, 3\), got none"),
    ],
)
def test_wrong_arrays_are_refused_in_threads_too(discs, change, match):
    sample = replace(discs.make_disc(0), background=discs.make_disc(1).image)
    encoder = Encoder(OutputPart(formats=("png",), composites="generated"))
    broken = replace(sample, **change(sample))
    with pytest.raises(ValueError, match=f"psi1000-seed0000000: .*{match}"):
        encode_all([[sample], [broken]], encoder)


@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_keep_their_order_and_rejected_samples_have_no_files(discs, workers):
    blocks = [[discs.make_disc(seed) for seed in range(at, at + 20)] for at in (0, 20, 40)]
    found = encode_all(blocks, workers=workers)
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
        next(encode_blocks(blocks(), pool, PLAIN))
    assert len(pulled) == BLOCKS_AHEAD + 1


@pytest.mark.parametrize(("side", "together"), [(8, 5), (64, 5), (128, 4), (256, 1), (300, 1)])
def test_large_pictures_are_handed_to_a_thread_one_by_one(discs, side, together):
    counts = []

    class Counted:
        def encode(self, samples):
            counts.append(len(samples))
            return [(sample, None) for sample in samples]

    block = [discs.make_disc(seed, size=side) for seed in range(5)]
    (found,) = encode_all([block], Counted())
    assert [sample for sample, _ in found] == block
    assert max(counts) == together


COMPONENTS = OutputPart(coco_segmentation="polygon", instances="components")


def blobs(number, shape=(23, 31)):
    rng = np.random.RandomState(0)
    return [ndimage.gaussian_filter(rng.randn(*shape), 1.5) > 0.1 for _ in range(number)]


def decoded(rle):
    return coco_mask.decode(rle).astype(bool)


def test_an_empty_mask_has_none_and_components_share_out_the_others():
    [mask] = blobs(1)
    empty = np.zeros_like(mask)
    before, found, after = find_instances([empty, mask, empty], COMPONENTS)
    assert before == after == ()
    assert find_instances([empty], OutputPart()) == [()]
    assert find_instances([], OutputPart()) == []
    assert len(found) == ndimage.label(mask, np.ones((3, 3)))[1] > 3
    assert sum(instance.area_px for instance in found) == mask.sum()
    assert (sum(decoded(instance.rle).astype(int) for instance in found) == mask).all()
    assert all(len(instance.outlines) == 1 for instance in found)


def test_holes_are_counted_and_more_objects_than_a_byte_are_told_apart():
    ring = np.ones((9, 9), np.bool_)
    ring[3:5, 3:5] = ring[6, 6] = False
    [[instance]] = find_instances([ring], OutputPart(coco_segmentation="polygon"))
    assert (len(instance.outlines), instance.num_holes) == (1, 2)
    dots = np.zeros((64, 64), np.bool_)
    dots[::2, ::2] = True
    [found] = find_instances([dots], COMPONENTS)
    assert [instance.area_px for instance in found] == [1] * 32 * 32
    assert found[33].bbox_xywh == (2, 2, 1, 1)


@pytest.mark.parametrize("instances", ["image", "components"])
def test_outlines_rasterise_exactly(instances):
    for mask in blobs(4):
        [found] = find_instances([mask], COMPONENTS.model_copy(update={"instances": instances}))
        drawn = np.zeros_like(mask)
        for instance in found:
            polygons = [ring.points_xy.ravel().astype(float).tolist() for ring in instance.outlines]
            drawn |= decoded(coco_mask.merge(coco_mask.frPyObjects(polygons, *mask.shape)))
        np.testing.assert_array_equal(drawn, ndimage.binary_fill_holes(mask))
