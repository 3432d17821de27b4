"""Saved probabilities arrive as they were saved, at the scale that is needed, or all that is wrong is said."""

import math
import pickle
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import rasterio

from tilewright.inference.adopt import adopt
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.orders import AdoptOrder, AdoptRow, saved_file
from tilewright.runtime.errors import DataError

CLASSES = ["gland", "vessel"]
WIDTH, HEIGHT = 61, 47
"""Of the slide; neither is a multiple of 2 or 3."""


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def place(factor=1.0, region=None):
    """Where the slide lies: it is the whole image, or a region of it."""
    x, y, width, height = region or (0, 0, WIDTH, HEIGHT)
    return Frame(x, y, width, height, Size(WIDTH, HEIGHT), factor)


class Folder:
    """Saved probabilities, and the scaled images of the slides that they are of."""

    def __init__(self, folder):
        self.saved, self.scaled, self.out = (folder / name for name in ("theirs", "scaled", "out"))
        self.saved.mkdir()
        self.scaled.mkdir()

    def own(self, slide, values, frame, classes=CLASSES):
        """A file of tilewright."""
        tags = frame.tags(classes)
        with create_raster(
            self.saved / f"{slide}.tif", Size(*values.shape[:0:-1]), bands=len(values), dtype=values.dtype, tags=tags
        ) as raster:
            raster.write(values, 0, 0)

    def foreign(self, slide, values, suffix=".tif"):
        """A TIFF of another program."""
        bands, height, width = values.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(
                self.saved / f"{slide}{suffix}", "w", driver="GTiff", width=width, height=height, count=bands,
                dtype=values.dtype,
            ) as file:  # fmt: skip
                file.write(values)

    def array(self, slide, values):
        np.save(self.saved / f"{slide}.npy", values)

    def __call__(self, *slides, frame=None, classes=CLASSES, shard="s"):
        """Bring slides to the scale of a frame, and read what was written."""
        frame = frame or place()
        for slide in slides:
            with create_raster(self.scaled / f"{slide}.image.tif", frame.size, bands=3, tags=frame.tags()):
                pass
        rows = [AdoptRow(slide=slide, file=saved_file(self.saved, shard, slide)) for slide in slides]
        order = AdoptOrder(rows=rows, folder=self.saved, shard=shard, classes=classes)
        adopt(order, scaled=self.scaled, out=self.out)
        found = []
        for slide in slides:
            with open_raster(self.out / f"{slide}.tif", classes) as raster:
                assert Frame.of(raster) == frame
                assert raster.size == frame.size
                found.append(raster.read())
        return found if len(slides) > 1 else found[0]

    def refusal(self, *slides, **options):
        """What is said of slides that are refused; nothing is left behind."""
        shutil.rmtree(self.out, ignore_errors=True)
        with pytest.raises(DataError) as caught:
            self(*slides, **options)
        assert not self.out.exists()
        assert not list(self.out.parent.glob("*partial*"))
        return [str(problem).replace(f"{self.saved}/", "") for problem in caught.value.problems]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def averaged(values, factor):
    """The mean of the squares of ``factor`` pixels, of what is there at the end."""
    _, height, width = values.shape
    return np.array(
        [
            [
                [band[y : y + factor, x : x + factor].mean(dtype=np.float64) for x in range(0, width, factor)]
                for y in range(0, height, factor)
            ]
            for band in values
        ]
    )


def enlarged(values, factor, size):
    """Interpolated linearly between the centres of pixels, beyond which the outermost ones go on."""
    for axis, length in ((1, size.height), (2, size.width)):
        at = np.clip((np.arange(length) + 0.5) / factor - 0.5, 0, values.shape[axis] - 1)
        low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
        share = (at - low).reshape([-1 if one == axis else 1 for one in range(3)])
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def test_a_file_of_tilewright_at_the_same_scale_stays_as_it_is(folder):
    values = noise(2, *place(2.0).size[::-1])
    folder.own("s1", values, place(2.0))
    assert (folder("s1", frame=place(2.0)) == values).all()


