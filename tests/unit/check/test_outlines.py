"""What check says of files of outlines that can be read, and are not what was meant."""

import json
import warnings

import numpy as np
import pytest
import rasterio
from shapely import box
from shapely.geometry import mapping

from tilewright.check.check import check
from tilewright.pixels.rle import encode_column_major, encode_row_major
from tilewright.pixels.runs import Runs
from tilewright.runtime.errors import UserError

CONFIG = """\
sheet: slides.csv
classes: {{a: {{}}, b: {{}}}}
annotations: {annotations}
scales:
  full: {{factor: 1}}
tiles:
  t: {{scale: full, size: 64}}
folds: {{count: 2}}
models:
  m: {{tiles: t, architecture: FCN}}
ensembles:
  e: {{models: {{m: 1}}}}
"""
SIZES = {"x": (100, 80), "y": (200, 150)}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, (width, height) in SIZES.items():
        image(tmp_path / f"{name}.png", np.full((3, height, width), 120, np.uint8))
        features(tmp_path / f"{name}.geojson", box(5, 5, 15, 15), (box(20, 20, 30, 30), "b"))
    sheet(tmp_path)
    return tmp_path


def image(path, bands):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        count, height, width = bands.shape
        with rasterio.open(path, "w", driver="PNG", width=width, height=height, count=count, dtype="uint8") as file:
            file.write(bands)


def feature(shape, label="a", **properties):
    named = {"classification": {"name": label}} if label else {}
    return {"type": "Feature", "geometry": mapping(shape), "properties": {**named, **properties}}


def features(path, *shapes):
    drawn = [feature(*shape) if isinstance(shape, tuple) else feature(shape) for shape in shapes]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": drawn}))


def sheet(folder, x="x.geojson", y="y.geojson"):
    rows = "slide,image,annotations,role,group", f"x,x.png,{x},train,g1", f"y,y.png,{y},train,g2"
    (folder / "slides.csv").write_text("\n".join(rows) + "\n")


def report(folder, capsys, annotations="{}"):
    """What check prints, and whether it finds the run fit."""
    (folder / "config.yaml").write_text(CONFIG.format(annotations=annotations))
    try:
        check(config=folder / "config.yaml")
    except UserError:
        return capsys.readouterr().out, False
    return capsys.readouterr().out, True


def test_a_file_of_which_no_outline_can_be_used_is_an_error_and_an_empty_one_a_warning(project, capsys):
    features(project / "x.geojson", (box(5, 5, 15, 15), ""))
    features(project / "y.geojson")
    text, fit = report(project, capsys)
    errors, warned = text.split("warnings, outlines")
    assert not fit
    assert "x.geojson (slide x): of its 1 outline(s) none can be drawn; the first, feature 1: has no class" in errors
    assert "y.geojson (slide y): holds no outlines: the slide is trained on as pure background." in warned
    features(project / "x.geojson", box(5, 5, 15, 15))
    assert report(project, capsys)[1]


def test_an_encoded_row_that_is_cut_off_is_an_error_if_it_is_the_whole_slide(project, capsys):
    (project / "x.csv").write_text("id,rle,class\nx,1 5 9,a\n")
    sheet(project, x="x.csv")
    text, fit = report(project, capsys)
    assert (
        "x.csv (slide x): of its 1 outline(s) none can be drawn; the first, row 2: cannot be decoded: an odd count"
        in text
    )
    assert not fit
    (project / "x.csv").write_text("id,rle,class\nx,1 5 9,a\nx,100 20,a\n")
    text, fit = report(project, capsys)
    assert "x.csv, row 2: not drawn" in text
    assert fit
    (project / "x.csv").write_text("id,rle,class\nx,,a\n")
    assert "slide x" not in report(project, capsys)[0]


def test_outlines_that_fit_another_slide_are_told_with_it(project, capsys):
    features(project / "x.geojson", box(120, 100, 190, 140), (box(160, 90, 180, 100), "b"))
    text, fit = report(project, capsys)
    assert "x.geojson (slide x): of its 2 outline(s) none covers a pixel of the 100 x 80." in text
    assert "They fit slide y (200 x 150); are files mixed up in the sheet?" in text
    assert not fit
    features(project / "x.geojson", box(5, 5, 15, 15), (box(160, 90, 180, 100), "b"))
    text, fit = report(project, capsys)
    assert "of its 2 outlines 1 lie by half or more outside of the 100 x 80." in text
    assert "They fit slide y" in text
    assert fit
    features(project / "x.geojson", box(5, 5, 15, 15), (box(260, 90, 280, 100), "b"))
    text, _ = report(project, capsys)
    assert "They fit" not in text
    assert "were they drawn on another image?" in text


def test_an_outline_that_lies_inside_by_more_than_half_is_not_told_of(project, capsys):
    features(project / "x.geojson", box(90, 70, 109, 80), (box(5, 5, 8, 8), "b"))
    assert "0 warnings" in report(project, capsys)[0]


