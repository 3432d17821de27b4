"""Outlines given as pixels: tables of run lengths and label images."""

import warnings

import cv2
import numpy as np
import pytest
import rasterio
import tifffile
from reading import SIZE, findings, outline_refusal, read_outlines
from shapely import box

from tilewright.annotations.traced import areas_of_masks
from tilewright.pixels.grid import Size
from tilewright.pixels.rle import encode_column_major, encode_row_major
from tilewright.pixels.runs import Runs


def write(path, content):
    path.write_text(content)
    return path


def save_labels(path, array):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        height, width = array.shape[-2:]
        bands = array.reshape(-1, height, width)
        driver = "PNG" if path.suffix == ".png" else "GTiff"
        options = {"driver": driver, "count": len(bands), "dtype": array.dtype.name}
        with rasterio.open(path, "w", width=width, height=height, **options) as file:
            file.write(bands)
    return path


# Run lengths


def mask_of(*boxes):
    mask = np.zeros((SIZE.height, SIZE.width), bool)
    for x, y, width, height in boxes:
        mask[y : y + height, x : x + width] = True
    return mask


TWO = mask_of((0, 0, 4, 3), (90, 70, 10, 10))


@pytest.mark.parametrize(("order", "encode"), [("column_major", encode_column_major), ("row_major", encode_row_major)])
@pytest.mark.parametrize("header", ["id,rle", "ImageId,EncodedPixels", "id,predicted", "s_id,annotation"])
def test_one_row_a_slide_gives_its_connected_parts(tmp_path, order, encode, header):
    path = write(tmp_path / "rle.csv", f"{header}\nt,1 1\ns,{encode(Runs.from_mask(TWO))}\n")
    outlines = read_outlines(path, rle_order=order, unlabelled="a")
    assert [annotation.geometry.bounds for annotation in outlines.annotations] == [(0, 0, 4, 3), (90, 70, 100, 80)]
    assert outlines.annotations[1].origin == "row 3, part 2"


def test_many_objects_are_outlined_as_each_would_be_alone(tmp_path):
    """They overlap, touch, have holes and parts; some cannot be decoded, one after another row of theirs."""
    random = np.random.default_rng(1)
    masks = [random.random((SIZE.height, SIZE.width)) < share for share in random.uniform(0.001, 0.3, 150)]
    codes = [encode_column_major(Runs.from_mask(mask)) for mask in masks]
    for place in (0, 63, 64, 149):
        codes[place] = "1 2 3"
    path = write(tmp_path / "rle.csv", "id,rle\n" + "".join(f"s,{code}\n" for code in codes))
    outlines = read_outlines(path, unlabelled="a")
    assert len(outlines.findings) == 4
    assert [one.origin for one in outlines.annotations] == [
        f"row {place + 2}" for place in range(150) if codes[place] != "1 2 3"
    ]
    for one in outlines.annotations[::10]:
        (alone,) = areas_of_masks([Runs.from_mask(masks[int(one.origin.split()[1]) - 2])])
        assert one.geometry.equals(alone)


def test_one_row_an_object_keeps_objects_whole_and_takes_their_class(tmp_path):
    code = encode_row_major(Runs.from_mask(TWO))
    rows = f"id,annotation,width,height,cell_type\ns,{code},100,80,cort\ns,1 5,100,80,astro\n"
    outlines = read_outlines(write(tmp_path / "train.csv", rows), rle_order="row_major")
    first, second = outlines.annotations
    assert (first.label, first.geometry.area, second.label) == ("cort", 112, "astro")
    assert second.geometry.equals(box(0, 0, 5, 1))


def test_an_empty_row_is_a_slide_without_outlines(tmp_path):
    outlines = read_outlines(write(tmp_path / "rle.csv", "id,rle\ns,\n"))
    assert outlines.annotations == outlines.findings == ()