def test_every_half_of_a_tilewright_stays_as_it_is(folder):
    halves = np.arange(0x3C00 + 1, dtype=np.uint16).view(np.float16)
    size = Size(128, math.ceil(len(halves) / 128))
    frame = Frame(0, 0, *size, size)
    values = np.resize(halves, (1, size.height, size.width))
    folder.own("s1", values, frame, ["gland"])
    found = folder("s1", frame=frame, classes=["gland"])
    assert (found == values.astype(np.float32)).all()


def test_a_finer_file_of_tilewright_is_averaged_and_a_coarser_one_interpolated(folder):
    fine, coarse = noise(2, HEIGHT, WIDTH), noise(2, *place(4.0).size[::-1], seed=1)
    folder.own("fine", fine, place())
    folder.own("coarse", coarse, place(4.0))
    found = folder("fine", "coarse", frame=place(2.0))
    assert np.abs(found[0] - averaged(fine, 2)).max() <= 0.501
    assert np.abs(found[1] - enlarged(coarse.astype(float), 2, place(2.0).size)).max() <= 0.501


def test_a_scale_that_is_no_whole_multiple_of_another_is_averaged_by_area(folder):
    folder.own(
        "s1", np.tile(np.arange(0, 240, 4, dtype=np.uint8), (1, 60, 1)), Frame(0, 0, 60, 60, Size(60, 60)), ["a"]
    )
    found = folder("s1", frame=Frame(0, 0, 60, 60, Size(60, 60), 2.5), classes=["a"])
    expected = [np.average(range(0, 240, 4), weights=weights(k)) for k in range(24)]
    assert np.abs(found[0, 0] - expected).max() <= 0.501


def weights(cell, factor=2.5, pixels=60):
    """How much of each pixel lies in a cell."""
    return [max(0, min(pixel + 1, (cell + 1) * factor) - max(pixel, cell * factor)) for pixel in range(pixels)]


def rounded(factor, how):
    """The size of the slide at a factor, as a program may round it."""
    return tuple(max(1, int(how(length / factor))) for length in (HEIGHT, WIDTH))


@pytest.mark.parametrize("how", [math.ceil, math.floor, round])
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_tiff_of_another_program_lies_at_the_factor_that_its_size_tells(folder, factor, how, dtype):
    shape = (2, *rounded(factor, how))
    values = noise(*shape) if dtype == np.uint8 else (noise(*shape) / np.float32(255)).astype(np.float32)
    folder.foreign("s1", values)
    found = folder("s1")
    expected = enlarged(values.astype(float), factor, Size(WIDTH, HEIGHT))
    assert np.abs(found - expected).max() <= (0.501 if dtype == np.uint8 else 2**-12)


@pytest.mark.parametrize("how", [math.ceil, math.floor])
def test_at_the_scale_that_is_needed_nothing_is_interpolated_and_the_last_pixel_goes_on(folder, how):
    values = noise(2, *rounded(2, how))
    folder.foreign("s1", values)
    height, width = rounded(2, math.ceil)
    expected = np.pad(values, ((0, 0), (0, height - values.shape[1]), (0, width - values.shape[2])), mode="edge")
    assert (folder("s1", frame=place(2.0)) == expected).all()


def test_a_factor_that_is_not_whole_is_taken_where_it_is_needed(folder):
    frame = Frame(0, 0, 1000, 800, Size(1000, 800), 2.4)
    values = noise(2, *frame.size[::-1])
    folder.foreign("s1", values)
    assert (folder("s1", frame=frame) == values).all()


def test_floats_keep_what_bytes_would_lose(folder):
    values = np.full((2, HEIGHT, WIDTH), 0.3001, np.float32)
    folder.foreign("s1", values)
    found = folder("s1")
    assert found.dtype == np.float32
    assert np.unique(found).tolist() == [float(np.float16(0.3001))]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, ">f4"])
def test_an_array_may_have_its_classes_first_or_last(folder, dtype, order):
    values = noise(2, HEIGHT, WIDTH).astype(dtype) / (1 if dtype == np.uint8 else 256)
    values = np.asarray(values.astype(dtype), order=order)
    folder.array("first", values)
    folder.array("last", np.moveaxis(values, 0, -1))
    first, last = folder("first", "last")
    assert (first == last).all()
    assert (first == values).all()


def test_an_array_of_one_class_needs_no_axis_for_it(folder):
    values = noise(HEIGHT, WIDTH)
    for name, one in {"plain": values, "first": values[None], "last": values[..., None]}.items():
        folder.array(name, one)
    assert all((found[0] == values).all() for found in folder("plain", "first", "last", classes=["gland"]))


