from unicodedata import normalize

import pytest

from tilewright.project.rows import COLUMNS, Region
from tilewright.project.sheetfile import examine_sheet, missing_files, read_sheet
from tilewright.runtime.errors import UserError

HEADER = "slide,image,annotations,role,group,shard,source,labelled,mpp,region,white"
CLASSES = ["gland", "vessel"]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "a.geojson", "B-12.geojson"):
        (tmp_path / name).touch()
    return tmp_path


def read(folder, *lines, header=HEADER, name="slides.csv", classes=CLASSES):
    (folder / name).write_text("\n".join((header, *lines)) + "\n")
    return read_sheet(folder / name, [folder], classes)


def problems(folder, *lines, header=HEADER):
    (folder / "slides.csv").write_text("\n".join((header, *lines)) + "\n")
    sheet, found = examine_sheet(folder / "slides.csv", [folder], CLASSES)
    found += missing_files(sheet, [folder])
    return [str(problem).replace(f"{folder}/", "") for problem in found]


def test_only_slide_and_image_are_needed_and_the_rest_has_defaults(folder):
    (row,) = read(folder, "a,a.png,test", header="slide,image,role")
    assert (row.group, row.shard, row.source, row.mpp, row.region) == ("a", "a", "all", None, None)
    assert list(row.labelled) == CLASSES
    assert row.image == folder / "a.png"
    assert row.annotations is None


@pytest.mark.parametrize(("stored", "written"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_letters_in_two_parts_on_disk_are_the_same_letters(folder, stored, written):
    there, here = (normalize(form, "Gefäß/é 1.png") for form in (stored, written))
    (folder / there).parent.mkdir()
    (folder / there).touch()
    (row,) = read(folder, f"a,{here},test", header="slide,image,role")
    assert row.image == folder / there
    assert row.image.is_file()
    (told,) = problems(folder, f"a,{here.replace('1', '2')},test", header="slide,image,role")
    assert "not found" in told


def test_a_row_is_read_as_it_stands(folder):
    (row,) = read(folder, 'a,a.png,a.geojson,external,p1,s1,scanner,gland;vessel,0.5,"1,2,30,40"')
    assert (row.role, row.group, row.shard, row.source) == ("external", "p1", "s1", "scanner")
    assert row.labelled == ("gland", "vessel")
    assert row.mpp == 0.5
    assert row.region == Region(1, 2, 30, 40)


def test_tabs_bom_and_spaces_do_no_harm(folder):
    (folder / "slides.tsv").write_text("﻿slide\timage \trole\n a\ta.png\ttest \n\n", encoding="utf-8")
    (row,) = read_sheet(folder / "slides.tsv", [folder], CLASSES)
    assert (row.slide, row.role, row.number) == ("a", "test", 2)


def test_labelled_none_means_no_class_and_empty_means_all(folder):
    none, every = read(folder, "a,a.png,a.geojson,,,,,none", "b,b.png,a.geojson")
    assert none.labelled == ()
    assert list(every.labelled) == CLASSES


def test_other_columns_are_kept(folder):
    (row,) = read(folder, "a,a.png,test,female", header="slide,image,role,sex")
    assert row.column("sex") == "female"
    assert row.has_column("sex")
    assert not row.has_column("age")


@pytest.mark.parametrize("name", ["number", "column", "copy", "model_config", "0", "a b"])
def test_other_columns_may_have_any_name(folder, name):
    (row,) = read(folder, "a,a.png,test,7", header=f"slide,image,role,{name}")
    assert row.column(name) == "7"
    assert row.number == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a/b,a.png,,test", 'slide "a/b" is not a valid name.'),
        ("../a,a.png,,test", 'slide "../a" is not a valid name.'),
        ("-a,a.png,,test", 'slide "-a" is not a valid name.'),
        ("a,,,test", "image is empty."),
        ("a,c.png,,test", 'image "c.png" not found.'),
        ("a,a.png,B12.geojson", "Nearest file there: B-12.geojson"),
        ("a,a.png,,tset", 'role "tset" is unknown.\n  Did you mean "test"?'),
        ("a,a.png", "a slide with the role train needs annotations."),
        ("a,a.png,a.geojson,,,s;1", 'shard "s;1" is not a valid name.'),
        ("a,a.png,a.geojson,,,,,glands", 'labelled: "glands" is no class of the config.\n  Did you mean "gland"?'),
        ("a,a.png,a.geojson,,,,,,wide", 'mpp "wide" is no pixel size.'),
        ("a,a.png,a.geojson,,,,,,0", 'mpp "0" is no pixel size.'),
        ('a,a.png,a.geojson,,,,,,,"1,2,3"', 'region "1,2,3" is no rectangle.'),
        ('a,a.png,a.geojson,,,,,,,"-1,2,3,4"', 'region "-1,2,3,4" is no rectangle.'),
        ('a,a.png,a.geojson,,,,,,,"1,2,0,4"', 'region "1,2,0,4" is no rectangle.'),
        ('a,a.png,a.geojson,,,,,,,"1,2,00,4"', 'region "1,2,00,4" is no rectangle.'),
        ('a,a.png,a.geojson,,,,,,,"1,2,²,4"', 'region "1,2,²,4" is no rectangle.'),
        ("a,a.png,a.geojson,,,,,,,1,2,3,4", "A value that holds commas needs quotes."),
    ],
)
def test_a_problem_of_a_row_names_the_row_and_the_slide(folder, line, says):
    found = problems(folder, line)
    assert any(says in text for text in found), found
    assert all(text.startswith(f"slides.csv, row 2 (slide {line.split(',')[0]}): ") for text in found)