def test_a_row_that_cannot_be_decoded_is_reported(tmp_path):
    outlines = read_outlines(write(tmp_path / "rle.csv", "id,rle\ns,1 2 3\ns,8000 2\ns,1 2\n"), unlabelled="a")
    assert len(outlines.annotations) == 1
    odd, beyond = outlines.findings
    assert odd.where == f"{tmp_path}/rle.csv, row 2"
    assert "cannot be decoded: an odd count of numbers (3)" in odd.what
    assert "goes beyond the 100 x 80 = 8000 pixels" in beyond.what


TABLE = "id,rle,class\ns,1 2,Drüse\ns,9 3,b\n"


@pytest.mark.parametrize(
    "data",
    [
        TABLE.encode("cp1252"),
        TABLE.encode("utf-16"),
        TABLE.replace(",", ";").encode("utf-8-sig"),
        TABLE.replace(",", "\t").encode(),
        TABLE.replace("id,", ",ID,").replace("\ns", "\n5,s").encode(),
        TABLE.replace("1 2", "1 2" + "".join(f" {start} 1" for start in range(5, 100_005, 2))).encode(),
    ],
    ids=["Windows", "UTF-16", "semicolons", "tabs", "index", "long"],
)
def test_a_table_of_any_program_is_read(tmp_path, data):
    (tmp_path / "rle.csv").write_bytes(data)
    outlines = read_outlines(tmp_path / "rle.csv", size=Size(1000, 1000))
    assert {(each.label, each.origin) for each in outlines.annotations} == {("Drüse", "row 2"), ("b", "row 3")}


def test_a_row_of_an_image_of_another_size_is_refused(tmp_path):
    path = write(tmp_path / "rle.csv", "id,rle,Height,Width\ns,1 2,80,100\ns,1 2,100,80\n")
    assert outline_refusal(path).startswith(f"{path}, row 3: the width is 80 here, but the slide's is 100 pixels.")


def test_a_table_without_the_slide_or_without_run_lengths_is_refused(tmp_path):
    path = write(tmp_path / "rle.csv", "id,rle\nslide_1.tiff,1 2\n")
    assert 'Nearest id there: "slide_1".' in outline_refusal(path, "slide_2")
    assert len(read_outlines(path, "slide_1", unlabelled="a").annotations) == 1
    path = write(tmp_path / "other.csv", "id,area\ns,1\n")
    assert "has no column of run lengths. Columns found: id, area." in outline_refusal(path)


def test_a_table_that_changes_is_read_again(tmp_path):
    path = write(tmp_path / "rle.csv", "id,rle\ns,1 2\n")
    assert read_outlines(path, unlabelled="a").annotations[0].geometry.area == 2
    write(path, "id,rle\ns,1 200\n")
    assert read_outlines(path, unlabelled="a").annotations[0].geometry.area == 200


# Label images


@pytest.mark.parametrize("name", ["s.png", "s.tif"])
def test_each_value_of_a_label_image_is_an_object(tmp_path, name):
    labels = np.zeros((SIZE.height, SIZE.width), np.uint16)
    labels[5:10, 20:30] = 40_000
    labels[5:10, 30:40] = 7
    labels[50:52, 0:2] = 7
    first, second = read_outlines(save_labels(tmp_path / name, labels), unlabelled="n").annotations
    assert (first.origin, first.geometry.area, second.origin) == ("value 7", 54, "value 40000")
    assert second.geometry.equals(box(20, 5, 30, 10))


def test_a_label_image_of_one_value_is_a_mask_whose_parts_are_objects(tmp_path):
    path = save_labels(tmp_path / "s.png", TWO.astype(np.uint8) * 255)
    assert [a.origin for a in read_outlines(path, unlabelled="n").annotations] == ["part 1", "part 2"]


def test_an_empty_label_image_is_a_slide_without_outlines(tmp_path):
    path = save_labels(tmp_path / "s.png", np.zeros((SIZE.height, SIZE.width), np.uint8))
    assert read_outlines(path).annotations == ()


def test_objects_of_a_label_image_without_a_default_label_are_reported(tmp_path):
    path = save_labels(tmp_path / "s.png", TWO.astype(np.uint8))
    assert "has no class" in findings(read_outlines(path), "unusable")[0]


