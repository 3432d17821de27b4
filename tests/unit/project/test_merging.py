"""A sheet that was corrected stays; what its folder holds by now is added or named."""

import csv
import json
import zipfile
from pathlib import Path

import pytest
from sheeting import image, refusal, rows_of

from tilewright.project.sheet import sheet
from tilewright.runtime.errors import UserError

FEATURES = json.dumps({"type": "FeatureCollection", "features": []})


def folder_of(tmp_path, *names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if ".zip" in name:
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr("__MACOSX/._s.geojson", "")
                archive.writestr("any.geojson", FEATURES)
        elif name.lower().endswith((".tif", ".png")):
            image(tmp_path / name)
        else:
            (tmp_path / name).write_text(FEATURES)
    return tmp_path


def write(tmp_path, capsys, name="slides.csv", layout="qupath", **options):
    """What is said when the sheet is written, without the next step."""
    capsys.readouterr()
    sheet(layout, tmp_path, out=tmp_path / name, **options)
    return capsys.readouterr().err.replace(f"{tmp_path}/", "").replace(str(tmp_path), "DATA").splitlines()[:-1]


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))


def correct(path, change):
    rows = [change(row) for row in read(path)]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# What belongs together


@pytest.mark.parametrize(
    ("picture", "outlines", "slide"),
    [
        ("a.ome.tif", "a.geojson", "a"),
        ("a.ome.tif", "a.ome.geojson", "a"),
        ("a.ome.tif", "a.ome.tif.geojson", "a"),
        ("b.tif", "b.zip", "b"),
        ("b.tif", "annotations/b.geojson.zip", "b"),
        ("c.png", "C.GEOJSON", "c"),
        ("C.TIF", "c.Json", "C"),
        ("images/d 1.png", "d 1.geojson", "d_1"),
        ("切片.png", "切片.geojson", "slide_1"),
    ],
)
def test_outlines_belong_to_the_image_of_their_name(tmp_path, picture, outlines, slide):
    (row,) = rows_of("qupath", folder_of(tmp_path, picture, outlines)).values()
    assert (row.slide, row.role) == (slide, "train")
    assert row.annotations == tmp_path / outlines


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".jp2", ".j2k", ".pgm", ".ppm", ".dcm", ".JP2"])
def test_images_of_every_kind_that_is_read_are_slides(tmp_path, suffix):
    folder_of(tmp_path, "d.geojson", f"d{suffix}")
    assert rows_of("qupath", tmp_path)["d"].role == "train"


def test_case_counts_where_names_are_alike_without(tmp_path):
    folder_of(tmp_path, "a.tif", "A.png", "a.geojson", "A.json")
    found = {row.image.name: row.annotations.name for row in rows_of("qupath", tmp_path).values()}
    assert found == {"a.tif": "a.geojson", "A.png": "A.json"}


def test_outlines_with_the_name_of_two_images_are_refused(tmp_path):
    folder_of(tmp_path, "a.tif", "a.png", "a.geojson")
    assert "a.geojson: has the name of a.png and a.tif." in refusal("qupath", tmp_path)
    (tmp_path / "a.geojson").rename(tmp_path / "a.tif.geojson")
    assert {row.slide: row.role for row in rows_of("qupath", tmp_path).values()} == {"a_tif": "train", "a_png": "test"}


def test_images_of_one_name_in_two_folders_are_slides_of_their_own(tmp_path):
    folder_of(tmp_path, "a.tif", "images/a.tif")
    assert set(rows_of("qupath", tmp_path)) == {"a_tif", "images_a"}


def test_a_slide_of_dicom_is_one_row(tmp_path):
    for name, uid, size in (("1", b"1.2.3\0", 10), ("2", b"1.2.3\0", 20), ("3", b"1.2.4\0", 5)):
        (tmp_path / f"{name}.dcm").write_bytes(b"\x20\0\x0e\0UI\x06\0" + uid + bytes(size))
    assert set(rows_of("qupath", tmp_path)) == {"2", "3"}


