"""Whose outlines: ids are certain, or refused with both candidates, alike in tables, COCO, JSON lines and GeoJSON."""

import json
import unicodedata
from pathlib import Path

import pytest
from reading import SIZE
from shapely import box

from tilewright.annotations import read_outlines
from tilewright.pixels.grid import Size
from tilewright.project.naming import Identity, Namesake
from tilewright.runtime.errors import AnnotationError


def corners(place):
    """A square of 4 x 4 pixels for each place, none touching another."""
    left = 6 * place
    return [[left, 2], [left + 4, 2], [left + 4, 6], [left, 6], [left, 2]]


def flat(place):
    return [number for point in corners(place)[:-1] for number in point]


def table(path, names):
    numbers = range(len(names))
    codes = (" ".join(f"{(6 * place + x) * SIZE.height + 3} 4" for x in range(4)) for place in numbers)
    rows = (f'"{name}",a,{code}' for name, code in zip(names, codes, strict=True))
    path.write_text("\n".join(["id,class,rle", *rows]) + "\n")


def coco(path, names):
    path.write_text(json.dumps({
        "images": [{"id": 100 + place, "file_name": name} for place, name in enumerate(names)],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"image_id": 100 + place, "category_id": 1, "segmentation": [flat(place)]}
                        for place in range(len(names))],
    }))  # fmt: skip


def lines(path, names):
    path.write_text("".join(
        json.dumps({"id": name, "annotations": [{"type": "a", "coordinates": [corners(place)]}]}) + "\n"
        for place, name in enumerate(names)
    ))  # fmt: skip


def features(path, names):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [corners(place)]},
         "properties": {"classification": "a", "image": name}} for place, name in enumerate(names)
    ]}))  # fmt: skip


FORMATS = {"o.csv": table, "c.json": coco, "l.jsonl": lines, "f.geojson": features}


@pytest.fixture(params=FORMATS)
def found(request, tmp_path):
    """The place of the id, in a file of ids, whose outlines a slide gets; or what is said."""

    def find(names, slide, image=None, *others):
        path = tmp_path / request.param
        FORMATS[request.param](path, names)
        alike = tuple(Namesake(slide=other, image=Path(there)) for other, there in others)
        who = Identity(slide, Path(image) if image else None, alike)
        try:
            (outline,) = read_outlines(path, who, SIZE).annotations
        except AnnotationError as error:
            return str(error)
        (place,) = [place for place in range(len(names)) if outline.geometry.equals(box(*square(place)))]
        return place

    return find


def square(place):
    return (*corners(place)[0], *corners(place)[2])


ACCENT, PARTS = (unicodedata.normalize(form, "é cran.tif") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("names", "slide", "image", "place"),
    [
        (["B/1.png", "A/1.png"], "x", "data/A/1.png", 1),
        (["B\\1.png", "C:\\data\\A\\1.png"], "x", "data/A/1.png", 1),
        (["old/B/1.png", "old/A/1.png"], "x", "data/A/1.png", 1),
        (["old/1.png", "1.png"], "x", "data/1.png", 1),
        (["1.jpg", "1.PNG"], "x", "1.png", 1),
        (["B/1", "A/1"], "x", "data/A/1.png", 1),
        (["2.png", "1.png"], "2", "1.png", 1),
        (["1.jpg", "1.png"], "1", "1.png", 1),
        (["other", "1"], "x", "1.png", 1),
        (["other", "1.jpg"], "x", "1.png", 1),
        (["other", "1.PNG"], "x", "1.png", 1),
        (["other", "s"], "s", "1.png", 1),
        (["other", "images/s.png"], "s", None, 1),
        (["b", "a"], "x", "a.ome.TIFF", 1),
        (["b", "a.ome"], "x", "a.ome.tif", 1),
        (["b", "a.ome.tif"], "a", None, 1),
        (["b.bmp", "a.bmp"], "a", None, 1),
        (["b", "slide 1 (copy).png"], "slide_1__copy_", "slide 1 (copy).png", 1),
        (["b", "slide 1 (copy)"], "slide_1__copy_", None, 1),
        (["b", "50%20[x].png"], "s", "in/50%20[x].png", 1),
        (["組織.png", "切片.png"], "slide_1", "切片.png", 1),
        (["b", "Łódź 1"], "s", "Łódź 1.svs", 1),
        (["b", PARTS], "s", ACCENT, 1),
        (["b", ACCENT], "s", PARTS, 1),
        (["b", "A/1.png"], "A_1", "C/x.png", 1),
        (["b", " s "], "s", None, 1),
        (["a.tif", "a.ome.tif"], "x", "a.ome.tif", 1),
        (["b", "old/train/1.png"], "x", "data/val/1.png", 1),
        (["/mnt/p/B/2.png", "/mnt/p/B/1.png"], "x", "/data/A/1.png", 1),
        (["train/2.png", "val/1.png"], "x", "images/1.png", 1),
        (["images/case 1/1.png", "b"], "x", "case 1/images/1.png", 0),
    ],
)
def test_an_id_means_a_slide_by_path_then_file_name_then_name(found, names, slide, image, place):
    assert found(names, slide, image) == place