@pytest.mark.parametrize(("rule", "told"), [("center", True), ("all_touched", False)])
def test_outlines_between_the_centres_of_pixels_are_counted(project, capsys, rule, told):
    features(project / "x.geojson", box(5.6, 5.6, 6.4, 6.4), box(30, 5, 40, 9), (box(7, 30.6, 30, 31.4), "b"))
    text, _ = report(project, capsys, f"{{pixel_rule: {rule}}}")
    assert ("of its 3 outlines 2 cover no centre of a pixel, and are not drawn." in text) == told


def test_objects_that_are_not_asked_for_are_counted(project, capsys):
    drawn = [feature(box(5, 5, 15, 15)), feature(box(5, 20, 15, 30), "b")]
    cells = [feature(box(50 + x, 50, 51 + x, 55), objectType="cell") for x in range(0, 30, 3)]
    (project / "x.geojson").write_text(json.dumps([*drawn, *cells]))
    text, fit = report(project, capsys)
    assert "x.geojson: left out: objects that annotations.objects does not name: 10 of the kind cell." in text
    assert fit
    assert "left out" not in report(project, capsys, "{objects: [annotation, cell]}")[0]
    (project / "x.geojson").write_text(json.dumps(cells))
    text, fit = report(project, capsys)
    assert "(slide x): holds nothing but objects that annotations.objects does not name: 10 of the kind cell" in text
    assert not fit


def labels(path, value=255):
    bands = np.zeros((1, 80, 100), np.uint8)
    bands[0, 5:15, 5:15], bands[0, 30:40, 5:15], bands[0, 30:40, 20:30], bands[0, 60:70, 60:70] = 1, 2, 2, value
    image(path, bands)


def test_values_of_a_label_image_that_look_like_classes_are_asked_about(project, capsys):
    labels(project / "l.png")
    sheet(project, x="l.png")
    text, _ = report(project, capsys, "{unlabelled: a}")
    assert "l.png (slide x): 3 values: 1 (100 px), 2 (200 px), 255 (100 px): an object each, all of label a." in text
    text, fit = report(project, capsys, "{values: {1: a, 2: b, 255: ignore}}")
    assert "values" not in text
    assert fit
    text, fit = report(project, capsys, "{values: {1: a, 255: ignore}}")
    assert "has values that annotations.values does not name: 2 (200 px)." in text
    assert not fit


def test_a_few_objects_of_one_part_each_are_no_classes(project, capsys):
    bands = np.zeros((1, 80, 100), np.uint8)
    for value in range(1, 6):
        bands[0, 10 * value : 10 * value + 5, 5:15] = value
    image(project / "l.png", bands)
    sheet(project, x="l.png")
    assert "values" not in report(project, capsys, "{unlabelled: a}")[0]


@pytest.mark.parametrize(("order", "encode"), [("column_major", encode_column_major), ("row_major", encode_row_major)])
def test_run_lengths_in_the_other_order_are_noticed(project, capsys, order, encode):
    rows, columns = np.ogrid[:80, :100]
    disc = (rows - 40) ** 2 + (columns - 50) ** 2 < 25**2
    (project / "x.csv").write_text(f"id,rle,class\nx,{encode(Runs.from_mask(disc))},a\n")
    sheet(project, x="x.csv")
    assert "much better" not in report(project, capsys, f"{{rle_order: {order}}}")[0]
    (other,) = {"column_major", "row_major"} - {order}
    text, _ = report(project, capsys, f"{{rle_order: {other}}}")
    assert f"x.csv (slide x): its run lengths hang together much better in the order {order}." in text
    assert f"Set annotations.rle_order: {order}" in text


def test_a_file_that_names_no_image_and_is_that_of_two_is_told_with_both(project, capsys):
    told = "does not say of which image it is, and all its outlines are drawn on slides x (image "
    sheet(project, y="x.geojson")
    text, _ = report(project, capsys)
    assert f"x.geojson: {told}" in text
    assert "x.png) and y (image " in text
    (project / "y.png").unlink()
    (project / "y.png").symlink_to(project / "x.png")
    assert told not in report(project, capsys)[0]


@pytest.mark.parametrize("named", [True, False])
def test_a_file_that_names_its_images_may_be_that_of_several(project, capsys, named):
    path = project / "x.geojson"
    drawn = [feature(box(5, 5, 15, 15)), feature(box(20, 20, 30, 30), "b")]
    for one, name in zip(drawn, "xy", strict=True):
        one |= {"image": f"{name}.png"} if named else {}
    path.write_text(json.dumps(drawn))
    sheet(project, y="x.geojson")
    assert ("does not say of which image it is" in report(project, capsys)[0]) != named


def test_a_label_image_of_two_images_is_told(project, capsys):
    image(project / "y.png", np.full((3, 80, 100), 120, np.uint8))
    labels(project / "l.png")
    sheet(project, x="l.png", y="l.png")
    assert "l.png: does not say of which image it is" in report(project, capsys, "{unlabelled: a}")[0]


def test_what_is_noticed_of_a_file_is_told_beside_its_errors(project, capsys):
    (project / "x.csv").write_text("id,Klasse,rle\nx,a,1 5\nx,b,900 5\n")
    sheet(project, x="x.csv")
    text, fit = report(project, capsys)
    assert not fit
    assert 'x.csv: the class of its outlines is not told: "Klasse" may be it, and is not read.' in text
