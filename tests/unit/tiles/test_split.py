import random
import re
from collections import Counter

import pytest

from tilewright.project.config import Folds
from tilewright.project.orders import SplitOrder, SplitRow, split_rows
from tilewright.project.project import Assignment
from tilewright.project.rows import Row
from tilewright.runtime.errors import DataError, UserError
from tilewright.tiles.split import assign_folds, read_folds, require_folds, split


def row(shard, group, role="train", stratum=""):
    return SplitRow(shard=shard, group=group, role=role, stratum=stratum)


def folds_of(assignments):
    return {one.shard: one.fold for one in assignments}


def test_a_group_is_never_split():
    rows = [row(f"s{index}", f"g{index % 7}") for index in range(40)]
    placed = {}
    for one in assign_folds(rows, Folds(count=3)):
        assert placed.setdefault(one.group, one.fold) == one.fold
    assert set(placed.values()) == {0, 1, 2}


def test_folds_are_of_equal_size_where_groups_allow_it():
    rows = [row(f"s{index}", f"g{index}") for index in range(20)]
    assert Counter(folds_of(assign_folds(rows, Folds(count=4))).values()) == dict.fromkeys(range(4), 5)


def test_each_fold_shares_evenly_what_is_stratified():
    rows = [row(f"s{index}", f"g{index}", stratum="he" if index < 6 else "pas") for index in range(18)]
    placed = folds_of(assign_folds(rows, Folds(count=3)))
    assert Counter(placed[f"s{index}"] for index in range(6)) == dict.fromkeys(range(3), 2)


def unevenness(rows, folds):
    """The sum over folds and strata of the squared share of a stratum's slides."""
    counts = Counter((folds[row.group], row.stratum) for row in rows)
    totals = Counter(row.stratum for row in rows)
    return sum((count / totals[stratum]) ** 2 for (_, stratum), count in counts.items())


def test_a_group_goes_where_slides_and_strata_are_least_uneven():
    draws = random.Random(0)
    for _ in range(200):
        rows = [row(f"s{index}", f"g{draws.randrange(6)}", stratum=draws.choice("xyz")) for index in range(24)]
        groups = sorted({one.group for one in rows})
        fixed = {group: draws.randrange(3) for group in groups[1:]}
        kept = [Assignment(shard="any", group=group, fold=fold) for group, fold in fixed.items()]
        placed = {one.group: one.fold for one in assign_folds(rows, Folds(count=3), kept)}
        assert {group: placed[group] for group in fixed} == fixed
        found = [unevenness(rows, {**placed, groups[0]: fold}) for fold in range(3)]
        assert found[placed[groups[0]]] == pytest.approx(min(found))


def test_large_groups_are_placed_before_small_ones():
    rows = [row(f"s{index}", "large" if index < 3 else f"g{index}") for index in range(6)]
    for seed in range(10):
        assert Counter(folds_of(assign_folds(rows, Folds(count=2, seed=seed))).values()) == {0: 3, 1: 3}


def test_groups_that_are_gone_or_whose_fold_is_gone_are_not_kept():
    kept = [Assignment(shard=group, group=group, fold=fold) for group, fold in (("a", 1), ("gone", 0), ("b", 2))]
    assert folds_of(assign_folds([row("a", "a"), row("b", "b")], Folds(count=2), kept)) == {"a": 1, "b": 0}


@pytest.mark.parametrize(("column", "strata"), [("stain", ["he", "pas"]), ("source", ["one", "two"])])
def test_slides_are_stratified_by_a_column_of_the_sheet_or_of_the_user(column, strata):
    slides = [
        Row(slide=name, image="x.png", annotations="x.json", source=source, stain=stain)
        for name, source, stain in (("a", "one", "he"), ("b", "two", "pas"))
    ]
    assert [one.stratum for one in split_rows(slides, Folds(stratify=column))] == strata


def test_stratifying_by_a_column_that_is_not_there_is_refused():
    slides = [Row(slide=name, image="x.png", annotations="x.json") for name in "ab"]
    with pytest.raises(UserError, match='no column "stain"'):
        split_rows(slides, Folds(count=2, stratify="stain"))


def test_the_order_of_rows_does_not_matter_and_the_seed_does():
    rows = [row(f"s{index}", f"g{index}") for index in range(12)]
    first = folds_of(assign_folds(rows, Folds(count=3)))
    assert folds_of(assign_folds(rows[::-1], Folds(count=3))) == first
    assert folds_of(assign_folds(rows, Folds(count=3, seed=1))) != first


def test_external_shards_lie_in_no_fold():
    rows = [row("a", "a"), row("b", "b"), row("x", "x", "external")]
    placed = folds_of(assign_folds(rows, Folds(count=2)))
    assert placed.keys() == {"a", "b", "x"}
    assert placed["x"] is None


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(UserError) as raised:
        assign_folds([row("a", "a"), row("b", "b"), row("c", "b")], Folds(count=3))
    assert str(raised.value) == (
        "config: folds.count is 3, but the training slides form 2 group(s).\n"
        "  Lower folds.count, or give slides of different patients other groups."
    )


