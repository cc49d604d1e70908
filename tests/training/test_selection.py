import pytest
import torch

from l4f_datagen.training.selection import best_of, hardness, mean_iou, score_snapshots


@pytest.fixture
def trained(make_generator, make_part, make_trainer):
    """A state with three snapshots, and the context of its steps."""
    trainer = make_trainer(make_part(steps=1), make_generator())
    state = trainer.state
    for step in (1, 2, 3):
        state.step = step
        with torch.no_grad():
            state.average.out.weight.mul_(20 ** (step - 1))
        state.keep_snapshot()
    return state, trainer.context()


def test_every_share_is_one_and_repeats(trained):
    scores = score_snapshots(*trained)
    assert sorted(scores) == [1, 2, 3]
    for score in scores.values():
        shares = (score.noise, score.peers, score.realism, score.hardness)
        assert all(0 <= share <= 1 for share in shares)
        assert score.total == pytest.approx(shares[0] * shares[1] * shares[2] * shares[3])
    assert score_snapshots(*trained) == scores
    assert scores[3].hardness > scores[2].hardness > scores[1].hardness


def test_scoring_changes_nothing(trained):
    state, context = trained
    before = {name: value.clone() for name, value in state.average.state_dict().items()}
    scores = score_snapshots(state, context)
    assert list(scores) == [1, 2, 3]
    score = scores[best_of(scores)]
    assert score.total == max(one.total for one in scores.values())
    assert all(torch.equal(before[name], v) for name, v in state.average.state_dict().items())
    assert "score 0." in str(score)


def test_the_best_snapshot_becomes_the_result(make_generator, make_part, make_trainer):
    trainer = make_trainer(make_part(steps=6, keep="best", balance="auto"), make_generator())
    network, snapshots = trainer.run(), trainer.state.snapshots
    assert sorted(snapshots) == [3, 6]
    scores = score_snapshots(trainer.state, trainer.context())
    best = best_of(scores)
    assert (trainer.kept_step, trainer.scores) == (best, scores)
    expected = snapshots[best]
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_mean_iou():
    first = torch.tensor([True, True, False, False])
    assert mean_iou(first, first) == 1
    assert mean_iou(first, ~first) == 0
    assert mean_iou(first, torch.tensor([True, False, False, False])) == pytest.approx(
        (1 / 2 + 2 / 3) / 2
    )
    none = torch.zeros(4, dtype=torch.bool)
    assert mean_iou(none, none) == 1


def test_hardness():
    hard = torch.tensor([1.0, 0, 0, 0]).reshape(1, 1, 2, 2)
    assert hardness(hard) == 1
    assert hardness(torch.full((1, 1, 2, 2), 0.25)) == pytest.approx(0)
    assert hardness(torch.zeros(1, 1, 2, 2)) == 0


def test_mirrored_features_give_the_mirrored_matte(make_generator, make_alpha):
    """Why agreement under mirroring is no part of the score."""
    generator = make_generator()
    features = generator(torch.randn(2, 8, generator=torch.Generator().manual_seed(0))).features
    mirrored = {side: [x.flip(3) for x in pair] for side, pair in features.items()}
    network = make_alpha(generator)
    torch.testing.assert_close(network(mirrored), network(features).flip(3))
