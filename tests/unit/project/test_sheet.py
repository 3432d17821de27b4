from collections import Counter

import pytest
from sheeting import CLASSES, image, refusal, rows_of

from tilewright.project.config import Config
from tilewright.project.configfile import parse_config
from tilewright.project.folders import SHARD
from tilewright.project.layouts import READERS
from tilewright.project.sheet import ensure_sheet, sheet
from tilewright.runtime.errors import UserError


def test_kidney_takes_outlines_beside_the_slide_and_the_patient_as_group(kidney):
    rows = rows_of("kidney", kidney)
    assert {name: (row.role, row.group, row.source) for name, row in rows.items()} == {
        "aaa": ("train", "67347", "67347"),
        "bbb": ("train", "bbb", "all"),
        "ccc": ("test", "67347", "67347"),
    }
    assert rows["aaa"].annotations == kidney / "train/aaa.json"
    assert rows["aaa"].anatomy == kidney / "train/aaa-anatomical-structure.json"
    assert rows["bbb"].anatomy is None


def test_the_next_step_is_named(kidney, tmp_path, capsys):
    sheet("kidney", kidney, out=tmp_path / "slides.csv")
    assert f"Next: tilewright plan --sheet {tmp_path / 'slides.csv'} --data {kidney} --out" in capsys.readouterr().err


def test_two_images_of_one_name_are_refused(kidney):
    """One in the folder for training, one in that for tests: their results would be one file."""
    (kidney / "test/aaa.tiff").write_bytes((kidney / "train/aaa.tiff").read_bytes())
    said = refusal("kidney", kidney)
    assert "slide aaa: stands for " in said
    assert "train/aaa.tiff and " in said
    assert "test/aaa.tiff." in said


def test_kidney_falls_back_on_the_table_of_run_lengths(kidney):
    (kidney / "train/bbb.json").unlink()
    assert "slides without outlines in train/ or extra/: bbb (1 in all)" in refusal("kidney", kidney)
    (kidney / "train.csv").write_text("id,encoding\naaa,1 2\nbbb,1 2\n")
    rows = rows_of("kidney", kidney)
    assert (rows["aaa"].annotations.name, rows["bbb"].annotations.name) == ("aaa.json", "train.csv")


def test_kidney_takes_slides_of_extra_as_external_by_outlines_beside_them_or_by_tables(kidney):
    for name in ("ddd.svs", "eee.tif", "fff.tiff"):
        image(kidney / "extra" / name)
    (kidney / "extra/ddd.json").write_text("[]")
    (kidney / "extra/masks.csv").write_text("id,encoding\neee,1 2\n")
    assert "slides without outlines in train/ or extra/: fff (1 in all)" in refusal("kidney", kidney)
    (kidney / "train_extra.csv").write_text("id,encoding\nfff,1 2\n")
    (kidney / "extra/notes.csv").write_text("stain,lab\nPAS,x\n")
    rows = rows_of("kidney", kidney)
    assert {name: (row.role, row.source, row.annotations.relative_to(kidney).as_posix())
            for name, row in rows.items() if row.role == "external"} == {
        "ddd": ("external", "extra", "extra/ddd.json"),
        "eee": ("external", "extra", "extra/masks.csv"),
        "fff": ("external", "extra", "train_extra.csv"),
    }  # fmt: skip
    assert Counter(row.role for row in rows.values()) == {"train": 2, "external": 3, "test": 1}


def test_kidney_trains_on_slides_of_test_that_have_outlines(kidney):
    for name in ("ddd", "eee", "hidden"):
        image(kidney / f"test/{name}.tiff")
    for name in ("ddd", "hidden-anatomical-structure"):
        (kidney / f"test/{name}.json").write_text("[]")
    (kidney / "train.csv").write_text("id,encoding\neee,1 2\n")
    roles = {name: row.role for name, row in rows_of("kidney", kidney).items()}
    assert roles == {"aaa": "train", "bbb": "train", "ccc": "test", "ddd": "train", "eee": "train", "hidden": "test"}


def test_only_a_layout_that_leaves_images_out_can_test_them(kidney):
    assert "the layout kidney has no images that it leaves out" in refusal("kidney", kidney, test_unlabelled=True)


def write_sartorius(folder, samples):
    (folder / "train").mkdir()
    lines = ["id,annotation,width,height,cell_type,sample_id"]
    for number, (kind, sample) in enumerate(samples):
        image(folder / f"train/i{number:03}.png")
        lines += [f"i{number:03},1 2,4,4,{kind},{sample}"] * 2
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    image(folder / "test/z.png")