def test_a_label_image_that_does_not_fit_is_refused(tmp_path):
    assert "is 3 x 2 pixels, but the slide is 100 x 80." in outline_refusal(
        save_labels(tmp_path / "s.png", np.zeros((2, 3), np.uint8))
    )
    colour = save_labels(tmp_path / "c.png", np.zeros((3, SIZE.height, SIZE.width), np.uint8))
    assert "has 3 bands of uint8, so it is no label image." in outline_refusal(colour)


# Label images whose values are classes


def classes_of(tmp_path, labels, values, name="s.png"):
    outlines = read_outlines(save_labels(tmp_path / name, labels), values=values)
    return [(each.label, each.geometry.area, each.origin) for each in outlines.annotations]


def test_values_that_are_classes_give_their_connected_parts(tmp_path):
    labels = np.zeros((SIZE.height, SIZE.width), np.uint8)
    labels[TWO] = 1
    labels[30:40, 30:40] = 2
    labels[40:42, 30:40] = 255
    assert classes_of(tmp_path, labels, {1: "tumor", 2: "stroma", 255: "ignore"}) == [
        ("tumor", 12, "value 1, part 1"),
        ("tumor", 100, "value 1, part 2"),
        ("stroma", 100, "value 2, part 1"),
        ("ignore", 20, "value 255, part 1"),
    ]


def test_two_values_of_one_class_that_touch_are_two_objects(tmp_path):
    labels = np.zeros((SIZE.height, SIZE.width), np.uint8)
    labels[0:4, 0:4], labels[0:4, 4:8] = 1, 3
    assert classes_of(tmp_path, labels, {1: "a", 3: "a"}) == [
        ("a", 16, "value 1, part 1"), ("a", 16, "value 3, part 1"),
    ]  # fmt: skip


def test_a_value_that_is_not_named_is_refused_with_its_pixels(tmp_path):
    labels = np.zeros((SIZE.height, SIZE.width), np.uint8)
    labels[0:4, 0:4], labels[9, 9], labels[10, 10] = 1, 7, 9
    told = outline_refusal(save_labels(tmp_path / "s.png", labels), values={1: "a"})
    assert "has values that annotations.values does not name: 7 (1 px), 9 (1 px)." in told


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64])
def test_values_may_be_stored_in_any_type(tmp_path, kind):
    labels = np.zeros((SIZE.height, SIZE.width), kind)
    labels[0:4, 0:4], labels[8:10, 0:4] = 1, 2
    assert classes_of(tmp_path, labels, {1: "a", 2: "b"}, "s.tif") == [
        ("a", 16, "value 1, part 1"), ("b", 8, "value 2, part 1"),
    ]  # fmt: skip
    assert len(read_outlines(tmp_path / "s.tif", unlabelled="n").annotations) == 2


def test_values_below_0_are_background_unless_they_are_named(tmp_path):
    labels = np.zeros((SIZE.height, SIZE.width), np.int16)
    labels[0:4, 0:4], labels[8:10, 0:4], labels[20:30, 0:4] = 1, 2, -1
    path = save_labels(tmp_path / "s.tif", labels)
    assert [each.geometry.area for each in read_outlines(path, unlabelled="n").annotations] == [16, 8]
    assert classes_of(tmp_path, labels, {1: "a", 2: "a", -1: "ignore"}, "s.tif")[2] == (
        "ignore",
        40,
        "value -1, part 1",
    )


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_values_that_are_no_whole_numbers_are_refused(tmp_path, value):
    labels = np.zeros((SIZE.height, SIZE.width), np.float32)
    labels[3, 3] = value
    assert "no whole numbers" in outline_refusal(save_labels(tmp_path / "s.tif", labels))


