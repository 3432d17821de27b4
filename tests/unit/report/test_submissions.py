"""A submission over the slides of a viewer: what its file says is what is seen, whatever its form, and what is wrong
with it is told."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from viewing import ENSEMBLE, make_results, viewer

from tilewright import encode_rle
from tilewright.cli import main
from tilewright.pixels.components import components_of, groups
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import open_raster
from tilewright.pixels.runs import Runs
from tilewright.project.places import mask_file, segment_file
from tilewright.report.viewer import submission
from tilewright.report.viewer.submission import read_submission
from tilewright.report.viewer.submissionmask import draw_submitted
from tilewright.runtime.errors import UserError

HEIGHT, WIDTH = 112, 144
CLASSES = ("gland", "vessel")


@pytest.fixture(scope="module")
def results(tmp_path_factory, new_project):
    return make_results(new_project(tmp_path_factory.mktemp("submitted") / "project"))


@pytest.fixture(scope="module")
def masks(results):
    """What was found of each class on t1, by name: bool[rows, columns]."""
    with open_raster(segment_file(results / "segments" / ENSEMBLE / "t", "t1")) as raster:
        found = raster.read()[0]
        return {name: found >> raster.classes.index(name) & 1 > 0 for name in CLASSES}


def parts(mask):
    """The connected parts of a mask, each as one."""
    runs = Runs.from_mask(mask)
    order, first = groups(components_of(runs))
    return [runs.take(np.sort(members)).to_mask() for members in np.split(order, first[1:])]


def by_slides(masks, dialect="column_major"):
    return [f"t1,{name},{encode_rle(mask, dialect)}" for name, mask in masks.items()]


def by_objects(masks, dialect="column_major"):
    return [f"t1,{encode_rle(part, dialect)},{name}" for name, mask in masks.items() for part in parts(mask)]


def by_words(masks):
    words = [
        f"{number} 0.{number + 5} {encode_rle(part, 'coco')}"
        for number, mask in enumerate(masks.values()) for part in parts(mask)
    ]  # fmt: skip
    return [f"t1,{HEIGHT},{WIDTH},{' '.join(words)}"]


FORMS = {
    "a row a class": ("id,class,predicted", by_slides, ()),
    "a row a class, COCO's code": ("id,class,rle", lambda masks: by_slides(masks, "coco"), ()),
    "a row an object, along the rows": (
        "ImageId,annotation,ClassId", lambda masks: by_objects(masks, "row_major"), ("--rle-order", "row_major"),
    ),
    "a row of words": ("id,height,width,prediction_string", by_words, ("--classes", *CLASSES)),
}  # fmt: skip


def write(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_what_a_file_says_is_what_is_seen(results, masks, tmp_path, form):
    header, rows, options = FORMS[form]
    path = write(tmp_path / "mine.csv", header, rows(masks))
    expected = sum(mask.astype(int) << place for place, mask in enumerate(masks.values()))
    with viewer(results, "--submission", path, *options, log=tmp_path / "log") as seen:
        about = seen.json("0/t1/about.json")
        assert about["sets"][-1] == {
            "name": "mine.csv", "segments": True, "probabilities": False, "thresholds": {}, "dice": {},
            "submission": True,
        }  # fmt: skip
        assert seen.json("0/t1/told.json?set=mine.csv") == {"told": []}
        for number, name in enumerate(CLASSES):
            tile = seen.grey(f"0/t1/prediction/0/0/0.png?set=mine.csv&class={name}")[:HEIGHT, :WIDTH]
            assert ((tile > 0) == (expected >> number & 1)).all()
        with open_raster(mask_file(results / "masks" / "t", "t1")) as raster:
            truth = raster.read()[0] >> raster.classes.index("gland") & 1 > 0
        tile = seen.grey("0/t1/difference/0/0/0.png?set=mine.csv&class=gland")[:HEIGHT, :WIDTH]
        assert ((tile == 2) == (truth & ~masks["gland"])).all()
        assert ((tile == 3) == (masks["gland"] & ~truth)).all()
        check_objects(seen, masks, has_confidence="words" in form)


def check_objects(seen, masks, *, has_confidence):
    """The list leads to the objects, and a click tells of one."""
    areas = {name: sorted(int(part.sum()) for part in parts(mask)) for name, mask in masks.items()}
    listed = seen.json("0/t1/listed.json?set=mine.csv")
    assert listed["count"] == sum(map(len, areas.values()))
    outlined = seen.json(f"0/t1/outlines.json?box=0,0,{WIDTH},{HEIGHT}&kind=predicted&set=mine.csv")["objects"]
    assert {name: sorted(one["area"] for one in outlined if one["class"] == name) for name in CLASSES} == areas
    known = seen.json(f"0/t1/listed.json?set={ENSEMBLE}&order=unsure")["objects"]
    assert sorted(one["box"] for one in listed["objects"]) == sorted(one["box"] for one in known)
    for one in listed["objects"]:
        x, y = one["at"]
        here = seen.json(f"0/t1/at.json?x={x}&y={y}&set=mine.csv&class={one['class']}")["predicted"]
        assert here["box"] == one["box"]
    confidence = [one["confidence"] for one in listed["objects"]]
    assert set(confidence) == ({0.5, 0.6} if has_confidence else {None})
    if not has_confidence:
        area = {tuple(one["box"]): one["area"] for one in outlined}
        listed_areas = [area[tuple(one["box"])] for one in listed["objects"]]
        assert listed_areas == sorted(listed_areas, reverse=True)
    largest = max(outlined, key=lambda one: one["area"])
    rows, columns = np.nonzero(next(part for part in parts(masks[largest["class"]]) if part.sum() == largest["area"]))
    x, y = columns[len(columns) // 2] + 0.5, rows[len(rows) // 2] + 0.5
    here = seen.json(f"0/t1/at.json?x={x}&y={y}&set=mine.csv")
    assert here["predicted"] == largest
    own = seen.json(f"0/t1/at.json?x={x}&y={y}&set={ENSEMBLE}")
    assert here["overlap"] == own["overlap"] != None  # noqa: E711


@pytest.mark.parametrize("stated", ["whole image", "used part"])
def test_pixels_are_those_of_the_whole_image_or_of_the_used_part_as_the_row_says(tmp_path, stated):
    pixels = np.random.default_rng(5).random((30, 40)) < 0.3
    part = pixels[5:20, 10:30]
    code, size = (encode_rle(pixels), "30,40") if stated == "whole image" else (encode_rle(part), "15,20")
    path = write(tmp_path / "mine.csv", "id,rle,height,width", [f"part,{code},{size}"])
    found = read_submission(path, tmp_path, ["gland"], [], "column_major")
    frame = Frame(10, 5, 20, 15, image=Size(40, 30))
    drawn = draw_submitted(found, "part", "part", frame, ["gland"], tmp_path)
    assert drawn.problems == []
    with open_raster(segment_file(tmp_path, "part")) as raster:
        assert ((raster.read()[0] > 0) == part).all()
        assert Frame.of(raster) == frame


def test_rows_that_are_wrong_are_told_and_the_others_seen(results, masks, tmp_path):
    good = encode_rle(masks["gland"])
    first, *_ = parts(masks["vessel"])
    rows = [
        f"t1,gland,{good},,",
        f"t1,vessel,{encode_rle(first)},112,144",
        "t1,vessel,5 10 7,,",
        f"t1,vessel,{HEIGHT * WIDTH - 3} 10,,",
        "t1,vessel,-4 10,,",
        "t1,vessel,1 2 x,,",
        "t1,vessel,9 3,500,144",
        f"t1,vessel,{encode_rle(first)},,",
        "t1,vessel,,,",
        "nobody,gland,1 5,,",
    ]
    path = write(tmp_path / "mine.csv", "id,class,rle,height,width", rows)
    with viewer(results, "--submission", path, log=tmp_path / "log") as seen:
        told = seen.json("0/t1/told.json?set=mine.csv")["told"]
        assert [one["where"] for one in told] == [f"{path}, row {row} (slide t1)" for row in (4, 5, 6, 7, 8, 9)]
        words = ["odd count", "beyond", "starts at -4", '"x"', "the height is 500", "is row 3 again"]
        assert [word in one["what"] for word, one in zip(words, told, strict=True)] == [True] * 6, told
        assert all(one["remedy"] for one in told)
        tile = seen.grey("0/t1/prediction/0/0/0.png?set=mine.csv&class=vessel")[:HEIGHT, :WIDTH]
        assert ((tile > 0) == first).all()
        tile = seen.grey("0/t1/prediction/0/0/0.png?set=mine.csv&class=gland")[:HEIGHT, :WIDTH]
        assert ((tile > 0) == masks["gland"]).all()
        assert seen.json("0/t2/about.json")["sets"][-1]["segments"] is False
        (other,) = seen.json("0/t2/told.json?set=mine.csv")["told"]
        assert "does not name slide t2" in other["what"]
        (run,) = seen.json("runs.json")["runs"]
        assert run["told"] == ["mine.csv names 1 id(s) that are no slides of these results: nobody."]
        assert seen.json("0/t2/listed.json?set=mine.csv")["count"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("0 0.5", "not all of an object"),
        ("7 0.5 eJw", "the number of no class"),
        ("0 sure eJw", "no confidence"),
        ("0 1.5 eJwzMAQAASAAkQ==", "no confidence"),
        ("0 0.5 ???", "not base64"),
    ],
)  # fmt: skip
def test_words_that_are_wrong_are_told_by_object(results, tmp_path, words, said):
    code = encode_rle(np.eye(HEIGHT, WIDTH, dtype=bool), "coco")
    rows = [f"t1,{HEIGHT},{WIDTH},0 0.5 {code} {words}", f"t1,{HEIGHT},{WIDTH},0 0.5 {code}"]
    path = write(tmp_path / "mine.csv", "id,height,width,prediction_string", rows)
    with viewer(results, "--submission", path, log=tmp_path / "log") as seen:
        one, second = seen.json("0/t1/told.json?set=mine.csv")["told"]
        assert said in one["what"]
        assert one["where"] == f"{path}, row 2 (slide t1), object 2"
        assert "row 2 is its row" in second["what"]
        assert seen.json("0/t1/listed.json?set=mine.csv")["count"] == 1


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"], ids=repr)
def test_lines_end_in_any_way_wherever_a_part_of_the_file_ends(tmp_path, monkeypatch, end):
    path = tmp_path / "all.csv"
    path.write_bytes(end.join(["id,rle", "t1,1 5", "t2,", "t3,7 2", ""]).encode())
    monkeypatch.setattr("tilewright.annotations.files.HEAD", 4)
    for together in (1, 2, 7, 8, 100):
        monkeypatch.setattr(submission, "TOGETHER", together)
        found = read_submission(path, tmp_path, CLASSES, ["gland"], "column_major")
        assert [(name, line.code) for name in found.places for line in found.lines(name)] == [
            ("t1", "1 5"), ("t2", ""), ("t3", "7 2"),
        ]  # fmt: skip


def test_what_comes_through_a_pipe_comes_whole(tmp_path):
    rows = [f"t{number},{number + 1} 5" for number in range(5000)]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(pipe.write_text, "\n".join(["id,rle", *rows]))
        found = read_submission(pipe, tmp_path, CLASSES, ["gland"], "column_major")
    assert list(found.places) == [row.split(",")[0] for row in rows]


@pytest.mark.parametrize(
    ("label", "meant"), [("1", "vessel"), ("0.0", "gland"), ("GLAND", "gland"), ("2", None), ("9" * 5000, None)]
)
def test_numbers_of_classes_count_from_0(tmp_path, label, meant):
    path = write(tmp_path / "all.csv", "id,class,rle", [f"t1,{label},1 5"])
    if meant:
        assert read_submission(path, tmp_path, CLASSES, [], "column_major").class_of(label) == meant
        return
    with pytest.raises(UserError, match="there is no class") as caught:
        read_submission(path, tmp_path, CLASSES, [], "column_major")
    assert len(str(caught.value)) < 400
    assert ("count from 0: 0 gland, 1 vessel" in str(caught.value)) == (label == "2")


def test_an_id_that_is_a_whole_file_is_told_in_short(results, tmp_path, capsys):
    path = write(tmp_path / "all.csv", "id,rle", ['"t1,1 5', *["t2,1 5"] * 500])
    with pytest.raises(SystemExit):
        main(["view", str(results), "--submission", str(path), "--classes", "gland"])
    assert len(capsys.readouterr().err) < 1000


def test_pixels_of_several_objects_and_a_doubtful_order_are_told(results, masks, tmp_path):
    some = [
        f"t1,{encode_rle(mask, 'row_major')}" for mask in (masks["gland"], masks["gland"] & (np.arange(WIDTH) > 50))
    ]
    path = write(tmp_path / "mine.csv", "id,rle", some)
    with viewer(results, "--submission", path, "--classes", "gland", log=tmp_path / "log") as seen:
        overlap, order = sorted(one["remedy"] for one in seen.json("0/t1/told.json?set=mine.csv")["told"])
        assert "stands there twice" in overlap
        assert order == "Try --rle-order row_major."


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("", (), "no column of run lengths"),
        ("id,rle\n", ("--classes", "gland"), "holds no rows"),
        ("id,text\nt1,1 2\n", (), "no column of run lengths"),
        ("id,rle\nother,1 2\n", ("--classes", "gland"), "names no slide of"),
        ("id,rle\nt1,1 2\n", (), "tells no class, and the run has several: gland, vessel"),
        ("id,class,rle\nt1,bone,1 2\n", (), 'mine.csv, row 2: there is no class "bone"'),
        ("id,rle\nt1,1 2\n", ("--classes", "glands"), 'Did you mean "gland"?'),
        ("PK\x03\x04", (), "is a workbook"),
        ("\x00\x01", (), "no text"),
        (None, (), "cannot be read"),
    ],
)
def test_a_file_that_is_no_submission_is_refused_at_the_start(results, tmp_path, capsys, content, options, said):
    path = tmp_path / "mine.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        main(["view", str(results), "--submission", str(path), *options])
    assert stopped.value.code in (2, 3)
    error = capsys.readouterr().err
    assert said in error
    assert "mine.csv" in error or "--classes" in error
