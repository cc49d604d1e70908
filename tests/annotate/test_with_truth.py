"""Annotated images choose a snapshot and fine-tune it; truth is what one network says."""

import json
from copy import deepcopy
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch

from l4f_datagen.annotate import with_truth
from l4f_datagen.annotate.examples import Annotated, Rerendered, score_networks
from l4f_datagen.annotate.keys import KeyFile, KeyRow
from l4f_datagen.annotate.with_truth import choose_snapshot, few_shot, fit
from l4f_datagen.annotations.truth import TruthItem, TruthMask, TruthSet
from l4f_datagen.checkpoints.native import save_alpha
from l4f_datagen.checkpoints.open import open_alpha
from l4f_datagen.core.errors import AnnotationRefused
from l4f_datagen.rendering.plan import Draw
from l4f_datagen.rendering.render import Renderer
from l4f_datagen.scoring import match_truth, score_match
from l4f_datagen.scoring.bootstrap import Difference, Interval

ROWS = [KeyRow(f"psi0700-seed{seed:07d}.png", 0.7, seed) for seed in range(8)]
OWN, BEST, LATE = (
    f"{name}.safetensors" for name in ("alpha", "snapshot-000002", "snapshot-000004")
)


def tilted(network, amount, seed=9):
    """A copy of a network, its weights moved at random."""
    moved, stream = deepcopy(network), np.random.RandomState(seed)
    for parameter in moved.parameters():
        noise = torch.from_numpy(stream.randn(*parameter.shape)).float()
        parameter.data += amount * parameter.detach().abs().mean() * noise
    return moved


def assert_same(state, other):
    torch.testing.assert_close(dict(state), dict(other), rtol=0, atol=0)


def item_of(name, mask, ignore=None):
    return TruthItem(name, None, lambda _: TruthMask(mask, ignore))


@pytest.fixture
def rendered(make_generator, make_alpha):
    generator = make_generator(32)
    network = make_alpha(generator)
    renderer = Renderer(generator, network, mask_threshold=0.5, crop=(0, 4, 32, 28))
    return Rerendered(renderer, KeyFile(ROWS), "net")


@pytest.fixture
def scene(rendered):
    """Eight images, whose truth is what the network ``true`` says."""
    working = rendered.renderer.alpha
    # The bias makes half of the pixels object: no test hangs on a constant mask.
    level = float(np.median([rendered.load(k).alpha for k in range(4)]))
    working.out.bias.data -= np.log(level / (1 - level))
    rendered._last = None
    items = [item_of(row.file, rendered.load(k).mask.copy()) for k, row in enumerate(ROWS)]
    rendered._last = None
    truth = TruthSet("somewhere/export.json", "test", items)
    return deepcopy(working), match_truth(truth, rendered)


def test_masks_alphas_and_images_are_those_of_the_renderer(rendered):
    assert rendered.names == [row.file for row in ROWS]
    together = rendered.renderer.render([Draw(1, 0.7, 0), Draw(2, 0.7, 1)])
    for place in (1, 0, 1):
        predicted, picture = rendered.load(place), rendered.image(place)
        assert predicted.mask.shape == (24, 32)
        assert predicted.alpha == pytest.approx(together[place].alpha, abs=1e-5)
        np.testing.assert_array_equal(predicted.mask, predicted.alpha > 0.5)
        assert np.abs(picture.astype(int) - together[place].image).max() <= 1
    assert "give --keys" in rendered.notes()[0]
    rendered.keys = KeyFile(ROWS, {"drawn_with": {}})
    assert rendered.notes() == []


def test_features_give_the_same_alpha_and_let_gradients_pass(rendered):
    alpha = rendered.renderer.alpha
    features = rendered.features(1)
    again = alpha(features)[0, 0, 4:28].detach().numpy()
    assert again == pytest.approx(rendered.load(1).alpha, abs=1e-6)
    alpha.requires_grad_(True)
    alpha(features).sum().backward()
    assert torch.isfinite(alpha.out.weight.grad).all()
    assert not alpha._forward_pre_hooks
    bare = Rerendered(Renderer(rendered.renderer.generator, None), KeyFile(ROWS), "x")
    with pytest.raises(ValueError, match="there is no alpha network"):
        bare.features(0)


def test_scores_are_those_of_the_usual_protocol(scene):
    true, matched = scene
    other = tilted(true, 0.5)
    matched.prediction.renderer.alpha.load_state_dict(other.state_dict())
    usual = score_match(matched)
    scores = score_networks(Annotated(matched), {"true": true, "other": other}, 0.5)
    assert [image.object_iou for image in scores["true"]] == [1.0] * 8
    for image, expected in zip(scores["other"], usual.images, strict=True):
        np.testing.assert_array_equal(image.counts, expected.counts)
        assert image.mae == pytest.approx(expected.mae, abs=1e-6)


def test_features_that_do_not_fit_are_rendered_again(scene):
    _, matched = scene
    few, kept = Annotated(matched, kept_bytes=0), Annotated(matched)
    assert few[3] is not few[3]
    assert kept[3] is kept[3]
    torch.testing.assert_close(few[3].features, kept[3].features)
    with pytest.raises(IndexError):
        kept[8]