def test_all_problems_of_all_rows_are_told_at_once(folder):
    lines = ("a,x.png,,tset,,,,,0", "b,b.png,,test", "c,y.png,,test")
    assert [text.split(":")[0] for text in problems(folder, *lines)] == [
        *["slides.csv, row 2 (slide a)"] * 3,
        "slides.csv, row 4 (slide c)",
    ]


def test_names_that_differ_in_case_only_are_one_name(folder):
    (text,) = problems(folder, "a,a.png,,test", "A,b.png,,test")
    assert text.startswith('slides.csv, row 3 (slide A): slide "A" is named in row 2 already.')


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("b,b.png,,test,p2,s", 'shard "s" has the group "p2" here and "p1" in row 2.'),
        ("b,b.png,a.geojson,train,p1,s", 'shard "s" has the role "train" here and "test" in row 2.'),
    ],
)
def test_a_shard_that_mixes_groups_or_roles_is_refused(folder, line, says):
    (text,) = problems(folder, "a,a.png,,test,p1,s", line)
    assert says in text


@pytest.mark.parametrize(("text", "says"), [("", "missing"), ("slide\na\n", "image"), (f"{HEADER}\n", "no rows")])
def test_a_sheet_without_columns_or_rows_is_refused(folder, text, says):
    (folder / "slides.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        read_sheet(folder / "slides.csv", [folder], CLASSES)


def test_a_missing_sheet_says_how_to_write_one(folder):
    with pytest.raises(UserError, match="tilewright sheet"):
        read_sheet(folder / "none.csv", [folder], CLASSES)


def test_missing_files_are_told_and_stop_no_other_row(folder):
    (folder / "slides.csv").write_text("slide,image,annotations,role\na,a.png,none.geojson,train\nb,none.png,,test\n")
    sheet = read_sheet(folder / "slides.csv", [folder / "data", folder], CLASSES)
    first, second = sheet
    assert sheet.files([first, second], "image") == [str(folder / "a.png"), str(folder / "none.png")]
    assert sheet.absent == {str(folder / "none.png"), str(folder / "none.geojson")}
    assert second.image == folder / "none.png", "where the other images lie"
    assert first.annotations == folder / "none.geojson"
    told = [str(problem) for problem in missing_files(sheet, [folder / "data", folder])]
    assert 'slides.csv, row 2 (slide a): annotations "none.geojson" not found.' in told[0]
    assert 'slides.csv, row 3 (slide b): image "none.png" not found.' in told[1]
    assert f"Looked in {folder}/data/ and in {folder}/." in told[1]


def test_a_sheet_none_of_whose_images_is_there_is_refused(folder):
    with pytest.raises(UserError, match="not one of its images was found"):
        read(folder, "a,x.png,,test", "b,y.png,,test")


def test_the_columns_are_those_of_the_model(folder):
    assert set(HEADER.split(",")) | {"anatomy", "corrections"} == set(COLUMNS)


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("white", "255.0", 255), ("mpp", "NaN", None), ("mpp", "n/a", None), ("mpp", '"0,5"', 0.5),
        ("group", "patient 1", "patient 1"), ("group", "Müller", "Müller"),
    ],
)  # fmt: skip
def test_values_as_tables_and_people_write_them(folder, column, text, value):
    (row,) = read(folder, f"a,a.png,test,{text}", header=f"slide,image,role,{column}")
    assert getattr(row, column) == value


def test_the_divider_of_classes_and_variables_that_are_not_set_are_told(folder, monkeypatch):
    monkeypatch.delenv("NOPE", raising=False)
    found = problems(folder, 'a,a.png,test,"gland,vessel"', "b,$NOPE/b.png,test,", header="slide,image,role,labelled")
    assert 'Separate classes by a semicolon: "gland;vessel".' in found[0]
    assert "The variable $NOPE is not set. Looked in " in found[1]
