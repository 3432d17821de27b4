import numpy as np
import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from torch.utils.data import DataLoader

from tilewright.tiles.archive import read_table
from tilewright.training.augment import Augmentation, Augmented
from tilewright.training.cropping import Cropping
from tilewright.training.data import Tile, TileDataset, targets, together
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
        drawn = sampler(table, archives, network, trained.order().classes)
        return list(DataLoader(dataset, 4, sampler=drawn, num_workers=workers, collate_fn=together))

    for one, other in zip(batches(0), batches(2), strict=True):
        assert all(torch.equal(first, second) for first, second in zip(one[:3], other[:3], strict=True))
        assert torch.equal(one.recoloring(one.image), other.recoloring(other.image))


@pytest.mark.parametrize(
    ("kind", "dtype"), [(np.uint8, torch.uint8), (np.uint16, torch.int32), (np.uint32, torch.int32)]
)
def test_a_batch_keeps_bytes_where_the_classes_fit(kind, dtype):
    image, mask = np.zeros((3, 4, 4), np.uint8), np.full((4, 4), 130, kind)
    batch = together([Tile(Augmented(image, mask, []), np.array([True] * 7))] * 3)
    assert (batch.image.dtype, batch.bits.dtype, batch.image.shape) == (torch.uint8, dtype, (3, 3, 4, 4))
    truth, valid = targets(batch.bits, batch.labelled)
    assert truth[0, :, 0, 0].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert not valid.any()


def test_ignored_pixels_and_unlabelled_classes_do_not_count():
    bits = torch.tensor([[[0b001, 0b010, 0b111, 0b000]]], dtype=torch.int32)
    truth, valid = targets(bits, torch.tensor([[True, False]]))
    assert truth.tolist() == [[[[1, 0, 1, 0]], [[0, 1, 1, 0]]]]
    assert valid.tolist() == [[[[1, 1, 0, 1]], [[0, 0, 0, 0]]]]


def test_what_is_left_of_the_augmentation_goes_to_the_device_with_the_batch():
    augmentation = Augmentation("strong", Cropping(32))
    image, mask = np.full((48, 48, 3), 99, np.uint8), np.zeros((48, 48), np.uint8)
    batch = together([Tile(augmentation(image, mask, seed), np.array([True])) for seed in range(8)])
    there = move_data_to_device(batch, torch.device("meta"))  # as Lightning does
    changed = there.recoloring(there.image)
    assert {each.device.type for each in (there.image, there.bits, there.labelled, changed)} == {"meta"}
    assert (changed.dtype, changed.shape) == (torch.float32, batch.image.shape)