def test_probabilities_of_a_region_are_of_the_region_alone(folder):
    region = (10, 6, 30, 20)
    values = noise(2, 20, 30)
    folder.own("own", values, place(region=region))
    folder.foreign("foreign", values)
    assert all((found == values).all() for found in folder("own", "foreign", frame=place(region=region)))
    folder.own("whole", noise(2, HEIGHT, WIDTH), place())
    folder.own("moved", values, place(region=(11, 6, 30, 20)))
    assert folder.refusal("whole", "moved", frame=place(region=region)) == [
        "whole.tif: is of another part of an image: 61 x 47; the slide is 30 x 20 at 10, 6 of 61 x 47.\n"
        "  Use the same image and region in both runs.",
        "moved.tif: is of another part of an image: 30 x 20 at 11, 6 of 61 x 47; the slide is 30 x 20 at 10, 6 of "
        "61 x 47.\n  Use the same image and region in both runs.",
    ]


def test_another_run_may_know_less_of_the_pixel_size(folder):
    values = noise(2, HEIGHT, WIDTH)
    folder.own("s1", values, replace(place(), mpp=0.5))
    assert (folder("s1") == values).all()


def test_files_are_looked_for_in_the_folder_of_the_shard_first(folder):
    folder.array("s1", noise(2, HEIGHT, WIDTH))
    own = noise(2, HEIGHT, WIDTH, seed=1)
    top, folder.saved = folder.saved, folder.saved / "s"
    folder.saved.mkdir()
    folder.foreign("s1", own, ".tiff")
    folder.saved = top
    assert (folder("s1") == own).all()


def test_what_is_wrong_with_the_files_of_a_shard_is_said_at_once_and_nothing_is_left(folder):
    folder.foreign("good", noise(2, HEIGHT, WIDTH))
    folder.foreign("size", noise(2, HEIGHT, WIDTH - 9))
    folder.foreign("all", noise(3, WIDTH, HEIGHT).astype(np.int16))
    folder.foreign("logits", np.linspace(-3, 3, 2 * HEIGHT * WIDTH, dtype=np.float32).reshape(2, HEIGHT, WIDTH))
    folder.array("nan", np.full((2, HEIGHT, WIDTH), np.nan))
    folder.array("bool", np.ones((2, HEIGHT, WIDTH), bool))
    folder.array("shape", noise(HEIGHT, WIDTH, 4))
    folder.array("plain", noise(HEIGHT, WIDTH))
    folder.array("nothing", noise(2, 0, 0))
    slides = ("good", "size", "all", "logits", "nan", "bool", "shape", "plain", "nothing", "missing")
    needed = "Save a plain array with numpy.save: classes x rows x columns, or rows x columns x classes."
    bytes_or_floats = "Save bytes (255 is a probability of 1), or floats from 0 to 1."
    assert folder.refusal(*slides) == [
        "size.tif: has 52 x 47 pixels, which is the slide (61 x 47) at no factor.\n"
        "  Save the whole slide, without a border.",
        "all.tif: has 3 band(s), and there are 2 class(es).\n  Save a band for each of gland, vessel, in this order.",
        f"all.tif: holds int16.\n  {bytes_or_floats}",
        "all.tif: has 47 x 61 pixels, which is the slide (61 x 47) at no factor.\n"
        "  Save the whole slide, without a border.",
        "logits.tif: holds values that are no probabilities from 0 to 1.\n"
        "  Save probabilities (sigmoid of logits), not logits.",
        "nan.npy: holds values that are no probabilities from 0 to 1.\n"
        "  Save probabilities (sigmoid of logits), not logits.",
        f"bool.npy: holds bool.\n  {bytes_or_floats}",
        f"shape.npy: has the shape (47, 61, 4), and there are 2 class(es).\n  {needed}",
        f"plain.npy: has the shape (47, 61), and there are 2 class(es).\n  {needed}",
        "nothing.npy: has 0 x 0 pixels, which is the slide (61 x 47) at no factor.\n"
        "  Save the whole slide, without a border.",
        f"{folder.saved}: there is no file of the slide missing.\n"
        "  Looked for missing.tif, .tiff and .npy, here and in s/.",
    ]


