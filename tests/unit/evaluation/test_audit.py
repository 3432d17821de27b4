import gzip
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import shapely
from shapely.affinity import translate

from tilewright.annotations import Annotation
from tilewright.evaluation import audit as audit_module
from tilewright.evaluation import beliefs, inspection, shelf
from tilewright.evaluation.audit import audit
from tilewright.evaluation.offsets import source_offsets
from tilewright.evaluation.suspects import misnamed, unclaimed
from tilewright.masks import outlines
from tilewright.masks.outlines import outline_writer
from tilewright.pixels import strips
from tilewright.pixels.grid import Frame, Size, Window
from tilewright.pixels.instances import instances_of_outlines
from tilewright.pixels.rasters import create_raster
from tilewright.pixels.runs import Runs, merged
from tilewright.project.config import Segmentation
from tilewright.project.orders import AuditOrder, CalibrateRow, SegmentOrder, SegmentRow
from tilewright.runtime.documents import write_document
from tilewright.segments.segment import segment

CLASSES = ["round", "oval"]
COLORS = {"round": "#00ff00", "oval": "#ff0000"}
EDGE, PITCH, RADIUS = 480, 60, 12
FRAME = Frame(100, 50, EDGE, EDGE, Size(800, EDGE + 100), factor=2)
DOUBT = 0.85


def centers():
    """Places of objects, by rows; every other one is oval."""
    return [(x, y) for y in range(30, EDGE, PITCH) for x in range(30, EDGE, PITCH)]


def shape_at(place, radius=RADIUS):
    x, y = centers()[place]
    disk = shapely.Point(x, y).buffer(radius)
    return shapely.affinity.scale(disk, 1.5, 0.7) if place % 2 else disk


def name_at(place):
    return CLASSES[place % 2]


def keys(shapes, height):
    window = Window(0, 0, EDGE, height)
    found = instances_of_outlines(np.array(list(shapes) or [shapely.Point()], dtype=object), window)
    return Runs._of_keys(*merged(found.starts, found.stops), height, EDGE).to_mask()


