"""Which columns of a table of run lengths are ids and classes: certain, or told."""

import pytest
from reading import SIZE, findings, outline_refusal, read_outlines

from tilewright.project.naming import Identity


def table(tmp_path, header, *rows):
    path = tmp_path / "r.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def lines_of(path, slide="1", image="1.png"):
    outlines = read_outlines(path, Identity(slide, path.parent / image), unlabelled="a")
    return [one.origin.split(",")[0] for one in outlines.annotations]


@pytest.mark.parametrize("name", ["ImageId", "image_id", "image", "Image Id", "file_name", "filename", "img-name"])
@pytest.mark.parametrize("first", ["id", "Id"])
def test_a_column_of_images_is_surer_than_one_that_numbers_rows(tmp_path, first, name):
    path = table(tmp_path, f"{first},{name},EncodedPixels", "1,other.png,1 3", "2,1.png,900 3")
    assert lines_of(path) == ["row 3"]
    assert lines_of(table(tmp_path, f"{name},{first},rle", "other.png,0,1 3", "1.png,1,900 3")) == ["row 3"]


def test_file_names_are_surer_than_numbers_of_images(tmp_path):
    path = table(tmp_path, "image_id,file_name,rle", "40,other.png,1 3", "17,1.png,900 3")
    assert lines_of(path) == ["row 3"]


@pytest.mark.parametrize("own", ["1.png", "b.png"])
def test_two_columns_that_could_both_mean_a_slide_are_refused(tmp_path, own):
    path = table(tmp_path, "id,ImageId,rle", "7,a.png,1 3", "1,c.png,50 3", f"9,{own},900 3")
    row = "row 4" if own == "1.png" else "no row"
    told = f'the column "ImageId" gives slide 1 {row}, the column "id" row 3.'
    assert told in outline_refusal(path, Identity("1", tmp_path / "1.png"), unlabelled="a")


def test_two_columns_of_the_same_slides_are_certain(tmp_path):
    path = table(tmp_path, "slide,file_name,rle", "1,1.png,1 3", "2,2.png,900 3", "1,1.png,300 3")
    assert lines_of(path) == ["row 2", "row 4"]


@pytest.mark.parametrize(
    "name",
    ["ClassId", "class_id", "Class", "class name", "label_id", "LabelName", "category", "Category_ID", "cell type"],
)
def test_columns_of_classes_are_known(tmp_path, name):
    path = table(tmp_path, f"ImageId,{name},rle", "s,a,1 3", "s,b,900 3")
    assert [one.label for one in read_outlines(path, unlabelled="c").annotations] == ["a", "b"]


def test_a_name_of_a_class_is_surer_than_its_number(tmp_path):
    path = table(tmp_path, "id,class_id,class_name,rle", "s,1,tumor,1 3")
    assert [one.label for one in read_outlines(path).annotations] == ["tumor"]


@pytest.mark.parametrize("name", ["my_class_v2", "nucleus label", "Klasse"])
def test_a_column_that_may_be_the_class_and_is_not_read_is_named(tmp_path, name):
    path = table(tmp_path, f"id,{name},rle", "s,a,1 3", "s,b,900 3")
    (told,) = findings(read_outlines(path, unlabelled="c"), "noticed")
    assert f'"{name}" may be it, and is not read' in told


def test_columns_that_say_something_of_whole_images_are_no_classes(tmp_path):
    path = table(tmp_path, "id,organ,age,rle", "s,kidney,70,1 3", "t,lung,40,900 3", "s,kidney,70,1500 3")
    assert read_outlines(path, unlabelled="c").findings == ()
    rows = (f"s,{area},{area * 10} 3" for area in range(1, 40))
    assert read_outlines(table(tmp_path, "id,area,rle", *rows), size=SIZE, unlabelled="c").findings == ()
