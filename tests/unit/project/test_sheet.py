import json
import warnings
from collections import Counter

import numpy as np
import pytest
import rasterio

from tilewright.project.config import Config, Folds
from tilewright.project.configfile import parse_config
from tilewright.project.folders import SHARD
from tilewright.project.layouts import READERS
from tilewright.project.orders import split_rows
from tilewright.project.sheet import ensure_sheet, sheet
from tilewright.project.sheetfile import read_sheet
from tilewright.project.vasculature import divide_tiles
from tilewright.runtime.errors import UserError
from tilewright.tiles.split import assign_folds

CLASSES = ("blood_vessel", "glomerulus", "unsure")


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        driver = "PNG" if path.suffix == ".png" else "GTiff"
        with rasterio.open(path, "w", driver=driver, width=4, height=4, count=1, dtype="uint8") as file:
            file.write(np.zeros((1, 4, 4), np.uint8))


def rows_of(layout, folder, **options):
    sheet(layout, folder, out=folder / "slides.csv", **options)
    return {row.slide: row for row in read_sheet(folder / "slides.csv", [folder], CLASSES)}


def refusal(layout, folder, **options):
    with pytest.raises(UserError) as caught:
        sheet(layout, folder, out=folder / "slides.csv", **options)
    assert not (folder / "slides.csv").exists()
    return str(caught.value)


@pytest.fixture
def kidney(tmp_path):
    for name in ("train/aaa.tiff", "train/bbb.tiff", "test/ccc.tiff"):
        image(tmp_path / name)
    for name in ("aaa", "bbb", "aaa-anatomical-structure"):
        (tmp_path / f"train/{name}.json").write_text("[]")
    (tmp_path / "HuBMAP-20-dataset_information.csv").write_text(
        "image_file,patient_number\naaa.tiff,67347\nccc.tiff,67347\n"
    )
    return tmp_path


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


@pytest.fixture
def vasculature(tmp_path):
    tiles = {"t1": "1", "t2": "1", "t3": "2", "t4": "1", "t5": "1", "hidden": ""}
    for name in tiles:
        image(tmp_path / ("test" if name in ("t5", "hidden") else "train") / f"{name}.tif")
    listed = [f"{name},{wsi},2,{512 * int(wsi)},7" for name, wsi in tiles.items() if wsi]
    (tmp_path / "tile_meta.csv").write_text("\n".join(["id,source_wsi,dataset,i,j", *listed]) + "\n")
    files = {
        "polygons": ["t1"],
        "polygons_blood_vessel_only": ["t1", "t2"],
        "polygons_vessel_or_unsure_merged": ["t3"],
        "polygons_partial": ["t4"],
    }
    for name, ids in files.items():
        lines = [json.dumps({"id": tile, "annotations": []}) for tile in ids]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_vasculature_takes_the_most_complete_file_and_says_which_classes_it_holds(vasculature):
    rows = rows_of("vasculature", vasculature)
    assert {name: (row.annotations and row.annotations.stem, row.labelled) for name, row in rows.items()} == {
        "t1": ("polygons", CLASSES),
        "t2": ("polygons_blood_vessel_only", ("blood_vessel",)),
        "t3": ("polygons_vessel_or_unsure_merged", ("blood_vessel",)),
        "t5": (None, ()),
        "hidden": (None, ()),
    }


def test_vasculature_keeps_tiles_of_a_slide_together_and_test_tiles_in_shards_of_their_own(vasculature):
    rows = rows_of("vasculature", vasculature, test_unlabelled=True)
    assert {name: (row.shard, row.group, row.role, row.source) for name, row in rows.items()} == {
        "t1": ("wsi1", "wsi1", "train", "dataset2_wsi1"),
        "t2": ("wsi1", "wsi1", "train", "dataset2_wsi1"),
        "t3": ("wsi2", "wsi2", "train", "dataset2_wsi2"),
        "t4": ("wsi1_test", "wsi1", "test", "dataset2_wsi1"),
        "t5": ("wsi1_test", "wsi1", "test", "dataset2_wsi1"),
        "hidden": ("unlisted_test", "unlisted", "test", "unlisted"),
    }
    assert [rows["t3"].column(name) for name in ("dataset", "i", "j")] == ["2", "1024", "7"]


def test_vasculature_works_with_the_competitions_own_files_only(vasculature):
    for path in vasculature.glob("polygons_*.jsonl"):
        path.unlink()
    rows = rows_of("vasculature", vasculature)
    assert {name: row.role for name, row in rows.items()} == {"t1": "train", "t5": "test", "hidden": "test"}