# What is left over


def test_what_is_not_used_is_told_and_hidden_files_are_passed_over(tmp_path, capsys):
    folder_of(
        tmp_path, "a.tif", "a.geojson", "b.tif", "x.geojson", "sub/y.zip", "sub/deep/z.png", "sub/q.jsonl", "v.vsi"
    )
    folder_of(tmp_path, "._a.tif", "._x.geojson", ".hidden/h.tif", "sub/.DS_Store", "results/masks/m.tif")
    folder_of(tmp_path, "results/masks/below/n.tif")
    (tmp_path / "results/masks/.tilewright").touch()
    assert write(tmp_path, capsys) == [
        "slides.csv: 2 slide(s), 1 with outlines",
        "DATA: files of outlines without a slide (3): x.geojson, sub/q.jsonl, sub/y.zip",
        "DATA: images that are no slides of the sheet (1): sub/deep/z.png",
        "DATA: images of kinds that are not read, to export as TIFF (1): v.vsi",
    ]
    assert [row["slide"] for row in read(tmp_path / "slides.csv")] == ["a", "b"]


def test_a_zip_of_several_files_of_outlines_is_told(tmp_path, capsys):
    folder_of(tmp_path, "a.tif")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.geojson", "{}")
        archive.writestr("b.geojson", "{}")
    assert "DATA: files of outlines without a slide (1): a.zip" in write(tmp_path, capsys)


def test_a_zip_of_other_things_is_no_file_of_outlines(tmp_path, capsys):
    folder_of(tmp_path, "a.tif")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "")
    assert write(tmp_path, capsys) == ["slides.csv: 1 slide(s), 0 with outlines"]


# A sheet that is there


def test_a_sheet_that_says_something_else_is_not_touched(tmp_path, capsys):
    folder_of(tmp_path, "a.tif")
    write(tmp_path, capsys)
    write(tmp_path, capsys)
    correct(tmp_path / "slides.csv", lambda row: row | {"role": "external"})
    before = (tmp_path / "slides.csv").read_bytes()
    with pytest.raises(
        UserError, match=r"slides.csv: is there and says something else; it was not touched.\n.*--update"
    ):
        sheet("qupath", tmp_path, out=tmp_path / "slides.csv")
    assert (tmp_path / "slides.csv").read_bytes() == before


def test_an_update_adds_slides_and_keeps_what_was_written_by_hand(tmp_path, capsys):
    folder_of(tmp_path, "a.tif", "a.geojson", "b.tif", "gone.tif")
    write(tmp_path, capsys)
    names = {"a": "mine", "b": "new", "gone": "gone"}
    correct(tmp_path / "slides.csv", lambda row: {"note": "x,y", **row, "slide": names[row["slide"]], "mpp": "0.5"})
    kept = read(tmp_path / "slides.csv")
    folder_of(tmp_path, "b.geojson", "new.png", "new.geojson")
    (tmp_path / "gone.tif").unlink()
    assert write(tmp_path, capsys, update=True) == [
        "slides.csv: slides added (1): new_png",
        "slides.csv: slides in the sheet, but their images are gone (1): gone (gone.tif)",
        "slides.csv: slides in the sheet without annotations, though there are some by now; enter them by hand (1): "
        "new (b.geojson)",
        "slides.csv: 4 slide(s), 2 with outlines",
        "DATA: files of outlines without a slide (1): b.geojson",
    ]
    rows = read(tmp_path / "slides.csv")
    assert rows[:3] == kept
    assert next(iter(rows[0])) == "note"
    added = {"slide": "new_png", "image": "new.png", "annotations": "new.geojson", "role": "train"}
    assert {name: value for name, value in rows[3].items() if value} == added
    before = (tmp_path / "slides.csv").stat()
    assert write(tmp_path, capsys, update=True)[2:] == [
        "slides.csv: 4 slide(s), 2 with outlines",
        "DATA: files of outlines without a slide (1): b.geojson",
    ]
    assert (tmp_path / "slides.csv").stat() == before


