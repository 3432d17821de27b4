"""Corrections on their way into masks and tables."""

import hashlib

import pytest
from shapely import box

from tilewright.annotations.decisions import IGNORED, Decision, outline_hash, write_decisions
from tilewright.masks.outlines import in_image, recorded_outlines
from tilewright.masks.rasterize import rasterize
from tilewright.pixels.grid import Frame
from tilewright.pixels.rasters import open_raster
from tilewright.project.corrected import corrections_file
from tilewright.project.orders import RasterizeOrder
from tilewright.runtime.errors import AnnotationError
from tilewright.tiles.folding import read_project

NEW = box(20, 30, 32, 42)


@pytest.fixture
def drawn(project, tmp_path, monkeypatch):
    """Draws the shard ``a`` after decisions about the slide ``a1``; the table of that slide and its mask."""
    monkeypatch.chdir(project.folder)

    def drawn(*decisions):
        read = read_project(project.config_file)
        if decisions:
            write_decisions(corrections_file(read, "a1"), decisions)
        out = tmp_path / f"masks{len(list(tmp_path.glob('masks*')))}"
        rasterize(RasterizeOrder.of(read, "a"), out=out)
        with open_raster(out / "a1.tif") as raster:
            mask, frame = raster.read()[0], Frame.of(raster)
        table = recorded_outlines(out / "a1.outlines.parquet")
        table["geometry"] = in_image(table["geometry"].to_numpy(dtype=object), frame)
        return table, mask

    return drawn


def about(row, kind, label=None, geometry=None):
    known = outline_hash(row.label, row.geometry)
    return Decision("d1", kind, label or row.label, geometry or row.geometry, "me", replaces_hash=known)


def test_an_outline_of_the_table_is_taken_out_and_the_original_stays_as_it_was(drawn, project):
    originals = {path: hashlib.sha256(path.read_bytes()).digest() for path in project.sheet.parent.glob("*.geojson")}
    table, before = drawn()
    gone = table.iloc[0]
    after, mask = drawn(about(gone, "reject"))
    assert len(after) == len(table) - 1
    assert mask[int(gone.y), int(gone.x)] != before[int(gone.y), int(gone.x)]
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in originals} == originals


def test_a_new_outline_an_ignored_area_and_another_class_are_drawn(drawn):
    table, _ = drawn()
    first = table[table["class"] == "gland"].iloc[0]
    other = about(first, "rename", "vessel")
    new = Decision("d2", "draw", "gland", NEW)
    nothing = Decision("d3", "ignore", IGNORED, box(50, 50, 60, 60))
    after, mask = drawn(other, new, nothing)
    assert mask[35, 25] & 1
    assert mask[55, 55] & 1 << 2
    assert after[after["class"] == "ignore"]["label"].tolist() == [IGNORED]
    renamed = [shape.equals(first.geometry) for shape in after[after["class"] == "vessel"]["geometry"]]
    assert sum(renamed) == 1
    assert NEW in after[after["class"] == "gland"]["geometry"].tolist()


def test_what_was_corrected_can_be_corrected_again_by_what_the_table_has(drawn):
    table, _ = drawn()
    moved = about(table.iloc[0], "redraw", geometry=NEW)
    after, _ = drawn(moved)
    (again,) = (row for row in after.itertuples() if row.geometry.equals(NEW))
    last, _ = drawn(moved, about(again, "reject"))
    assert len(last) == len(table) - 1


def test_a_correction_whose_outline_has_changed_is_told_in_the_log_and_not_guessed(drawn, capsys):
    table, before = drawn()
    gone = Decision("d1", "reject", "gland", NEW, replaces_hash=outline_hash("gland", NEW))
    after, mask = drawn(gone, about(table.iloc[0], "accept"))
    assert len(after) == len(table)
    assert (mask == before).all()
    said = capsys.readouterr().err
    assert "corrections/a1.geojson: applied: nothing" in said
    assert "not applied: reject gland at 26, 36: its outline has changed, or is gone" in said


def test_a_correction_with_an_unknown_label_names_its_own_file(drawn):
    with pytest.raises(
        AnnotationError, match=r"^\S*corrections/a1.geojson: 1 outline has the label \"glnd\" "
    ) as error:
        drawn(Decision("d2", "draw", "glnd", NEW))
    assert 'Did you mean "gland"' in str(error.value)


def test_corrections_that_cannot_be_read_name_their_own_file(drawn, project):
    drawn(Decision("d2", "draw", "gland", NEW))
    (project.sheet.parent / "corrections" / "a1.geojson").write_text('{"features": [')
    with pytest.raises(AnnotationError, match=r"^\S*corrections/a1.geojson"):
        drawn()