@pytest.mark.parametrize(
    ("names", "slide", "image", "others", "told"),
    [
        (["A/1.png", "B/1.png"], "s", "C/1.png", [], ['"A/1.png"', '"B/1.png"', "mean slide s (image C/1.png) alike"]),
        (["A/s.png", "B/s.png"], "s", None, [], ['"A/s.png"', '"B/s.png"', "mean slide s alike"]),
        (["1.png", "b"], "A_1", "A/1.png", [("B_1", "B/1.png")], ['"1.png"', "A/1.png", "slide B_1 (image B/1.png)"]),
        (["Z/1", "b"], "A_1", "A/1.png", [("B_1", "B/1.png")], ['"Z/1"', "slide A_1", "slide B_1"]),
        (["B/1.png", "b"], "A_1", "A/1.png", [("B_1", "B/1.png")], ["holds no outlines of slide A_1 (image A/1.png)"]),
        (["a.svs", "b"], "x", "a.tif", [("y", "a.svs")], ["holds no outlines of slide x"]),
        (["1.png", "1"], "s", "1.png", [], ['"1.png" ', ' "1" ', "mean slide s (image 1.png) alike"]),
        (["1", "2.png"], "1", "2.png", [], ['"1" ', '"2.png" ', "mean slide 1"]),
        (["1.png", "s"], "s", "1.png", [], ['"1.png" ', '"s" ', "mean slide s"]),
        (["A/1.png", "1.png"], "s", "data/A/1.png", [], ['"A/1.png"', '"1.png"', "mean slide s"]),
        (["a", "a.ome.tif"], "x", "a.ome.tif", [], ['"a"', '"a.ome.tif"', "mean slide x"]),
        ([PARTS, ACCENT], "s", ACCENT, [], [PARTS, ACCENT, "mean slide s"]),
        (["1.tif", "1.jpg"], "s", "1.png", [], ['"1.tif"', '"1.jpg"', "mean slide s"]),
        (
            ["B/1.png", "A/2.png"],
            "s",
            "data/A/1.png",
            [],
            ['s (image data/A/1.png), but of "B/1.png"', "another folder"],
        ),
        (["c1/im/1.png", "c2/im/2.png"], "s", "c2/im/1.png", [], ['but of "c1/im/1.png"']),
        (["B/1.png", "B/2.png"], "s", "A/1.png", [("t", "B/2.png")], ['s (image A/1.png), but of "B/1.png"']),
    ],
)
def test_what_is_not_certain_names_both_candidates(found, names, slide, image, others, told):
    said = found(names, slide, image, *others)
    assert [text for text in told if text not in said] == []


def test_a_folder_that_is_called_otherwise_is_told(found, tmp_path):
    assert found(["old/1.png", "old/2.png"], "s", "data/new/1.png") == 0
    (path,) = tmp_path.iterdir()
    (told,) = read_outlines(path, Identity("s", Path("data/new/1.png")), SIZE).findings
    assert told.what == 'its ids name the folder "old" where images lie in "new", and are taken for these.'


@pytest.mark.parametrize(("slide", "image", "place"), [("A_1", "A/1.png", 0), ("B_1", "B/1.png", 1)])
def test_one_file_name_in_two_folders_is_told_apart(found, slide, image, place):
    others = {"A_1": ("A_1", "A/1.png"), "B_1": ("B_1", "B/1.png")}
    del others[slide]
    assert found(["A/1.png", "B/1.png"], slide, image, *others.values()) == place


def test_the_name_of_a_slide_decides_where_names_of_files_do_not(found):
    assert found(["a", "b"], "a", "a.tif", ("a_svs", "a.svs")) == 0


# Numbers of COCO


def coco_of(path, *images):
    path.write_text(json.dumps({
        "images": list(images), "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"image_id": image["id"], "category_id": 1, "segmentation": [flat(place)]}
                        for place, image in enumerate(images)],
    }))  # fmt: skip
    return path


def areas(path, slide, image, *others):
    outlines = read_outlines(path, Identity(slide, Path(image), others), Size(100, 80))
    return [outline.geometry.bounds for outline in outlines.annotations]


def test_the_name_of_a_file_wins_over_a_number(tmp_path):
    """Case 01: tools number images by themselves."""
    path = coco_of(tmp_path / "c.json", {"id": 1, "file_name": "2.png"}, {"id": 2, "file_name": "1.png"})
    assert areas(path, "1", "1.png") == [square(1)]
    assert areas(path, "2", "2.png") == [square(0)]


@pytest.mark.parametrize("image", [{"id": 5}, {"id": 5, "file_name": None}, {"id": 5.0, "file_name": ""}])
def test_a_number_counts_where_there_is_no_file_name(tmp_path, image):
    path = coco_of(tmp_path / "c.json", {"id": 4, "file_name": "x.png"}, image)
    assert areas(path, "5", "here.png") == [square(1)]