def test_the_value_0_may_be_a_class_or_ignored(tmp_path):
    labels = np.full((SIZE.height, SIZE.width), 2, np.uint8)
    labels[0:4, 0:5], labels[10:12, 0:4] = 0, 1
    assert classes_of(tmp_path, labels, {0: "Ignore*", 1: "a", 2: "a"})[:2] == [
        ("Ignore*", 20, "value 0, part 1"), ("a", 8, "value 1, part 1"),
    ]  # fmt: skip
    assert {label for label, *_ in classes_of(tmp_path, labels, {1: "a", 2: "a"})} == {"a"}


@pytest.mark.parametrize("kind", [bool, np.uint8, np.uint16])
def test_where_0_is_stored_as_white_values_are_those_that_viewers_show(tmp_path, kind):
    labels = np.zeros((SIZE.height, SIZE.width), kind)
    labels[0:4, 0:5] = 1
    most = 1 if kind is bool else np.iinfo(kind).max
    stored = ~labels if kind is bool else most - labels
    tifffile.imwrite(tmp_path / "s.tif", stored, photometric="miniswhite")
    outlines = read_outlines(tmp_path / "s.tif", unlabelled="a")
    assert [one.geometry.bounds for one in outlines.annotations] == [(0, 0, 5, 4)]
    (told,) = findings(outlines, "noticed")
    assert "stores 0 as white" in told
    assert [one.label for one in read_outlines(tmp_path / "s.tif", values={1: "b"}).annotations] == ["b"]


# Label images of noise


def discs(height=256, width=320, line=cv2.LINE_8, values=None):
    drawn = np.zeros((height, width), np.uint16 if values else np.uint8)
    random = np.random.default_rng(3)
    for value in values or [255] * 6:
        x, y, radius = (int(random.integers(*span)) for span in ((0, width), (0, height), (4, 20)))
        cv2.circle(drawn, (x, y), radius, value, -1, line)
    return drawn


def as_jpeg(picture, quality):
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


NOISY = {
    "JPEG 30": as_jpeg(discs(), 30),
    "JPEG 60": as_jpeg(discs(), 60),
    "JPEG 95": as_jpeg(discs(), 95),
    "antialiased": discs(line=cv2.LINE_AA),
    "smoothed": cv2.GaussianBlur(discs(), (5, 5), 0),
    "scaled": cv2.resize(discs(512, 640), (320, 256), interpolation=cv2.INTER_AREA),
}


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("values", [{}, {255: "a"}])
def test_a_mask_with_noise_is_refused_with_the_advice_to_save_it_otherwise(tmp_path, name, values):
    path = save_labels(tmp_path / "s.png", NOISY[name])
    told = outline_refusal(path, size=Size(320, 256), values=values, unlabelled="a")
    if name == "scaled" and values:  # three values between 0 and 255 are too few to be called noise
        assert "has values that annotations.values does not name: 64 " in told
        return
    assert "lie scattered in specks" in told
    assert "compressed as JPEG, scaled or smoothed" in told


def test_the_image_itself_is_no_label_image(tmp_path):
    image = np.random.default_rng(1).normal(150, 30, (256, 320)).clip(1, 255).astype(np.uint8)
    told = outline_refusal(save_labels(tmp_path / "s.png", image), size=Size(320, 256), unlabelled="a")
    assert "Is it the image itself" in told


def test_hundreds_of_objects_are_no_noise(tmp_path):
    labels = discs(values=list(range(1, 400)))
    found = read_outlines(save_labels(tmp_path / "s.png", labels), size=Size(320, 256), unlabelled="a").annotations
    assert len(found) == len(np.unique(labels)) - 1
    dots = np.zeros((SIZE.height, SIZE.width), np.uint16)
    dots[::4, ::4] = np.arange(1, 501).reshape(20, 25)
    assert len(read_outlines(save_labels(tmp_path / "d.png", dots), unlabelled="a").annotations) == 500


def test_a_label_image_of_several_pages_is_refused(tmp_path):
    pages = np.zeros((3, SIZE.height, SIZE.width), np.uint8)
    tifffile.imwrite(tmp_path / "s.tif", pages, photometric="minisblack")
    assert "has 3 pages, of which each could be meant" in outline_refusal(tmp_path / "s.tif")
