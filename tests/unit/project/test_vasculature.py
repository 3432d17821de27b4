"""The sheet of the vasculature competition: what is labelled, donors, and the split by tile."""

import json
from collections import Counter

import numpy as np
import pytest
from sheeting import CLASSES, image, refusal, rows_of

from tilewright.project.config import Config, Folds, LayoutUse
from tilewright.project.orders import split_rows
from tilewright.project.sheet import ensure_sheet
from tilewright.project.vasculature import divide_tiles
from tilewright.runtime.errors import UserError
from tilewright.tiles.split import assign_folds


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
    assert "left out" not in capsys.readouterr().err


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


def test_folds_of_another_sheet_are_refused_and_stay(vasculature):
    use = LayoutUse(name="vasculature", group="tile")
    config = Config.model_construct(data=str(vasculature), sheet=str(vasculature / "new.csv"), layout=use)
    (vasculature / "new.folds.csv").write_text("shard,group,fold\nother,other,0\n")
    with pytest.raises(UserError, match="holds other folds than the sheet would have"):
        ensure_sheet(config)
    assert not (vasculature / "new.csv").exists()
    assert (vasculature / "new.folds.csv").read_text() == "shard,group,fold\nother,other,0\n"
    (vasculature / "new.folds.csv").unlink()
    ensure_sheet(config)
    assert (vasculature / "new.csv").exists()
    (vasculature / "new.csv").unlink()
    ensure_sheet(config)  # its own folds are no problem
    assert (vasculature / "new.csv").exists()


def test_nothing_is_written_where_an_option_is_refused(vasculature):
    assert "has shards of its own" in refusal("vasculature", vasculature, group="tile", per_shard=3)
    assert not list(vasculature.glob("*.folds.csv"))
