"""COCO files whose numbers do not fit together: mended where that is certain, else told or refused."""

import json

import pytest
from reading import SIZE, findings, outline_refusal, read_outlines

SQUARE = [[2, 2, 6, 2, 6, 6, 2, 6]]
IMAGES = [{"id": 1, "file_name": "s.png"}, {"id": 2, "file_name": "t.png"}]
CATEGORIES = [{"id": 1, "name": "a"}]


def coco(tmp_path, *image_ids, images=IMAGES, categories=CATEGORIES, category=1):
    path = tmp_path / "c.json"
    annotations = [{"image_id": one, "category_id": category, "segmentation": SQUARE} for one in image_ids]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.mark.parametrize("image_id", [1, 1.0, "1", "s.png"])
def test_an_image_may_be_named_by_its_id_in_any_type_or_by_its_file(tmp_path, image_id):
    (one,) = read_outlines(coco(tmp_path, image_id)).annotations
    assert (one.label, one.geometry.area) == ("a", 16)


@pytest.mark.parametrize("category", [1, 1.0, "1"])
def test_a_category_may_be_named_in_any_type(tmp_path, category):
    assert [one.label for one in read_outlines(coco(tmp_path, 1, category=category)).annotations] == ["a"]


def test_annotations_of_images_that_are_not_there_are_told(tmp_path):
    outlines = read_outlines(coco(tmp_path, 1, 99, 99, "x.png"))
    assert len(outlines.annotations) == 1
    (told,) = findings(outlines, "noticed")
    assert 'of its annotations are of images that it does not have (id "99", "x.png"): not drawn.' in told
    assert told.startswith("3 ")


def test_where_all_annotations_are_of_images_that_are_not_there_none_can_be_used(tmp_path):
    outlines = read_outlines(coco(tmp_path, 98, 99))
    assert outlines.annotations == ()
    assert findings(outlines, "unusable") == [
        f'is of the image with the id "{image}", which no image of the file has.' for image in (98, 99)
    ]


def test_two_categories_of_one_id_are_refused_and_one_that_is_there_twice_is_not(tmp_path):
    two = [*CATEGORIES, {"id": 1.0, "name": "b"}]
    assert 'the categories "a" and "b" have the same id 1' in outline_refusal(coco(tmp_path, 1, categories=two))
    assert len(read_outlines(coco(tmp_path, 1, categories=CATEGORIES * 2)).annotations) == 1


def test_a_category_that_is_not_there_is_no_reason_to_take_the_default_label(tmp_path):
    outlines = read_outlines(coco(tmp_path, 1, category=7), unlabelled="a")
    assert findings(outlines, "unusable") == ["has a category that the file does not name."]
    assert len(read_outlines(coco(tmp_path, 1, categories=[]), unlabelled="a").annotations) == 1


@pytest.mark.parametrize("write", [int, float, str])
def test_sizes_may_be_numbers_or_text(tmp_path, write):
    images = [{"id": 1, "file_name": "s.png", "width": write(SIZE[0]), "height": write(SIZE[1])}]
    assert len(read_outlines(coco(tmp_path, 1, images=images)).annotations) == 1
    images[0]["width"] = write(SIZE[0] + 1)
    assert f"is {SIZE[0] + 1} x {SIZE[1]} here, but {SIZE[0]} x {SIZE[1]} pixels" in outline_refusal(
        coco(tmp_path, 1, images=images)
    )