@pytest.mark.parametrize("named", ["2.png", "s2.png", "0002.png", "scan.png", "001.png"])
def test_a_number_does_not_count_beside_the_name_of_another_image(tmp_path, named):
    path = coco_of(tmp_path / "c.json", {"id": 1, "file_name": named})
    with pytest.raises(AnnotationError, match=r"holds no outlines of slide 1 \(image s1.png\)"):
        areas(path, "1", "s1.png")


def test_a_number_does_not_count_beside_the_name_of_a_namesake(tmp_path):
    path = coco_of(tmp_path / "c.json", {"id": 1, "file_name": "tumor.png"})
    other = Namesake(slide="2", image=Path("tumor.png"))
    with pytest.raises(AnnotationError, match="holds no outlines of slide 1"):
        areas(path, "1", "stroma.png", other)


def test_images_of_one_name_or_of_one_number_are_refused(tmp_path):
    path = coco_of(tmp_path / "c.json", {"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"})
    with pytest.raises(AnnotationError, match=r'"a.png" \(id 1\) and "a.png" \(id 2\) mean slide a'):
        areas(path, "a", "a.png")
    path = coco_of(tmp_path / "d.json", {"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"})
    with pytest.raises(AnnotationError, match=r'"a.png" \(id 1\) and "b.png" \(id 1\) have the same id'):
        areas(path, "a", "a.png")
    path = coco_of(tmp_path / "e.json", {"id": 1, "file_name": "a.png"})
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"images": document["images"] * 2}))
    assert areas(path, "a", "a.png") == [square(0)]


# GeoJSON


def test_geojson_that_names_no_image_is_the_slide_s(tmp_path):
    features(tmp_path / "f.geojson", ["", ""])
    assert len(read_outlines(tmp_path / "f.geojson", Identity("s", Path("x.png")), SIZE).annotations) == 2


def test_geojson_may_name_its_image_once(tmp_path):
    features(path := tmp_path / "f.geojson", [""])
    path.write_text(json.dumps({"imageName": "s.png", **json.loads(path.read_text())}))
    assert len(read_outlines(path, "s", SIZE).annotations) == 1
    with pytest.raises(AnnotationError, match="holds no outlines of slide t"):
        read_outlines(path, "t", SIZE)


@pytest.mark.parametrize("before", [True, False])
def test_the_image_that_a_file_names_counts_wherever_it_is_said(tmp_path, before):
    features(path := tmp_path / "f.geojson", ["", ""])
    document = json.loads(path.read_text())
    named = {"image": "s.png"}
    path.write_text(json.dumps({**named, **document} if before else {**document, **named}))
    assert len(read_outlines(path, "s", SIZE).annotations) == 2
    with pytest.raises(AnnotationError, match="holds no outlines of slide t"):
        read_outlines(path, "t", SIZE)


def test_a_name_behind_the_features_is_not_that_of_features_with_an_own_one(tmp_path):
    features(path := tmp_path / "f.geojson", ["s.png", "s.png"])
    path.write_text(json.dumps({**json.loads(path.read_text()), "image": "z.png"}))
    assert len(read_outlines(path, "s", SIZE).annotations) == 2


@pytest.mark.parametrize(
    "named",
    [
        {"image": "s.png"},
        {"properties": {"image": "s.png"}},
        {"properties": {"metadata": {"image": "s.png"}}},
        {"properties": {"metadata": '{"Image": "s.png"}'}},
        {"metadata": {"file_name": "s.png"}},
        {"image": {"name": "s.png"}},
    ],
)
@pytest.mark.parametrize("form", ["collection", "list", "listed collection", "feature"])
def test_a_feature_may_name_its_image_in_several_places(tmp_path, named, form):
    features(path := tmp_path / "f.geojson", [""])
    document = json.loads(path.read_text())
    (feature,) = document["features"]
    feature |= {**named, "properties": {"classification": "a", **named.get("properties", {})}}
    forms = {"collection": document, "list": [feature], "listed collection": [document], "feature": feature}
    path.write_text(json.dumps(forms[form]))
    assert len(read_outlines(path, "s", SIZE).annotations) == 1
    with pytest.raises(AnnotationError, match="holds no outlines of slide t"):
        read_outlines(path, "t", SIZE)


# JSON lines


def test_lines_are_known_by_their_id_wherever_it_stands_and_however_it_is_written(tmp_path):
    path = tmp_path / "l.jsonl"
    named = {"type": "a", "coordinates": [corners(0)], "id": "inner"}
    path.write_text(
        '{"id": "broken", "annot\n'
        + json.dumps({"annotations": [named], "id": "切片"})
        + "\n"
        + json.dumps({"id": 7, "annotations": [named]})
    )
    for slide, origin in (("切片", "line 2, annotation 1"), ("7", "line 3, annotation 1")):
        (outline,) = read_outlines(path, Identity(slide), SIZE).annotations
        assert outline.origin == origin
    with pytest.raises(AnnotationError, match="line 1: is not valid JSON"):
        read_outlines(path, "broken", SIZE)
    with pytest.raises(AnnotationError, match="holds no outlines of slide inner"):
        read_outlines(path, "inner", SIZE)
