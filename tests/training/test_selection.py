import pytest
import torch

from l4f_datagen.training.selection import hardness, mean_iou, score_snapshots


def test_every_share_is_one_repeats_and_changes_nothing(trainer_of):
    trainer = trainer_of(steps=1)
    state, context = trainer.state, trainer.context()
    for state.step in (1, 2, 3):
        with torch.no_grad():
            state.average.out.weight.mul_(20 ** (state.step - 1))
        state.keep_snapshot()
    before = {name: value.clone() for name, value in state.average.state_dict().items()}
    scores = score_snapshots(state, context)
    assert list(scores) == [1, 2, 3]
    for score in scores.values():
        shares = (score.noise, score.peers, score.realism, score.hardness)
        assert all(0 <= share <= 1 for share in shares)
        assert score.total == pytest.approx(shares[0] * shares[1] * shares[2] * shares[3])
        assert str(score).startswith(f"score {score.total:.3f} (noise {score.noise:.3f}, peers ")
    assert score_snapshots(state, context) == scores
    assert scores[3].hardness > scores[2].hardness > scores[1].hardness
    assert all(torch.equal(before[name], v) for name, v in state.average.state_dict().items())


def test_the_best_snapshot_becomes_the_result(trainer_of):
    trainer = trainer_of(steps=6, keep="best", balance="auto")
    network, snapshots = trainer.run(), trainer.state.snapshots
    assert sorted(snapshots) == [3, 6]
    scores = score_snapshots(trainer.state, trainer.context())
    best = max(scores, key=lambda step: (scores[step].total, step))
    assert (trainer.kept_step, trainer.scores) == (best, scores)
    expected = snapshots[best]
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_mean_iou():
    first, part = torch.tensor([[True, True, False, False], [True, False, False, False]])
    none = torch.zeros(4, dtype=torch.bool)
    found = [mean_iou(first, first), mean_iou(first, ~first), mean_iou(none, none)]
    assert found == [1, 0, 1]
    assert mean_iou(first, part) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_hardness():
    hard = torch.tensor([1.0, 0, 0, 0]).reshape(1, 1, 2, 2)
    found = [hardness(alpha) for alpha in (hard, torch.full_like(hard, 0.25), 0 * hard)]
    assert found == pytest.approx([1, 0, 0])


def test_mirrored_features_give_the_mirrored_matte(make_generator, make_alpha):
    """Why agreement under mirroring is no part of the score."""
    generator = make_generator()
    features = generator(torch.randn(2, 8, generator=torch.Generator().manual_seed(0))).features
    mirrored = {side: [x.flip(3) for x in pair] for side, pair in features.items()}
    network = make_alpha(generator)
    torch.testing.assert_close(network(mirrored), network(features).flip(3))