def test_an_update_writes_a_sheet_that_is_not_there(tmp_path, capsys):
    folder_of(tmp_path, "a.tif")
    assert write(tmp_path, capsys, update=True) == ["slides.csv: 1 slide(s), 0 with outlines"]


def test_an_update_knows_images_by_any_path_that_the_sheet_may_use(tmp_path, capsys, monkeypatch):
    folder_of(tmp_path, *(f"data/{name}.tif" for name in "abcde"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HERE", str(tmp_path))
    Path("slides.csv").write_text(
        f"slide,image\na,{tmp_path}/data/a.tif\nb,data/../data/b.tif\nc,c.tif\nd,~/data/d.tif\ne,$HERE/data/e.tif\n"
        "far,s3://bucket/d.tif\n"
    )
    before = Path("slides.csv").read_text()
    sheet("qupath", Path("data"), out=Path("slides.csv"), update=True)
    assert Path("slides.csv").read_text() == before
    told = capsys.readouterr().err
    assert "gone" not in told
    assert "no slides of the sheet" not in told


def test_an_update_of_a_sheet_with_tabs_keeps_them(tmp_path, capsys):
    folder_of(tmp_path, "a.tif")
    write(tmp_path, capsys, "slides.tsv")
    assert (tmp_path / "slides.tsv").read_text() == "slide\timage\tannotations\trole\na\ta.tif\t\ttest\n"
    folder_of(tmp_path, "b.tif")
    write(tmp_path, capsys, "slides.tsv", update=True)
    assert [row["slide"] for row in read(tmp_path / "slides.tsv")] == ["a", "b"]


def test_an_update_puts_slides_in_the_group_of_their_patient_and_in_shards_of_their_role(kidney, capsys):
    write(kidney, capsys, layout="kidney", per_shard=10)
    correct(kidney / "slides.csv", lambda row: row | {"group": f"g_{row['group']}"})
    old = {row["slide"]: row for row in read(kidney / "slides.csv")}
    for name in ("train/p.tiff", "test/q.tiff", "train/r.tiff", "test/s.tiff"):
        image(kidney / name)
    for name in ("p", "r"):
        (kidney / f"train/{name}.json").write_text("[]")
    table = kidney / "HuBMAP-20-dataset_information.csv"
    table.write_text(table.read_text() + "p.tiff,67347\nq.tiff,67347\n")
    write(kidney, capsys, layout="kidney", per_shard=10, update=True)
    rows = {row["slide"]: row for row in read(kidney / "slides.csv")}
    assert {name: rows[name] for name in old} == old
    assert rows["p"]["group"] == rows["q"]["group"] == old["aaa"]["group"] == old["ccc"]["group"]
    assert rows["p"]["shard"] == old["aaa"]["shard"]
    roles = {}
    for row in rows.values():
        roles.setdefault(row["shard"], set()).add((row["role"], row["group"]))
    assert {len(found) for found in roles.values()} == {1}
    assert len({rows[name]["shard"] for name in "rs"} - {row["shard"] for row in old.values()}) == 2


def test_tiles_that_are_divided_at_random_are_not_updated(vasculature, capsys):
    write(vasculature, capsys, layout="vasculature", group="tile")
    with pytest.raises(UserError, match="update: tiles that are divided at random are divided anew"):
        sheet("vasculature", vasculature, out=vasculature / "slides.csv", group="tile", update=True)


def test_a_row_with_too_many_values_is_told_before_anything_is_written(tmp_path):
    folder_of(tmp_path, "a.tif", "b.tif")
    (tmp_path / "slides.csv").write_text("slide,image\na,a.tif,x\n")
    with pytest.raises(UserError, match=r"row 2 \(slide a\): more values than columns"):
        sheet("qupath", tmp_path, out=tmp_path / "slides.csv", update=True)