def test_a_file_of_folds_is_taken_as_it_is(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text("shard,group,fold\na,a,1\nb,b,0\n")
    assert folds_of(assign_folds([row("a", "a"), row("b", "b")], Folds(count=2, file=str(path)))) == {"a": 1, "b": 0}


def test_a_file_may_divide_the_tiles_of_a_slide(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text("shard,group,fold\na1,a,0\na2,a,1\n")
    rows = [row("a1", "a"), row("a2", "a")]
    assert folds_of(assign_folds(rows, Folds(count=2, file=str(path)))) == {"a1": 0, "a2": 1}


@pytest.mark.parametrize(
    ("lines", "says", "remedy"),
    [
        ("a,a,0", ': shard "b" has no fold.', "Give it a fold from 0 to 2."),
        ("a,a,0\nb,b,3", ": fold 3 of b is too high.", "Give it a fold from 0 to 2."),
        ("a,a,0\nb,b,one", ', row 3: fold "one" is no number.', 'Use 0, 1, ... or "external".'),
        ("a,a,0\nb,b,²", ', row 3: fold "²" is no number.', 'Use 0, 1, ... or "external".'),
        ("a,a,0\nb", ', row 3: fold "" is no number.', 'Use 0, 1, ... or "external".'),
        (
            "a,a,0\nb,b,0",
            ": no training shard has the fold 1 or 2.",
            "Give each fold from 0 to 2 a shard, or lower folds.count.",
        ),
    ],
)
def test_a_file_that_lacks_or_misnames_a_fold_is_refused(tmp_path, lines, says, remedy):
    path = tmp_path / "folds.csv"
    path.write_text(f"shard,group,fold\n{lines}\n")
    with pytest.raises(UserError) as raised:
        assign_folds([row("a", "a"), row("b", "b")], Folds(count=3, file=str(path)))
    assert str(raised.value) == f"{path}{says}\n  {remedy}"


def test_a_file_without_the_columns_is_refused(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_text("shard,name\na,0\n")
    with pytest.raises(UserError) as raised:
        read_folds(path)
    assert str(raised.value) == f"{path}, header: columns are missing: fold, group.\n  Columns found: shard, name."


def test_a_file_that_a_spreadsheet_wrote_is_read_and_one_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "folds.csv"
    path.write_bytes('\ufeffshard,group,fold\r\nä,"g, h",0\r\n'.encode())
    assert read_folds(path) == [Assignment(shard="ä", group="g, h", fold=0)]
    with pytest.raises(UserError) as raised:
        read_folds(tmp_path / "none.csv")
    assert str(raised.value) == (
        f"{tmp_path}/none.csv: the file of folds does not exist.\n"
        "  Name one that exists, or leave folds.file out. That of a layout with group: tile lies beside its sheet "
        "(NAME.folds.csv): delete the sheet, and both are written anew."
    )


ROWS = [row("a", "a"), row("b", "b"), row("x", "x", role="external")]
AGREED = "shard,group,fold\na,a,1\nb,b,0\nx,x,external\n"


def agree(folder, text):
    (folder / "given.csv").write_text(AGREED)
    (folder / "folds.csv").write_text(text)
    require_folds(folder / "folds.csv", assign_folds(ROWS, Folds(count=2, file=str(folder / "given.csv"))))


def test_folds_that_the_graph_plans_by_are_no_problem(tmp_path):
    agree(tmp_path, AGREED)
    agree(tmp_path, "shard,group,fold\nx,x,external\nb,b,0\na,a,1\n")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("a,a,1", "a,a,0", "1 shard.s. have .* a: fold 0 .group a. in place of fold 1 .group a."),
        ("a,a,1", "a,c,1", "a: fold 1 .group c. in place of fold 1 .group a."),
        ("a,a,1\n", "", "a: nothing in place of fold 1"),
        ("a,a,1", "q,a,1", "2 shard.s. have .* a: nothing in place of fold 1"),
        ("x,x,external", "x,x,0", "x: fold 0 .group x. in place of external"),
    ],
)
def test_folds_other_than_the_graph_plans_by_are_refused(tmp_path, old, new, says):
    place = re.escape(f"{tmp_path}/folds.csv: ")
    with pytest.raises(DataError, match=f"^{place}.*{says}.*\n  Delete the file and run again.*folds.file"):
        agree(tmp_path, AGREED.replace(old, new))


def test_extending_keeps_every_earlier_assignment(tmp_path):
    (tmp_path / "earlier.csv").write_text("shard,group,fold\na,a,1\nb,b,1\nx1,x,external\n")
    rows = [*(row(f"n{index}", f"n{index}") for index in range(7)), *[row("a", "a")] * 2, *[row("b", "b")] * 2]
    order = SplitOrder(rows=[*rows, row("x1", "x", "external")], folds=Folds(count=2))
    split(order, out=tmp_path / "folds.csv", extend=tmp_path / "earlier.csv")
    placed = folds_of(read_folds(tmp_path / "folds.csv"))
    assert {shard: placed[shard] for shard in "ab"} == {"a": 1, "b": 1}
    assert placed["x1"] is None
    assert Counter(placed[one.shard] for one in rows) == {0: 6, 1: 5}


def test_the_file_written_is_the_file_read(tmp_path):
    rows = [row("a", "a"), row("b", "b"), row("x1", "x", "external")]
    split(SplitOrder(rows=rows, folds=Folds(count=2)), out=tmp_path / "folds.csv")
    text = (tmp_path / "folds.csv").read_bytes()
    assert text.startswith(b"shard,group,fold\n")
    assert b"\r" not in text
    assert read_folds(tmp_path / "folds.csv") == assign_folds(rows, Folds(count=2))