def write_slide(folder, slide, drawn, seen=None, labelled=CLASSES, ignored=(), high=1):
    """Write a slide of which ``drawn`` is outlined, (class, shape), and all that is there is seen.

    It is ``high`` times as high as wide.
    """
    whole = replace(FRAME, height=EDGE * high, image=Size(FRAME.image.width, EDGE * high + 2 * FRAME.y))
    seen = seen or [(name_at(place), shape_at(place)) for place in range(len(centers()))]
    layers = {name: keys([shape for own, shape in drawn if own == name], whole.height) for name in CLASSES}
    layers["ignored"] = keys(ignored, whole.height)
    masks = folder / "masks" / slide
    frame = whole.scaled(1)
    with create_raster(masks / f"{slide}.tif", frame.size, tags=frame.tags(CLASSES)) as raster:
        raster.write(sum(part.astype(np.uint8) << bit for bit, part in enumerate(layers.values())), 0, 0)
    with outline_writer(masks / f"{slide}.outlines.parquet", frame, {name: [name] for name in CLASSES}) as writer:
        writer.write([Annotation(name, translate(shape, FRAME.x, FRAME.y)) for name, shape in drawn])
    fine = np.stack([keys([shape for own, shape in seen if own == name], whole.height) for name in CLASSES])
    coarse = fine.reshape(2, whole.height // 2, 2, EDGE // 2, 2).mean((2, 4)) * DOUBT * 255
    with create_raster(folder / "p" / slide / f"{slide}.tif", whole.size, bands=2, tags=whole.tags(CLASSES)) as raster:
        raster.write(coarse.astype(np.uint8), 0, 0)
    limits = {"thresholds": dict.fromkeys(CLASSES, 0.4), "min_area": dict.fromkeys(CLASSES, 0)}
    write_document(folder / "c.json", limits)
    order = SegmentOrder(rows=[SegmentRow(slide=slide)], colors=COLORS, segmentation=Segmentation())
    segment(order, probabilities=folder / "p" / slide, calibration=folder / "c.json", out=folder / "segments" / slide)
    return CalibrateRow(slide=slide, shard=slide, labelled=labelled, source="one")


def audited(folder, rows, score=0.5):
    order = AuditOrder(rows=rows, colors=COLORS, score=score)
    places = {name: folder / name for name in ("masks", "segments")}
    audit(order, **places, probabilities=folder / "p", out=folder / "audit")
    return pd.read_csv(folder / "audit" / "suspects.csv", keep_default_na=False)


def right_ones():
    return [(name_at(place), shape_at(place)) for place in range(len(centers()))]


SPOILT = {
    "shifted": (10, lambda name, shape: (name, translate(shape, RADIUS, 0))),
    "other class": (11, lambda name, shape: (CLASSES[1 - CLASSES.index(name)], shape)),
    "too large": (20, lambda name, shape: (name, shapely.affinity.scale(shape, 2, 2))),
    "too small": (30, lambda name, shape: (name, shapely.affinity.scale(shape, 0.5, 0.5))),
    "improbable": (40, lambda name, shape: (name, translate(shape, PITCH / 2, PITCH / 2))),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_an_outline_that_is_wrong_stands_first_and_says_how(tmp_path, kind):
    place, spoil = SPOILT[kind]
    drawn = right_ones()
    drawn[place] = spoil(*drawn[place])
    table = audited(tmp_path, [write_slide(tmp_path, "s", drawn)], score=0.25)
    own = table[table["kind"] != "not outlined"]
    first = own.iloc[0]
    assert first["kind"] == kind
    wrong = drawn[place][1]
    assert (first["x"], first["y"]) == pytest.approx((wrong.centroid.x, wrong.centroid.y), abs=1e-6)
    assert first["class"] == drawn[place][0]
    assert first["instead"] == (name_at(place) if kind == "other class" else "")
    if kind == "shifted":
        assert float(first["right"]) == pytest.approx(-RADIUS, abs=1)
        assert float(first["down"]) == pytest.approx(0, abs=1)
        assert len(table) == 1, "what it belongs to is outlined, if beside it"
    if kind == "improbable":
        assert table["kind"].tolist()[:2] == ["improbable", "not outlined"]
    assert len(own) == 1


def test_what_is_right_is_no_suspect_and_what_nobody_outlined_is_one(tmp_path):
    drawn = right_ones()
    rows = [write_slide(tmp_path, "right", drawn), write_slide(tmp_path, "lacking", drawn[:20] + drawn[21:])]
    table = audited(tmp_path, rows)
    (one,) = table.to_dict("records")
    assert (one["slide"], one["kind"], one["class"]) == ("lacking", "not outlined", "round")
    assert (one["x"], one["y"]) == pytest.approx(centers()[20], abs=1)
    with gzip.open(tmp_path / "audit" / "lacking.geojson.gz", "rt") as stream:
        (feature,) = json.load(stream)["features"]
    x, y = shapely.geometry.shape(feature["geometry"]).centroid.coords[0]
    assert (x, y) == pytest.approx((centers()[20][0] + FRAME.x, centers()[20][1] + FRAME.y), abs=1)
    assert feature["properties"]["classification"]["name"] == "not outlined: round"
    assert feature["properties"]["measurements"] == {"suspicion": one["suspicion"]}
    with gzip.open(tmp_path / "audit" / "right.geojson.gz", "rt") as stream:
        assert json.load(stream)["features"] == []


def test_an_outline_that_was_drawn_twice_is_one(tmp_path):
    drawn = right_ones()
    again = translate(drawn[7][1], 0.5, 0)
    table = audited(
        tmp_path,
        [
            write_slide(
                tmp_path, "s", [*drawn, ("oval", again), ("round", drawn[7][1]), ("round", drawn[8][1].buffer(-9))]
            )
        ],
    )
    (one,) = table[table["kind"] == "duplicate"].to_dict("records")
    assert one["x"] == pytest.approx(again.centroid.x)
    assert one["score"] > 0.9


def test_classes_that_are_not_completely_outlined_are_left_out(tmp_path):
    drawn = [one for one in right_ones() if one[0] == "round"]
    row = write_slide(tmp_path, "s", drawn, labelled=["round"])
    assert audited(tmp_path, [row]).empty
    assert set(audited(tmp_path, [row.model_copy(update={"labelled": tuple(CLASSES)})])["kind"]) == {"not outlined"}


def test_objects_in_a_structure_are_no_alternatives_to_it(tmp_path):
    tissue = shapely.box(0, 0, EDGE, EDGE)
    nuclei = [shape_at(place) for place in range(0, len(centers()), 2)]
    seen = [("oval", tissue), *(("round", shape) for shape in nuclei)]
    drawn = [("oval", tissue), *(("round", shape) for shape in nuclei[1:])]
    (one,) = audited(tmp_path, [write_slide(tmp_path, "s", drawn, seen)]).to_dict("records")
    assert (one["kind"], one["class"]) == ("not outlined", "round")


def test_a_source_whose_outlines_are_moved_or_larger_is_told(tmp_path):
    moved = [(name, translate(shape, 4, -3)) for name, shape in right_ones()]
    larger = [(name, shapely.affinity.scale(shape, 1.2, 1.2)) for name, shape in right_ones()]
    rows = [
        write_slide(tmp_path, name, drawn).model_copy(update={"source": name})
        for name, drawn in (("moved", moved), ("larger", larger), ("right", right_ones()))
    ]
    audited(tmp_path, rows)
    table = pd.read_csv(tmp_path / "audit" / "sources.csv", keep_default_na=False).set_index(["source", "class"])
    assert table.loc[("moved", "round"), "verdict"] == (
        "lie 4.0 pixels to the right of and 3.0 pixels above what the networks see"
    )
    assert table.loc[("moved", "round"), ["right", "down"]].tolist() == pytest.approx([4, -3], abs=0.3)
    assert table.loc[("larger", "oval"), "verdict"].startswith("have 1.4")
    assert table.loc[("right", "round"), "verdict"] == ""


def test_the_same_gives_the_same_bytes(tmp_path):
    rows = [write_slide(tmp_path, "s", right_ones()[1:])]
    audited(tmp_path, rows)
    files = {path.name: path.read_bytes() for path in (tmp_path / "audit").iterdir()}
    assert len(files) == 4
    (tmp_path / "audit").rename(tmp_path / "before")
    audited(tmp_path, rows)
    assert {path.name: path.read_bytes() for path in (tmp_path / "audit").iterdir()} == files


def test_ignored_pixels_neither_contradict_nor_lack_an_outline(tmp_path):
    drawn = right_ones()
    drawn[10] = ("round", translate(drawn[10][1], PITCH / 2, PITCH / 2))
    ignored = [drawn[10][1].buffer(2), shape_at(10).buffer(2)]
    assert audited(tmp_path, [write_slide(tmp_path, "s", drawn, ignored=ignored)]).empty


def test_crumbs_are_no_objects_that_somebody_forgot(tmp_path):
    seen = [*right_ones(), ("round", shapely.Point(60, 60).buffer(5))]
    row = write_slide(tmp_path, "s", right_ones(), seen)
    assert audited(tmp_path, [row]).empty
    table = audited(tmp_path, [row], score=0.1)
    (one,) = table[table["kind"] == "not outlined"].to_dict("records")
    assert one["score"] == pytest.approx((DOUBT * 25 / RADIUS**2) ** 0.5, rel=0.08)


def test_where_networks_know_a_slide_badly_what_they_contradict_stands_behind(tmp_path):
    drawn = right_ones()
    rows = [
        write_slide(tmp_path, "badly", drawn, [one for place, one in enumerate(drawn) if place % 3]),
        write_slide(tmp_path, "well", drawn, drawn[:9] + drawn[10:]),
    ]
    table = audited(tmp_path, rows)
    assert table["slide"].tolist() == ["well"] + ["badly"] * (len(drawn) - len(drawn) * 2 // 3)
    first, second = table.iloc[0], table.iloc[1]
    assert first["score"] == pytest.approx(second["score"], abs=0.02)
    badly = table[table["slide"] == "badly"]
    agreement = 1 - badly["score"].sum() / len(drawn)  # all others are seen as surely as here anything is
    assert second["suspicion"] / second["score"] == pytest.approx(agreement, abs=0.15)
    assert first["suspicion"] / first["score"] > second["suspicion"] / second["score"] + 0.2


def test_what_is_drawn_twice_needs_no_network(tmp_path):
    drawn = right_ones()
    row = write_slide(tmp_path, "s", [*drawn, drawn[4]], drawn[: len(drawn) // 2])
    first = audited(tmp_path, [row]).iloc[0]
    assert (first["kind"], first["suspicion"]) == ("duplicate", first["score"])


def test_what_is_less_suspect_than_the_config_asks_for_is_left_out(tmp_path):
    row = write_slide(tmp_path, "s", right_ones()[1:])
    assert len(audited(tmp_path, [row], score=0.7)) == 1
    assert audited(tmp_path, [row], score=0.9).empty


def test_beliefs_count_in_units_of_what_is_usual_for_a_class():
    seen, usual = np.array([[0.3, 0.2], [0.3, 0.2]]), np.array([0.9, 0.2])
    score, instead = misnamed(seen, np.array([0, 1]), usual)
    assert score.tolist() == pytest.approx([(1 - 1 / 3) / (1 + 1 / 3), 0])
    assert instead.tolist() == [1, 0]
    assert misnamed(np.zeros((1, 2)), np.array([0]), usual)[0].tolist() == [0]


@pytest.mark.parametrize(("rows", "score"), [(4, 0.6**0.5), (5, 0.5**0.5), (6, 0.0)])
def test_an_object_of_which_half_is_outlined_is_outlined(rows, score):
    free = 100 - 10 * rows
    assert unclaimed(np.array([100]), np.array([free]), np.array([[free]]), 50.0) == pytest.approx(score)


@pytest.mark.parametrize(
    ("count", "moves", "told"),
    [
        (20, [4.0], True),
        (19, [4.0], False),
        (20, [0.9], False),
        (60, [-90, 4.0, 98], False),
        (60, [3.5, 4.0, 4.5], True),
    ],
)
def test_an_offset_is_told_where_it_is_sure_and_matters(count, moves, told):
    right = np.resize(moves, count)
    pairs = {"source": "one", "class": "round", "right": right, "down": 0.0, "outlined": 100.0, "predicted": 100}
    (verdict,) = source_offsets(pd.DataFrame(pairs))["verdict"]
    assert bool(verdict) == told


def test_a_slide_on_which_nothing_is_outlined_lacks_all(tmp_path):
    rows = [write_slide(tmp_path, "empty", []), write_slide(tmp_path, "full", right_ones())]
    table = audited(tmp_path, rows, score=0.1)
    assert set(table.loc[table["slide"] == "empty", "kind"]) == {"not outlined"}
    assert (table["slide"] == "empty").sum() == len(right_ones())


def test_a_slide_on_which_nothing_is_outlined_nor_seen_is_no_suspect(tmp_path):
    nothing = [("round", shapely.Point(500, 500).buffer(1))]
    assert audited(tmp_path, [write_slide(tmp_path, "empty", [], nothing)]).empty
    assert (tmp_path / "audit" / "sources.csv").read_text().startswith("source,class,")


def crowded():
    """What is drawn, seen and ignored where outlines and objects of all heights lie side by side and in each other."""
    drawn = right_ones()
    for place, spoil in SPOILT.values():
        drawn[place] = spoil(*drawn[place])
    tall = [("round", shapely.box(2, 5, 8, EDGE - 5)), ("oval", shapely.box(0, 0, EDGE, 3 * PITCH).buffer(-2))]
    seen = [*right_ones()[1:], ("oval", shapely.box(470, 10, 476, EDGE)), tall[1]]
    ignored = [shape_at(3).buffer(2), shapely.box(200, 300, 260, 420)]
    return [*drawn, *tall, *tall[:1], ("oval", translate(drawn[7][1], 0.5, 0.2))], seen, ignored


def test_the_height_of_strips_changes_no_byte(tmp_path, monkeypatch):
    drawn, seen, ignored = crowded()
    row = write_slide(tmp_path, "s", drawn, seen, ignored=ignored)
    monkeypatch.setattr(beliefs, "BLOCK", 8)
    found = []
    for blocks in (1, 2, 3, 100):
        monkeypatch.setattr(inspection, "BLOCKS", blocks)
        audited(tmp_path, [row], score=0.01)
        (tmp_path / "audit").rename(tmp_path / f"audit{blocks}")
        found.append({path.name: path.read_bytes() for path in (tmp_path / f"audit{blocks}").iterdir()})
    table = pd.read_csv(tmp_path / "audit1" / "suspects.csv")
    assert set(table["kind"]) == {*SPOILT, "not outlined", "duplicate"} - {"other class"}
    assert all(each == found[-1] for each in found)


def test_memory_does_not_grow_with_the_height_of_a_slide(tmp_path, monkeypatch):
    """But for some numbers of each outline, of which there are few, with many rows of pixels each."""
    monkeypatch.setattr(beliefs, "BLOCK", 32)
    for module, name in ((strips, "BLOCK"), (outlines, "TOGETHER"), (audit_module, "TOGETHER"), (shelf, "ROWS")):
        monkeypatch.setattr(module, name, 64)
    bars = [(CLASSES[x // 12 % 2], shapely.box(x, 10, x + 9, EDGE - 10)) for x in range(0, EDGE, 12)]
    most = []
    for high in (2, 2, 8):  # what is loaded once is no matter of the second
        drawn = [(name, translate(shape, 0, EDGE * part)) for part in range(high) for name, shape in bars]
        row = write_slide(tmp_path, f"{len(most)}", drawn[1:], drawn, high=high)
        tracemalloc.start()
        try:
            audited(tmp_path, [row])
            most.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        (tmp_path / "audit").rename(tmp_path / f"audit{len(most)}")
    assert most[2] < 1.5 * most[1]
