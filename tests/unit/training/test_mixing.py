import numpy as np
import pytest
import torch

from tilewright.project.config.training import Mixing
from tilewright.training.data import Targets
from tilewright.training.mixing import mix


def batch(count=4, edge=16):
    """Tiles whose pixels all have their own number; class 0 is there on odd tiles."""
    numbers = torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1)
    truth = (numbers % 2).float().expand(count, 1, edge, edge)
    return numbers.expand(count, 3, edge, edge), Targets(truth, torch.ones_like(truth))


def mixed(kind, seed=0, probability=1.0):
    images, targets = batch()
    mixing = Mixing(kind=kind, probability=probability, alpha=1.0)
    return mix(images, targets, mixing, np.random.default_rng(seed))


def test_mixup_blends_images_and_keeps_both_targets_with_their_shares():
    images, parts = mixed("mixup")
    assert sum(part.share for part in parts) == pytest.approx(1)
    (own, _), (share, other) = parts
    numbers = torch.arange(4.0)
    partner = (images[:, 0, 0, 0] - own * numbers) / share
    assert torch.allclose(partner, partner.round(), atol=1e-4)
    assert ((partner.round() % 2) == other.truth[:, 0, 0, 0]).all()


def test_cutmix_takes_pixels_and_their_targets_from_the_other_tile_together():
    for seed in range(5):
        images, parts = mixed("cutmix", seed)
        assert len(parts) == 1
        assert ((images[:, 0] % 2).float() == parts[0].targets.truth[:, 0]).all()


def test_the_rectangle_covers_the_share_that_was_drawn():
    shares = []
    for seed in range(200):
        images, _ = mixed("cutmix", seed)
        changed = (images[:, 0] != torch.arange(4).view(4, 1, 1)).float().mean((1, 2))
        shares += [float(each) for each in changed if each > 0]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)  # of a uniform share, as alpha is 1


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_batches_are_mixed_with_the_one_probability_given(probability):
    plain, _ = batch()
    changed = [not torch.equal(mixed("mixup", seed, probability)[0].float(), plain.float()) for seed in range(300)]
    # one permutation in 24 leaves every tile with itself
    assert np.mean(changed) == pytest.approx(probability * 23 / 24, abs=0.08)


def test_without_mixing_a_batch_stays_as_it_is():
    images, targets = batch()
    found, parts = mix(images, targets, None, np.random.default_rng(0))
    assert found is images
    assert parts == [(1.0, targets)]


def test_the_batch_given_is_not_changed():
    images, targets = batch()
    before = images.clone(), targets.truth.clone()
    mix(images, targets, Mixing(kind="cutmix", probability=1), np.random.default_rng(0))
    assert torch.equal(images, before[0])
    assert torch.equal(targets.truth, before[1])