def test_values_that_are_no_probabilities_are_found_wherever_they_lie(folder):
    for slide, value in {"low": -0.001, "high": 1.001, "nan": np.nan}.items():
        values = np.full((2, HEIGHT, WIDTH), 0.5, np.float32)
        values[1, -1, -1] = value
        folder.foreign(slide, values)
    assert len(folder.refusal("low", "high", "nan")) == 3


def test_a_pickle_is_never_opened(folder, tmp_path):
    folder.array("object", np.array([Trap(tmp_path / "sprung")], dtype=object))
    (folder.saved / "pickle.npy").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    np.savez(folder.saved / "zip.npz", a=noise(2, 3))
    (folder.saved / "zip.npz").rename(folder.saved / "zip.npy")
    (folder.saved / "empty.npy").write_bytes(b"")
    folder.array("cut", noise(2, HEIGHT, WIDTH))
    (folder.saved / "cut.npy").write_bytes((folder.saved / "cut.npy").read_bytes()[:-99])
    found = folder.refusal("object", "pickle", "zip", "empty", "cut")
    assert [text.partition(":")[0] for text in found] == [
        f"{name}.npy" for name in ("object", "pickle", "zip", "empty", "cut")
    ]
    assert all("cannot be read (" in text and "Save a plain array" in text for text in found)
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_a_damaged_file_is_named_and_nobody_is_told_to_delete_the_folder(folder):
    folder.own("own", noise(2, HEIGHT, WIDTH), place())
    content = bytearray((folder.saved / "own.tif").read_bytes())
    content[len(content) // 2] ^= 1
    (folder.saved / "own.tif").write_bytes(content)
    folder.foreign("cut", noise(2, HEIGHT, WIDTH))
    (folder.saved / "cut.tif").write_bytes((folder.saved / "cut.tif").read_bytes()[:2000])
    (folder.saved / "text.tif").write_text("no picture")
    own, cut, text = folder.refusal("own", "cut", "text")
    assert own == "own.tif: is damaged: it is not what was written.\n  Save or copy it again."
    for name, told in {"cut": cut, "text": text}.items():
        assert told.startswith(f"{name}.tif: cannot be read (")
        assert told.endswith("\n  Save or copy it again.")


def test_a_file_of_tilewright_with_other_classes_is_refused(folder):
    folder.own("other", noise(2, HEIGHT, WIDTH), place(), ["gland", "vein"])
    folder.own("turned", noise(2, HEIGHT, WIDTH), place(), CLASSES[::-1])
    folder.own("mask", noise(1, HEIGHT, WIDTH), place())
    assert folder.refusal("other", "turned", "mask") == [
        "other.tif: holds the classes gland, vein, not gland, vessel.\n  Members of an ensemble find the same classes.",
        "turned.tif: holds the classes vessel, gland, not gland, vessel.\n"
        "  Members of an ensemble find the same classes.",
        "mask.tif: has 1 band(s), and there are 2 class(es).\n  Save a band for each of gland, vessel, in this order.",
    ]


def test_a_mask_that_is_taken_for_probabilities_is_told(folder, capsys):
    folder.foreign("s1", (noise(2, HEIGHT, WIDTH) > 127).astype(np.uint8))
    folder("s1")
    assert "s1.tif holds no byte above 1, and 255 is a probability of 1: save masks as 0 and 255" in captured(capsys)


def test_a_change_of_the_scale_is_told(folder, capsys):
    folder.foreign("s1", noise(2, *rounded(2, math.ceil)))
    folder("s1")
    assert "s1: saved at the factor 2, brought to 1" in captured(capsys)


def captured(capsys):
    found = capsys.readouterr()
    return found.out + found.err


@pytest.mark.parametrize("factor", [1.0, 3.0, 5.0])
def test_what_is_written_by_blocks_is_what_is_written_at_once(folder, factor, monkeypatch):
    size = Size(1300, 1100)
    values = noise(2, *size[::-1])
    folder.array("s1", values)
    monkeypatch.setattr("tilewright.inference.adopt.WINDOW", 512)
    found = folder("s1", frame=Frame(0, 0, *size, size, factor))
    assert np.abs(found - averaged(values, int(factor))).max() <= 0.501
