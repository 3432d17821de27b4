"""A picture of a batch shows what the network is given."""

import numpy as np
from PIL import Image

from tilewright.training.data import targets
from tilewright.training.loaders import loaders, read_tiles
from tilewright.training.mixing import mix
from tilewright.training.picture import ACROSS, GAP, draw_batch


def pictured(trained, tmp_path, **options):
    """The cells of the picture, and the first batch as it reaches the network, with its targets."""
    network, classes = trained.network(**options), trained.order().classes
    tiles = read_tiles(trained.shards(), trained.shards(), classes)
    draw_batch(tiles, network, classes, tmp_path / "batch.jpg")
    with Image.open(tmp_path / "batch.jpg") as picture:
        sheet = np.asarray(picture).astype(int)
    batch = next(iter(loaders(tiles, network, classes)[0]))
    draws = np.random.default_rng([network.seed, 0, 0, 0])
    images, parts = mix(batch.recoloring(batch.image), targets(batch.bits, batch.labelled), network.mixing, draws)
    edge = images.shape[-1]
    corners = [(place // ACROSS * (edge + GAP), place % ACROSS * (edge + GAP)) for place in range(len(images))]
    cells = [sheet[top : top + edge, left : left + edge] for top, left in corners]
    return cells, np.moveaxis(images.float().numpy(), 1, -1), parts[0].targets


def alike(cell, image):
    """Share of the pixels that are those of an image but for the losses of JPEG."""
    return (np.abs(cell - image).max(axis=-1) < 40).mean()


def test_the_tiles_of_the_first_batch_are_shown_with_outlines_of_what_counts(trained, tmp_path):
    cells, images, wanted = pictured(trained, tmp_path, augmentation="strong")
    assert len(cells) == len(images) == 8
    for number, cell in enumerate(cells):
        assert alike(cell, images[number]) > 0.8
        assert alike(cell, images[number - 1]) < 0.8
        green = (np.abs(cell - (0, 255, 0)).max(axis=-1) < 110).any()  # no other thing is green
        assert green == bool((wanted.truth * wanted.valid)[number].any())


def test_mixed_tiles_are_shown_mixed(trained, tmp_path):
    cells, images, _ = pictured(trained, tmp_path, mixing={"kind": "mixup", "probability": 1, "alpha": 5})
    plain, *_ = pictured(trained, tmp_path)
    assert np.mean([alike(cell, image) for cell, image in zip(cells, images, strict=True)]) > 0.8
    assert np.abs(np.stack(cells) - np.stack(plain)).mean() > 2


def test_a_training_that_chooses_its_batch_or_has_several_devices_shows_some_tiles(trained, tmp_path):
    classes = trained.order().classes
    tiles = read_tiles(trained.shards(), trained.shards(), classes)
    for number, options in enumerate(({"batch_size": "auto"}, {"batch_size": 4, "devices": 2})):
        draw_batch(tiles, trained.network(**options), classes, tmp_path / f"{number}.jpg")
    with Image.open(tmp_path / "0.jpg") as eight, Image.open(tmp_path / "1.jpg") as two:
        assert eight.width > two.width
        assert eight.height > two.height
