import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from l4f_datagen.core.errors import CheckpointRefused
from l4f_datagen.segmenter.model import open_segmenter, pad_to, resize, save_segmenter, scaled_to


@pytest.fixture
def stored(make_segmenter, tmp_path):
    save_segmenter(tmp_path / "s.safetensors", make_segmenter())
    return tmp_path / "s.safetensors"


def test_what_is_saved_is_opened_again(make_segmenter, stored, tmp_path):
    segmenter, opened = make_segmenter(), open_segmenter(stored)
    assert (opened.size, opened.threshold, opened.category) == (24, 0.5, "disc")
    assert opened.licence == segmenter.licence
    assert opened.training == {"plan": {"seed": 0}}
    image = torch.randn(1, 3, 8, 12)
    torch.testing.assert_close(opened.network(image), segmenter.network(image))
    save_segmenter(tmp_path / "again.safetensors", opened)
    assert (tmp_path / "again.safetensors").read_bytes() == stored.read_bytes()
    # By the library of safetensors too.
    tensors, state = load_file(stored), segmenter.network.state_dict()
    assert tensors.keys() == {name for name in state if "num_batches" not in name}
    assert all(torch.equal(tensors[name], state[name]) for name in tensors)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 100_000}, "width must be 1 to 128"),
        ({"depth": True}, "depth must be 1 to 6"),
        ({"size": 0}, "size must be 1 to 4096"),
        ({"threshold": 1.0}, r"threshold must be in \[0, 1\)"),
        ({"category": "a\nb"}, "category must be a name"),
        ({"width": 4}, "does not hold the network it names"),
        (lambda tensors: tensors["out.bias"].fill_(float("inf")), "out.bias that are not finite"),
        (lambda tensors: tensors.pop("out.bias"), "does not hold the network it names .see out.b"),
    ],
)
def test_files_that_lie_lack_a_tensor_or_are_not_finite_are_refused(stored, change, words):
    with safe_open(stored, "pt") as file:
        metadata, tensors = dict(file.metadata()), load_file(stored)
    if callable(change):
        change(tensors)
    else:
        metadata["spec"] = json.dumps(json.loads(metadata["spec"]) | change)
    save_file(tensors, stored, metadata)
    with pytest.raises(CheckpointRefused, match=words):
        open_segmenter(stored)


def test_files_of_other_kinds_are_refused(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointRefused, match="is not a segmenter; give a file of"):
        open_segmenter(tmp_path / "a.pt")
    save_file({"a": torch.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointRefused, match="safetensors file of another program"):
        open_segmenter(tmp_path / "b.safetensors")
    with pytest.raises(CheckpointRefused, match="cannot be read"):
        open_segmenter(tmp_path / "absent")


@pytest.mark.parametrize("size_hw", [(24, 24), (7, 31), (50, 40), (1, 1), (1, 900), (300, 2)])
def test_an_image_of_any_size_gets_an_alpha_of_its_size(make_segmenter, size_hw):
    image = np.random.RandomState(0).randint(0, 256, (*size_hw, 3)).astype(np.uint8)
    alpha = make_segmenter().alpha(image)
    assert alpha.shape == size_hw
    assert alpha.dtype == np.float32
    assert 0 <= alpha.min() <= alpha.max() <= 1


def test_an_image_of_the_trained_size_is_not_resampled(make_segmenter):
    segmenter = make_segmenter(size=16)
    image = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    with torch.inference_mode():
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        expected = torch.sigmoid(segmenter.network(tensor))[0, 0].numpy()
    np.testing.assert_allclose(segmenter.alpha(image), expected, atol=1e-6)


def test_a_larger_photograph_keeps_its_mask_in_place(brightness_segmenter):
    image = np.zeros((64, 128, 3), np.uint8)
    image[16:48, 32:96] = 255
    found = brightness_segmenter.alpha(image) > 0.5
    both = found & (image[:, :, 0] > 0)
    assert both.sum() / (found | (image[:, :, 0] > 0)).sum() > 0.8


def test_sizes_keep_their_aspect_and_padding_draws_out_the_edge():
    assert scaled_to((300, 400), 64) == (48, 64)
    assert scaled_to((1, 65536), 64) == (1, 64)
    assert scaled_to((64, 64), 64) == (64, 64)
    padded = pad_to(np.arange(6, dtype=np.uint8).reshape(2, 3), 4)
    assert padded.tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    image = np.zeros((8, 8, 3), np.uint8)
    assert resize(image, (8, 8)) is image
    assert pad_to(image, 8).shape == (8, 8, 3)
