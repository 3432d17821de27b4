import numpy as np
import torch
from torch.utils.data import DataLoader

from tilewright.tiles.archive import read_table
from tilewright.training.augment import Augmentation, Cropping
from tilewright.training.data import TileDataset, targets
from tilewright.training.sampling import sampler


def draws(trained, table, epoch=0, **options):
    drawn = sampler(table, [], trained.network(**options), trained.order().classes)
    drawn.set_epoch(epoch)
    return [draw for draw in drawn if draw.counts]


def test_an_epoch_draws_every_tile_once_in_an_order_of_its_own(trained):
    table = read_table(trained.shards(), trained.order().classes)
    first, second = draws(trained, table), draws(trained, table, 1)
    assert sorted(draw.row for draw in first) == sorted(draw.row for draw in second) == list(range(len(table)))
    assert first != second
    assert draws(trained, table) == first
    assert draws(trained, table, seed=1) != first


def test_what_a_sample_looks_like_does_not_depend_on_workers(trained):
    archives = [shard.archive for shard in trained.shards()]
    table = read_table(trained.shards(), trained.order().classes)
    network = trained.network()

    def batches(workers):
        dataset = TileDataset(archives, table, Augmentation("strong", Cropping(32)))
        return list(
            DataLoader(
                dataset, 4, sampler=sampler(table, archives, network, trained.order().classes), num_workers=workers
            )
        )

    for one, other in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def test_image_and_mask_are_augmented_alike():
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 5:50] = 1
    image = np.where(mask[..., None] == 1, 200, 20).repeat(3, axis=2).astype(np.uint8)
    augmentation = Augmentation("flips", Cropping(48))
    for seed in range(10):
        changed, bits = augmentation(image, mask, seed)
        assert changed.shape == (48, 48, 3)
        assert ((changed[..., 0] == 200) == (bits == 1)).all()


def test_ignored_pixels_and_unlabelled_classes_do_not_count():
    bits = torch.tensor([[[0b001, 0b010, 0b111, 0b000]]], dtype=torch.int32)
    truth, valid = targets(bits, torch.tensor([[True, False]]))
    assert truth.tolist() == [[[[1, 0, 1, 0]], [[0, 1, 1, 0]]]]
    assert valid.tolist() == [[[[1, 1, 0, 1]], [[0, 0, 0, 0]]]]
