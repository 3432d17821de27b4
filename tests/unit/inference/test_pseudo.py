import json

import numpy as np
import pytest

from tilewright.inference.ensemble import weighted_maps
from tilewright.inference.pseudo import mark_sure, pseudo, sure_bits
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.config.data import TileSet
from tilewright.project.orders import Labeller, PseudoOrder, TileRow
from tilewright.tiles.archive import TrainingShard, open_archive, read_table

CLASSES = ["gland", "vessel"]


def test_what_is_sure_is_labelled_and_the_rest_does_not_count():
    sure, unsure = 250, 128
    values = np.array([[sure, 5, sure, unsure], [sure, 5, 5, 5]], np.float32)[:, None]
    assert sure_bits(values, 0.9).tolist() == [[0b011, 0, 0b001, 0b100]]


@pytest.mark.parametrize("confidence", [0.5, 0.75, 1.0])
def test_the_bounds_are_those_of_the_confidence(confidence):
    values = np.arange(256, dtype=np.float32).reshape(1, 1, 256)
    bits = sure_bits(values, confidence)[0]
    share = np.arange(256) / 255
    assert ((bits == 1) == (share >= confidence)).all()
    assert ((bits == 0) == ((share <= 1 - confidence) & (share < confidence))).all()


def save(path, array, factor=1.0, **tags):
    bands, height, width = array.shape
    frame = Frame(0, 0, round(width * factor), round(height * factor), Size(width, height), factor, mpp=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    with create_raster(
        path, Size(width, height), bands=bands, dtype=array.dtype, tags={**frame.tags(), **tags}
    ) as raster:
        raster.write(array, 0, 0)
    return path


def test_labels_of_a_coarser_probability_have_the_frame_of_the_image(tmp_path):
    probability = np.zeros((1, 32, 32), np.uint8)
    probability[:, :, 16:] = 255
    coarse = save(tmp_path / "p.tif", probability, factor=2.0, classes=json.dumps(["gland"]))
    image = save(tmp_path / "i.tif", np.zeros((3, 64, 64), np.uint8))
    with weighted_maps([coarse], [1]) as mean:
        mark_sure(mean, image, 0.9, tmp_path / "l.tif")
    with open_raster(tmp_path / "l.tif") as raster:
        assert raster.size == (64, 64)
        row = raster.read()[0, 30]
    # between the centres of the coarse pixels that are sure of this and of that, nothing is
    assert (row[:31] == 0).all()
    assert (row[31:33] == 2).all()
    assert (row[33:] == 1).all()


@pytest.fixture
def shard(tmp_path):
    """A test slide at full size, with tissue everywhere, and the probabilities of two models."""
    width, height = 96, 64
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (3, height, width), np.uint8)
    save(tmp_path / "scaled" / "t.image.tif", image)
    save(tmp_path / "scaled" / "t.tissue.tif", np.ones((1, height, width), np.uint8))
    first, second = np.zeros((2, 2, height, width), np.uint8)
    first[0, :, :48] = second[0, :, :48] = 255  # both are sure of a gland on the left
    first[1, :, 80:], second[1, :, 80:] = 255, 100  # one alone of a vessel on the right
    for name, values in (("one", first), ("two", second)):
        save(tmp_path / name / "t" / "t.fold1.tif", values, classes=json.dumps(CLASSES))
        save(tmp_path / name / "t" / "t.tif", 255 - values, classes=json.dumps(CLASSES))
    return tmp_path, image


def test_tiles_hold_the_image_and_what_the_ensemble_is_sure_of(shard):
    folder, image = shard
    order = PseudoOrder(
        rows=[TileRow(slide="t", labelled=CLASSES)],
        tiles=TileSet(scale="s", size=32, min_tissue=0.5),
        classes=CLASSES,
        members=[Labeller(part="fold1", weight=3), Labeller(part="fold1", weight=1)],
        min_confidence=0.9,
    )
    members = [folder / name / "t" for name in ("one", "two")]
    pseudo(order, members=members, scaled=folder / "scaled", out=folder / "t.h5")
    table = read_table([TrainingShard(folder / "t.h5", "t", "pseudo")], CLASSES)
    assert len(table) == 6
    assert table.labelled.all()
    assert table.mpp.tolist() == [0.25] * 6
    with open_archive(folder / "t.h5") as archive:
        for index, (x, y) in enumerate(zip(archive["x"][:], archive["y"][:], strict=True)):
            assert (archive["images"][index] == np.moveaxis(image[:, y : y + 32, x : x + 32], 0, -1)).all()
            columns = np.arange(x, x + 32)
            # the weighted mean of 255 and 100 is 216, which is 0.85: not sure enough
            expected = np.where(columns < 48, 1, np.where(columns < 80, 0, 4))
            assert (archive["masks"][index] == expected).all()
    assert sorted(path.name for path in folder.iterdir()) == ["one", "scaled", "t.h5", "two"]