def test_vasculature_leaves_tiles_of_train_without_complete_outlines_out_and_counts_them(vasculature, capsys):
    rows = rows_of("vasculature", vasculature)
    assert "t4" not in rows
    assert "1 image(s) of train/ without complete outlines are left out" in capsys.readouterr().err
    assert rows_of("vasculature", vasculature, test_unlabelled=True)["t4"].role == "test"
    assert capsys.readouterr().err == ""


def test_only_a_layout_that_leaves_images_out_can_test_them(kidney):
    assert "the layout kidney has no images that it leaves out" in refusal("kidney", kidney, test_unlabelled=True)


DONORS = "source_wsi,age,sex,race,height,weight,bmi,notes\n1,58,F,W,160.0,59.0,23.0,x\n3,73,F,W,162.3,87.5,33.2,y\n"


def test_vasculature_joins_what_is_known_of_the_donor_by_whole_slide(vasculature):
    assert not rows_of("vasculature", vasculature)["t1"].has_column("bmi")
    (vasculature / "wsi_meta.csv").write_text(DONORS)
    rows = rows_of("vasculature", vasculature)
    columns = ("age", "sex", "race", "height", "weight", "bmi", "dataset")
    told = {name: [row.column(column) for column in columns] for name, row in rows.items()}
    assert told["t1"] == told["t5"] == ["58", "F", "W", "160.0", "59.0", "23.0", "2"]
    assert told["t3"] == [""] * 6 + ["2"]
    assert told["hidden"] == [""] * 7
    assert not rows["t1"].has_column("notes")


def test_folds_can_share_evenly_what_is_known_of_donors(vasculature):
    (vasculature / "wsi_meta.csv").write_text(DONORS)
    rows = list(rows_of("vasculature", vasculature).values())
    assert [one.stratum for one in split_rows(rows, Folds(stratify="sex"))] == [row.column("sex") for row in rows]


def seeds_split(names):
    """The study's own words."""
    shuffled = list(names)
    np.random.seed(1)  # noqa: NPY002
    np.random.shuffle(shuffled)  # noqa: NPY002
    return shuffled[: int(0.8 * len(names))], shuffled[int(0.8 * len(names)) :]


def test_tiles_are_divided_as_numpys_seed_1_shuffles_them():
    names = [f"{hash(number) * 2654435761 % 2**32:08x}" for number in range(1633)]
    trained, validated = divide_tiles(names)
    assert (len(trained), len(validated)) == (1306, 327)
    assert (trained, validated) == seeds_split(names)
    assert divide_tiles(names[:7]) == seeds_split(names[:7])
    assert len(divide_tiles(names[:7])[0]) == 5


def test_a_split_by_tile_trains_on_four_in_five_and_no_shard_lies_on_both_sides(tmp_path):
    names = [f"t{number * 37 % 100:02}" for number in range(100)]
    for name in (*names, "bare"):
        image(tmp_path / f"train/{name}.tif")
    image(tmp_path / "test/hidden.tif")
    (tmp_path / "tile_meta.csv").write_text(
        "id,source_wsi,dataset,i,j\n" + "".join(f"{name},{number % 3},1,0,0\n" for number, name in enumerate(names))
    )
    lines = [json.dumps({"id": name, "annotations": []}) for name in names]
    (tmp_path / "polygons.jsonl").write_text("\n".join(lines) + "\n")
    rows = rows_of("vasculature", tmp_path, group="tile")
    trained, validated = seeds_split(names)

    folds = Folds(count=2, selected=[0], file=str(tmp_path / "slides.folds.csv"))
    training = [row for row in rows.values() if row.role == "train"]
    placed = {one.shard: one.fold for one in assign_folds(split_rows(training, folds), folds)}
    assert {row.slide for row in training if placed[row.shard] == 0} == set(validated)
    assert {row.slide for row in training if placed[row.shard] == 1} == set(trained)
    assert sorted(Counter(row.shard for row in training).values()) == [16, 20, 32, 32]
    assert all(row.group == row.shard for row in training)
    assert {name: row.role for name, row in rows.items() if name not in names} == {"hidden": "test"}


def test_a_split_by_tile_needs_two_tiles_and_the_layout_vasculature(vasculature, kidney):
    for path in vasculature.glob("polygons_*.jsonl"):
        path.unlink()
    assert "tiles for training: 1; at least two can be divided" in refusal("vasculature", vasculature, group="tile")
    assert "the layout kidney has groups of its own" in refusal("kidney", kidney, group="tile")


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
