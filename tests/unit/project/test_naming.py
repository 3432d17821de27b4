"""What images and slides are called: endings, names of slides, and slides that an id might mean as well."""

import re
import unicodedata
from pathlib import Path

import pytest

from tilewright.project.naming import IMAGE_SUFFIXES, MOST, bare_name, namesakes, unique_names
from tilewright.project.rows import NAME, Row

REPOSITORY = Path(__file__).parents[3]


def test_the_documents_list_the_endings_of_images():
    page = (REPOSITORY / "docs/images.md").read_text()
    (told,) = re.findall(r"end with (.*?), in capitals or not", page, re.DOTALL)
    assert re.findall(r"`(\.\w+)`", told) == list(IMAGE_SUFFIXES)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_endings_of_images_are_no_part_of_names(suffix):
    for ending in (suffix, suffix.upper(), f".ome{suffix}", f".OME{suffix}"):
        assert bare_name(f"in/a b.c{ending}") == "a b.c"


@pytest.mark.parametrize("name", ["a.json", "a.1", ".tif", "a.ome"])
def test_other_endings_are_part_of_names(name):
    assert bare_name(name) == name


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["a.tif", "b.ome.tif"], ["a", "b"]),
        (["a b.png", "a_b.png", "c.png"], ["a_b_1", "a_b_2", "c"]),
        (["切片.png", "組織.png"], ["slide_1", "slide_2"]),
        (["A/1.png", "B/1.png"], ["A_1", "B_1"]),
        (["x/A/1.png", "y/A/1.png"], ["x_A_1", "y_A_1"]),
        (["a.svs", "a.tif"], ["a_svs", "a_tif"]),
        (["A.tif", "a.tif"], ["A_1", "a_2"]),
        (["a.tif", "sub/a.tif"], ["a_tif", "sub_a"]),
        ([unicodedata.normalize(form, "é.tif") for form in ("NFC", "NFD")], ["slide_1", "slide_2"]),
    ],
)
def test_names_of_slides_are_unique(images, names):
    found = unique_names([Path(image) for image in images])
    assert found == names
    assert all(NAME.fullmatch(name) for name in found)


def test_names_of_other_slides_are_taken():
    assert unique_names([Path("a.tif"), Path("b.tif")], ["A", "a_tif"]) == ["a_1", "b"]


def rows(*named, file="c.json"):
    return [Row.model_validate({"slide": slide, "image": image, "annotations": file}) for slide, image in named]


def alike(*named):
    return {slide: [one.slide for one in others] for slide, others in namesakes(rows(*named), "annotations").items()}


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ([("a", "a.tif"), ("b", "b.tif")], {}),
        ([("A_1", "A/1.tif"), ("B_1", "B/1.tif")], {"A_1": ["B_1"], "B_1": ["A_1"]}),
        ([("a", "a.tif"), ("b", "a.ome.tif")], {"a": ["b"], "b": ["a"]}),
        ([("1", "2.tif"), ("2", "1.tif")], {"1": ["2"], "2": ["1"]}),
        ([("a_b", "x.tif"), ("y", "a b.tif")], {"a_b": ["y"], "y": ["a_b"]}),
        ([("r1", "a.tif"), ("r2", "a.tif")], {}),
        ([("a", "A/a.tif"), ("b", "A/b.tif"), ("c", "B/c.tif")], {"a": ["c"], "b": ["c"], "c": ["a"]}),
        ([("r1", "a.tif"), ("r2", "a.tif"), ("b", "b/a.tif")], {"r1": ["b"], "r2": ["b"], "b": ["r1", "r2"]}),
    ],
)
def test_namesakes_are_slides_of_one_file_that_an_id_might_mean_alike(named, found):
    assert alike(*named) == found


def test_slides_of_different_files_are_no_namesakes():
    both = rows(("A_1", "A/1.tif")) + rows(("B_1", "B/1.tif"), file="d.json")
    assert namesakes(both, "annotations") == {}


def test_of_a_thousand_images_of_one_name_few_are_told_and_one_more_changes_nothing():
    named = [(f"s{place}", f"s{place}/image.tif") for place in range(1000)]
    before, after = alike(*named), alike(*named, ("new", "new/image.tif"))
    assert {len(others) for others in before.values()} == {MOST}
    assert {slide: after[slide] for slide in before} == before