def test_sartorius_fills_shards_with_whole_samples_of_one_cell_type(tmp_path):
    write_sartorius(tmp_path, [(f"k{n % 2}", f"k{n % 2}[x]_{n % 10}") for n in range(100)])
    rows = rows_of("sartorius", tmp_path)
    test = rows.pop("z")
    assert (test.role, test.annotations) == ("test", None)
    shards = Counter(row.shard for row in rows.values())
    assert sorted(shards) == ["k0_000", "k0_001", "k1_000", "k1_001"]
    assert max(shards.values()) <= SHARD
    samples = {(number % 10, row.group) for number, row in enumerate(rows.values())}
    assert len(samples) == 10
    assert {row.annotations.name for row in rows.values()} == {"train.csv"}
    assert {row.source for row in rows.values()} == {"k0", "k1"}


def test_qupath_finds_outlines_beside_the_image_and_in_annotations(tmp_path):
    for name in ("a.tif", "b.tif", "c 1.png", "d.tif"):
        image(tmp_path / name)
    (tmp_path / "annotations").mkdir()
    for name in ("a.geojson", "annotations/b.json", "annotations/c 1.geojson.gz"):
        (tmp_path / name).write_text("[]")
    rows = rows_of("qupath", tmp_path)
    assert {name: (row.role, row.annotations and row.annotations.name) for name, row in rows.items()} == {
        "a": ("train", "a.geojson"),
        "b": ("train", "b.json"),
        "c_1": ("train", "c 1.geojson.gz"),
        "d": ("test", None),
    }


def test_slides_share_shards_where_that_is_asked_for(tmp_path):
    for number in range(25):
        image(tmp_path / f"s{number:02}.tif")
        if number < 18:
            (tmp_path / f"s{number:02}.geojson").write_text("[]")
    rows = rows_of("qupath", tmp_path, per_shard=5).values()

    assert sorted(Counter((row.role, row.shard) for row in rows).values()) == [2, 3, 5, 5, 5, 5]
    assert all(row.group == row.shard for row in rows)


def test_shared_shards_keep_patients_together_and_on_both_sides_of_a_test(kidney):
    rows = rows_of("kidney", kidney, per_shard=10)
    assert rows["aaa"].group == rows["ccc"].group != rows["bbb"].group
    assert len({row.shard for row in rows.values()}) == 3


def test_shards_of_no_slide_are_refused(kidney):
    assert "0 slides a shard are too few" in refusal("kidney", kidney, per_shard=0)


def test_a_layout_with_shards_of_its_own_keeps_them(vasculature):
    assert "the layout vasculature has shards of its own" in refusal("vasculature", vasculature, per_shard=9)


@pytest.mark.parametrize(
    ("layout", "looked"),
    [
        ("kidney", "train/*.tiff"),
        ("vasculature", "train/*.tif"),
        ("sartorius", "train.csv with the columns id and annotation"),
        ("qupath", "images (.tif"),
    ],
)
def test_a_folder_of_another_layout_is_refused_with_what_was_looked_for(tmp_path, layout, looked):
    assert f"does not have the layout {layout}: not found: {looked}" in refusal(layout, tmp_path)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        sheet("qupath", tmp_path / "missing", out=tmp_path / "slides.csv")


def test_dsb2018_deals_each_look_to_folds_and_holds_some_images_out(tmp_path):
    looks = {"a": "pink", "b": "dark field"}
    names = {f"{key}{number:02}": look for key, look in looks.items() for number in range(13)}
    for name in names:
        image(tmp_path / "images" / f"{name}.png")
        image(tmp_path / "labels" / f"{name}.png")
    (tmp_path / "labels" / "a00.png").unlink()
    (tmp_path / "meta.csv").write_text("id,group\n" + "".join(f"{name},{look}\n" for name, look in names.items()))
    rows = rows_of("dsb2018", tmp_path)
    assert {row.slide for row in rows.values() if row.role == "test"} == {"a00", "a05", "a11", "b05", "b11"}
    assert rows["a00"].annotations is None
    assert rows["a05"].annotations == tmp_path / "labels/a05.png"
    assert Counter(row.shard for row in rows.values() if row.source == "dark_field") == {
        **{f"dark_field_{number}": 3 if number == 0 else 2 for number in range(5)},
        "dark_field_test": 2,
    }
    assert all(row.group == row.shard for row in rows.values())