def test_truth_of_another_size_few_images_and_predictions_from_files_are_refused(scene):
    true, matched = scene
    matched.truth.items[2] = item_of("x.png", np.ones((9, 7), bool))
    with pytest.raises(AnnotationRefused, match=r"x\.png: 7 x 9 pixels, its image 32 x 24"):
        Annotated(matched)[2]
    few = replace(matched, pairing=replace(matched.pairing, pairs=matched.pairing.pairs[:3]))
    with pytest.raises(AnnotationRefused, match="3 images to fine-tune on, at least 4"):
        few_shot(true, Annotated(few), threshold=0.5, steps=1)
    with pytest.raises(ValueError, match="only rendered images"):
        Annotated(replace(matched, prediction=None))


@pytest.mark.parametrize("draw", [False, True])
def test_the_best_snapshot_is_chosen_and_the_own_pick_wins_a_draw(scene, tmp_path, draw):
    true, matched = scene
    networks = {OWN: tilted(true, 0.6), BEST: tilted(true, 0.02), LATE: tilted(true, 0.6)}
    for name, network in ({OWN: true, BEST: true} if draw else networks).items():
        training = {"recipe": {"steps": 3}}
        save_alpha(tmp_path / name, network, generator_fingerprint="f", training=training)
    evidence = choose_snapshot(tmp_path, Annotated(matched), 0.5)
    if draw:
        assert evidence.best == OWN
        assert "chosen without labels, is the best" in evidence.to_text()
        return
    assert evidence.best == BEST
    gain = evidence.miou[BEST].value - evidence.miou[OWN].value
    assert evidence.gain.interval.value == pytest.approx(gain)
    assert "the gain is clear of the noise of these images" in evidence.to_text()
    assert f"{BEST} gains" in evidence.to_text()
    before = (tmp_path / OWN).read_bytes()
    chosen = open_alpha(with_truth.keep_choice(tmp_path, evidence, {}))
    assert (tmp_path / OWN).read_bytes() == before
    assert chosen.generator_fingerprint == "f"
    said = chosen.native.training
    expected = "snapshot chosen on 8 annotated images (export.json); trained without labels"
    assert (said["supervision"], said["unsupervised"], said["labels"]) == (expected, True, 8)
    assert said["recipe"] == {"steps": 3}
    assert json.loads((tmp_path / "evidence.json").read_text()) == evidence.to_dict()
    assert_same(chosen.state, open_alpha(tmp_path / BEST).state)


def test_a_gain_within_the_noise_is_said_to_be():
    unclear = Difference(Interval(0.004, -0.002, 0.011), 0.87, 10)
    mious = {OWN: Interval(0.9, 0.88, 0.92), "b": Interval(0.904, 0.88, 0.93)}
    text = with_truth.Evidence("export.json", 10, mious, "b", unclear).to_text()
    for words in (
        "b gains 0.0040 [-0.0020, 0.0110] mIoU over alpha.safetensors, chosen without labels",
        "scores higher in 87 % of the resamples",
        "all of the gain is within the noise of these images (95 % interval 0.0130 wide, 10 images",
    ):
        assert words in text


def test_few_shot_learns_from_the_images_and_holds_some_out(scene, caplog):
    true, matched = scene
    start = tilted(true, 0.6)
    before = deepcopy(start.state_dict())
    result = few_shot(start, Annotated(matched), threshold=0.5, steps=60, folds=4)
    assert result.gain.interval.value > 0.02
    assert result.gain.is_clear
    assert result.before.value < result.held_out.value <= result.seen.value + 0.02
    assert sorted(chain(*result.folds)) == [item.name for item in matched.truth]
    assert [len(part) for part in result.folds] == [2, 2, 2, 2]
    assert caplog.messages[-1] == "few-shot: fit to all images"
    assert "no longer unsupervised" in result.to_text()
    assert_same(start.state_dict(), before)
    generator = matched.prediction.renderer.generator
    assert all(not p.requires_grad and p.grad is None for p in generator.parameters())
    assert json.loads(json.dumps(result.to_dict()))["gain"]["is_clear"]


def test_a_held_out_image_has_no_say(scene):
    true, matched = scene
    start, places = tilted(true, 0.3), [1, 2, 3, 4]
    one = fit(start, Annotated(matched), places, steps=5)
    matched.truth.items[0] = item_of(matched.truth[0].name, np.ones((24, 32), bool))
    same = fit(start, Annotated(matched), places, steps=5)
    other = fit(start, Annotated(matched), [0, *places], steps=5)
    assert_same(one.state_dict(), same.state_dict())
    assert not torch.equal(one.out.weight, other.out.weight)


def test_the_loss_is_cross_entropy_plus_soft_iou_of_scored_pixels(scene):
    true, matched = scene
    mask = matched.truth[1].load().mask
    ignore = np.zeros_like(mask)
    ignore[:10] = True
    matched.truth.items[1] = item_of(matched.truth[1].name, mask, ignore)
    annotated, network = Annotated(matched), tilted(true, 0.4)
    alpha = network(annotated[1].features)[0, 0, 4:28].double().detach().numpy()[10:]
    target = mask[10:]
    entropy = -np.where(target, np.log(alpha), np.log(1 - alpha)).mean()
    both = (alpha * target).sum()
    iou = both / (alpha.sum() + target.sum() - both)
    loss = float(with_truth.few_shot_loss(network, annotated, annotated[1]))
    assert loss == pytest.approx(entropy + 1 - iou, rel=1e-4)