def test_dsb2018_without_labels_is_refused(tmp_path):
    image(tmp_path / "images" / "a.png")
    assert "labels/*.png" in refusal("dsb2018", tmp_path)


def config_of(folder, **keys):
    return Config.model_validate({
        "classes": {name: {} for name in CLASSES}, "scales": {"full": {"factor": 1}},
        "tiles": {"t": {"scale": "full"}}, "models": {"m": {"tiles": "t"}}, "ensembles": {"m": {"models": {"m": 1}}},
        "sheet": str(folder / "made" / "slides.csv"), "data": str(folder), **keys,
    })  # fmt: skip


def test_a_sheet_that_is_missing_is_written_by_the_layout_of_the_config(kidney, capsys):
    ensure_sheet(config_of(kidney, layout="kidney"))
    sheet("kidney", kidney, out=kidney / "by_verb.csv")
    made = kidney / "made" / "slides.csv"
    assert made.read_bytes() == (kidney / "by_verb.csv").read_bytes()
    assert f"{made} was not there: written from {kidney} (layout: kidney)" in capsys.readouterr().err
    assert [path.name for path in made.parent.iterdir()] == ["slides.csv"]


def test_a_sheet_that_is_there_is_never_written_over(kidney, capsys):
    made = kidney / "made" / "slides.csv"
    made.parent.mkdir()
    made.write_text("mine")
    ensure_sheet(config_of(kidney, layout="kidney"))
    assert made.read_text() == "mine"
    made.unlink()
    ensure_sheet(config_of(kidney))
    assert not made.exists()
    assert capsys.readouterr().err == ""


def test_a_sheet_that_comes_while_one_is_written_stays(kidney, monkeypatch):
    made = kidney / "made" / "slides.csv"

    def meanwhile(folder):
        made.parent.mkdir()
        made.write_text("of another start")
        return [{"slide": "a", "image": "a.tif", "role": "test"}]

    monkeypatch.setitem(READERS, "kidney", meanwhile)
    ensure_sheet(config_of(kidney, layout="kidney"))
    assert made.read_text() == "of another start"
    assert [path.name for path in made.parent.iterdir()] == ["slides.csv"]


def test_a_layout_in_a_config_has_the_options_of_the_verb(vasculature):
    layout = {"name": "vasculature", "group": "tile", "test_unlabelled": True}
    ensure_sheet(config_of(vasculature, layout=layout))
    sheet("vasculature", vasculature, out=vasculature / "slides.csv", group="tile", test_unlabelled=True)
    for suffix in (".csv", ".folds.csv"):
        made = (vasculature / "made" / "slides").with_suffix(suffix)
        assert made.read_bytes() == (vasculature / "slides").with_suffix(suffix).read_bytes()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"layout": "kidney", "data": None}, "layout: the folder that .* would be written from is not named"),
        ({"layout": "sartorius"}, "does not have the layout sartorius: not found: train.csv"),
        ({"layout": "kidney", "data": "nowhere"}, "nowhere: is not a folder"),
        ({"layout": {"name": "kidney", "group": "tile"}}, "group: the layout kidney has groups of its own"),
        ({"layout": {"name": "kidney", "per_shard": 0}}, "per_shard: 0 slides a shard are too few"),
    ],
)
def test_a_layout_that_cannot_be_read_is_told(kidney, keys, told):
    with pytest.raises(UserError, match=told):
        ensure_sheet(config_of(kidney, **keys))
    assert not list((kidney / "made").glob("*"))


def test_an_unknown_layout_is_told_with_the_known_ones():
    with pytest.raises(UserError, match=r"layout\.name: input should be 'kidney', .* \(given: 'kidny'\)"):
        parse_config({"layout": "kidny", "ensembles": {"m": {"models": {"m": 1}}}, "bundles": {}})


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("train.csv", b"PK\x03\x04xl/workbook.xml", "train.csv: is a workbook of Excel or LibreOffice"),
        ("train.csv", b"", "train.csv: has no column id; it has none"),
        ("train.csv", b"name;encoding\naaa;1 2\n", "train.csv: has no column id; it has name, encoding"),
        (
            "HuBMAP-20-dataset_information.csv",
            b"foo,bar\n1,2\n",
            "has no column image_file and no column patient",
        ),
    ],
)
def test_a_table_that_is_of_no_use_is_told_with_what_it_needs(kidney, file, content, told):
    (kidney / file).write_bytes(content)
    assert told in refusal("kidney", kidney)
