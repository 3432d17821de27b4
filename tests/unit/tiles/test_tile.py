import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from ordering import order_of
from shapely import box
from shapely.geometry import mapping

from tilewright.masks.outlines import recorded_outlines
from tilewright.masks.rasterize import rasterize
from tilewright.project.config import Annotations, Blank, Scale, TileSet, Tissue
from tilewright.project.orders import DownscaleOrder, RasterizeOrder, TileOrder
from tilewright.runtime.errors import DataError
from tilewright.scales.downscale import downscale
from tilewright.tiles.archive import TileReader, TrainingShard, open_archive, read_table
from tilewright.tiles.blank import is_blank
from tilewright.tiles.tile import tile
from tilewright.training.loaders import read_tiles

CLASSES = ["gland", "vessel"]
SHEET = Path("slides/slides.csv")


@pytest.fixture
def cut(project, monkeypatch):
    """Cuts the tiles of a shard; returns the archive's path."""
    monkeypatch.chdir(project.folder)

    def steps(shard, factor=1, smooth=2.0, **options):
        given = {"classes": {name: [name] for name in CLASSES}, "annotations": Annotations()}
        rasterize(order_of(RasterizeOrder, SHEET, shard, **given), out=Path("m") / shard)
        scale = {"scales": {"full": Scale(factor=factor)}, "tissue": Tissue(smooth=smooth)}
        order = order_of(DownscaleOrder, SHEET, shard, CLASSES, **scale)
        downscale(order, masks=Path("m") / shard, out=[Path("s") / shard])
        order = order_of(TileOrder, SHEET, shard, CLASSES, tiles=TileSet(**{"scale": "full", "size": 64, **options}))
        out = Path("t") / f"{shard}.h5"
        tile(order, scaled=Path("s") / shard, masks=Path("m") / shard, out=out)
        return out

    return steps


def test_a_tile_holds_the_pixels_and_bits_of_its_place(cut):
    from tilewright.pixels.grid import Window
    from tilewright.pixels.rasters import open_raster

    with open_archive(cut("b", overlap=0.5)) as archive:
        assert len(archive["images"]) > 10
        for index, name in enumerate(archive["slide"].asstr()):
            window = Window(int(archive["x"][index]), int(archive["y"][index]), 64, 64)
            with open_raster(Path(f"s/b/{name}.image.tif")) as image, open_raster(Path(f"s/b/{name}.mask.tif")) as mask:
                assert (archive["images"][index] == np.moveaxis(image.read(window), 0, -1)).all()
                assert (archive["masks"][index] == mask.read(window)[0]).all()
            bits = archive["masks"][index]
            coverage = [((bits >> bit) & 1).mean() for bit in range(2)]
            assert archive["coverage"][index].tolist() == pytest.approx(coverage)


def test_background_comes_from_the_structures_asked_for(cut, project):
    rows = project.rows()
    everywhere = places(cut("b", overlap=0.75, factor=1.25, size=32))
    top = {"type": "Polygon", "coordinates": [[[0, 0], [160, 0], [160, 64], [0, 64], [0, 0]]]}
    feature = {"type": "Feature", "geometry": top, "properties": {"classification": {"name": "Cortex"}}}
    (project.sheet.parent / "b1.anatomy.json").write_text(json.dumps([feature]))
    with project.sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], "anatomy"])
        writer.writeheader()
        writer.writerows({**row, "anatomy": "b1.anatomy.json" if row["slide"] == "b1" else ""} for row in rows)

    assert places(cut("b", overlap=0.75, factor=1.25, size=32)) == everywhere
    found = places(cut("b", overlap=0.75, factor=1.25, size=32, background_inside=["Cortex"]))
    lost = {place for place in everywhere if place[:2] == ("b1", "background") and (place[3] + 16) * 1.25 >= 64}
    assert lost
    assert found == everywhere - lost
    assert any(place[:2] == ("b1", "background") for place in found), "the centre decides"
    with pytest.raises(DataError, match=r"no outline with the label Medulla\.\n  Labels there: Cortex"):
        cut("b", background_inside=["Medulla"])


@pytest.fixture
def cortex(project):
    """Gives the slide b1 a structure, and says where it is."""

    def given(area):
        feature = {"type": "Feature", "geometry": mapping(area), "properties": {"classification": {"name": "Cortex"}}}
        (project.sheet.parent / "b1.anatomy.json").write_text(json.dumps([feature]))
        rows = [{**row, "anatomy": "b1.anatomy.json" if row["slide"] == "b1" else ""} for row in project.rows()]
        with project.sheet.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return given


def scattered(path, slide="b1"):
    with open_archive(path) as archive:
        columns = (archive["slide"].asstr(), archive["kind"].asstr(), archive["x"], archive["y"])
        rows = list(zip(*columns, strict=True))
    return [(int(x), int(y)) for name, kind, x, y in rows if (name, kind) == (slide, "scattered")]


SMALL = {"size": 32, "background_inside": ["Cortex"], "min_tissue": 0}


def test_scattered_tiles_lie_in_the_structure_and_show_no_class(cut, cortex, project):
    (project.sheet.parent / "b1.geojson").write_text(json.dumps([outline("gland", box(0, 0, 60, 128))]))
    cortex(box(30, 10, 140, 60))
    path = cut("b", **SMALL, scattered=40)
    found = scattered(path)
    assert len(found) == 40
    assert len(set(found)) > 35
    assert all(60 <= x <= 140 - 16 + 1 and 0 <= y <= 60 - 16 + 1 for x, y in found)
    table = read_table([TrainingShard(path)], CLASSES)
    assert (table.coverage[table.kind == "scattered"] == 0).all()
    fewer = scattered(cut("b", **SMALL, scattered=39))
    assert len(fewer) == 39
    assert set(fewer) <= set(found)
    assert scattered(cut("b", **SMALL, scattered=40, seed=1)) != found
    assert len(scattered(path, "b2")) > 0, "a slide without structures has them anywhere"


@pytest.mark.parametrize(("wall", "round_"), [(70, 1), (95, 2)])
def test_where_the_structure_has_no_place_it_is_taken_wider_by_25_pixels_at_a_time(cut, cortex, project, wall, round_):
    (project.sheet.parent / "b1.geojson").write_text(json.dumps([outline("gland", box(0, 0, wall, 128))]))
    cortex(box(20, 20, 85, 100))
    found = scattered(cut("b", **SMALL, scattered=20))
    assert len(found) == 20
    assert all(wall <= x <= 85 + 25 * round_ - 16 + 1 for x, _ in found)
    assert max(x for x, _ in found) > 85 + 20 * round_ - 16 + 1


def test_scattered_tiles_end_where_no_place_is_left(cut, cortex, project, capsys):
    (project.sheet.parent / "b1.geojson").write_text(json.dumps([outline("gland", box(0, 0, 160, 128))]))
    cortex(box(20, 20, 85, 100))
    assert scattered(cut("b", **SMALL, scattered=3)) == []
    assert "b1: only 0 of 3 scattered tiles have a place" in capsys.readouterr().err
    assert len(scattered(cut("a", 2, size=64, scattered=3, min_tissue=1), "a1")) == 0


def test_scattered_tiles_hold_tissue(cut, project, save_image):
    (project.sheet.parent / "b1.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    white = np.full((128, 160, 3), 250, np.uint8)
    white[:, :80] = (200, 120, 180)
    save_image(project.sheet.parent / "b1.png", white)
    found = scattered(cut("b", size=32, scattered=20, min_tissue=0.5, smooth=0))
    assert len(found) == 20
    assert all(x <= 64 for x, _ in found)


def test_scattered_tiles_are_trained_on_and_not_validated_on(cut):
    shard = TrainingShard(cut("b", size=32, scattered=5))
    tiles = read_tiles([shard], [shard], CLASSES)
    assert (tiles.training.kind == "scattered").any()
    assert set(tiles.validation.kind) == {"grid", "background"}


def outline(label, area):
    return {"type": "Feature", "geometry": mapping(area), "properties": {"classification": {"name": label}}}


def places(path):
    with open_archive(path) as archive:
        columns = (archive["slide"].asstr(), archive["kind"].asstr(), archive["x"], archive["y"])
        return {(slide, kind, int(x), int(y)) for slide, kind, x, y in zip(*columns, strict=True)}


def test_grid_tiles_cover_the_slide_and_lie_inside_it(cut):
    with open_archive(cut("b", overlap=0.25, min_tissue=0)) as archive:
        covered = np.zeros((128, 160), bool)
        for name, x, y in zip(archive["slide"].asstr(), archive["x"], archive["y"], strict=True):
            if name == "b1":
                assert 0 <= x <= 160 - 64
                assert 0 <= y <= 128 - 64
                covered[y : y + 64, x : x + 64] = True
        assert covered.all()


@pytest.mark.parametrize("factor", [1, 2])
def test_there_is_one_object_tile_for_every_outline(cut, factor):
    table = read_table([TrainingShard(cut("b", factor, objects=True))], CLASSES)
    outlines = sum(len(recorded_outlines(Path(f"m/b/{name}.outlines.parquet"))) for name in ("b1", "b2"))
    assert outlines > 8
    assert (table.kind == "object").sum() == outlines
    assert (table.coverage[table.kind == "object"].sum(axis=1) > 0).all()


def test_an_image_smaller_than_a_tile_is_padded_with_white_that_does_not_count(cut):
    with open_archive(cut("a", 2)) as archive:
        slide = list(archive["slide"].asstr())
        index = slide.index("a1")
        assert (archive["x"][index], archive["y"][index]) == (0, 0)
        assert (archive["images"][index][48:] == 255).all()
        assert (archive["masks"][index][48:] == 1 << len(CLASSES)).all()
        assert (archive["masks"][index][:48] < 1 << len(CLASSES)).all()


def test_a_tile_without_any_class_is_background_and_kept_by_its_share(cut, project):
    (project.sheet.parent / "b1.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (project.sheet.parent / "b2.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    every = read_table([TrainingShard(cut("b", overlap=0.9, background=1))], CLASSES)
    assert set(every.kind) == {"background"}
    some = read_table([TrainingShard(cut("b", overlap=0.9, background=0.3))], CLASSES)
    assert 0.2 < len(some) / len(every) < 0.4
    assert len(read_table([TrainingShard(cut("b", background=0))], CLASSES)) == 0


def test_tiles_without_tissue_are_left_out(cut, project, save_image):
    white = np.full((128, 160, 3), 250, np.uint8)
    white[:64, :64] = (200, 120, 180)
    save_image(project.sheet.parent / "b1.png", white)
    with open_archive(cut("b", smooth=0)) as archive:
        places = [
            (int(x), int(y))
            for name, x, y in zip(archive["slide"].asstr(), archive["x"], archive["y"], strict=True)
            if name == "b1"
        ]
    assert places == [(0, 0)]


def plainly_blank(image):
    """The rule of the 2nd place of the kidney competition, word by word."""
    mean, black = image.mean(), (image.mean(axis=-1) < 10).sum() / (image.shape[0] * image.shape[1])
    return mean < 10 or (mean > 205 and image.std() < 20) or black > 0.1


BLANKS = {
    "dark": (np.full((64, 64, 3), 9), True),
    "not dark": (np.full((64, 64, 3), 10), False),
    "bright": (np.full((64, 64, 3), 206), True),
    "not bright": (np.full((64, 64, 3), 205), False),
    "structured": (np.where(np.indices((64, 64)).sum(axis=0)[..., None] % 2, 255, 207) + np.zeros(3), False),
    "colourful": (np.full((64, 64, 3), (255, 255, 175)), False),
    "black corner": (np.where(np.indices((64, 64))[0][..., None] < 7, 0, 120) + np.zeros(3), True),
    "small corner": (np.where(np.indices((64, 64))[0][..., None] < 6, 0, 120) + np.zeros(3), False),
    "one dark channel": (np.full((64, 64, 3), (0, 0, 90)), False),
}


@pytest.mark.parametrize("name", BLANKS)
def test_a_blank_tile_is_dark_or_bright_and_flat_or_black_in_part(name):
    image, blank = BLANKS[name]
    assert is_blank(np.moveaxis(image, -1, 0), Blank()) == plainly_blank(image) == blank


def test_blank_tiles_are_left_out_with_or_without_a_class_but_for_a_share(cut, project, save_image):
    image = np.full((128, 160, 3), 120, np.uint8)
    image[:, 80:] = 230
    for name in ("b1", "b2"):
        save_image(project.sheet.parent / f"{name}.png", image[:112, :112] if name == "b2" else image)
    options = {"size": 32, "overlap": 0.5, "min_tissue": 0}
    every = places(cut("b", **options))
    blank = {place for place in every if place[2] >= 80}
    assert {kind for _, kind, _, _ in blank} == {"grid", "background"}
    assert places(cut("b", **options, blank={"keep": 0})) == every - blank
    assert places(cut("b", **options, blank={"keep": 1})) == every
    half = places(cut("b", **options, blank={"keep": 0.5}))
    assert every - blank < half < every
    assert half != places(cut("b", **options, blank={"keep": 0.5}, seed=1))
    assert every == places(cut("b", **options, blank={"keep": 0, "bright": 240}))


@pytest.mark.parametrize(
    ("keys", "told"),
    [({"dark": 256}, "less than"), ({"keep": 2}, "less than"), ({"flat": -1}, "greater"), ({"x": 1}, "x")],
)
def test_bounds_of_blank_that_mean_nothing_are_refused(keys, told):
    with pytest.raises(ValueError, match=told):
        TileSet(scale="full", blank=keys)


@pytest.mark.parametrize("keys", [{"objects": True}, {"scattered": 1}])
def test_random_places_and_tiles_at_places_of_their_own_exclude_each_other(keys):
    with pytest.raises(ValueError, match="leave objects and scattered out"):
        TileSet(scale="full", at="random", **keys)
    with pytest.raises(ValueError, match="'grid' or 'random'"):
        TileSet(scale="full", at="anywhere")


def test_tiles_of_which_no_pixel_counts_are_left_out(cut, project):
    file, gland = project.sheet.parent / "b1.geojson", outline("gland", box(0, 0, 20, 20))
    file.write_text(json.dumps([gland]))
    everywhere = {place for place in places(cut("b", size=32, min_tissue=0)) if place[0] == "b1"}
    file.write_text(json.dumps([gland, outline("Region*", box(0, 0, 70, 40))]))
    path = cut("b", size=32, min_tissue=0, scattered=20)
    found = {place for place in places(path) if place[0] == "b1" and place[1] != "scattered"}
    assert found == {place for place in everywhere if place[2] < 70 and place[3] < 40}
    assert found < everywhere
    assert scattered(path)
    assert all(x < 70 and y < 40 for x, y in scattered(path))


def test_the_table_says_which_classes_count_in_which_slide(cut):
    table = read_table([TrainingShard(cut("a")), TrainingShard(cut("x1"))], CLASSES)
    assert table.labelled[table.slide == "a1"].all()
    assert (table.labelled[table.slide == "a2"] == [True, False]).all()
    assert set(table.source[table.archive == 1]) == {"two"}


def test_the_same_slides_give_the_same_bytes(cut):
    assert cut("b").read_bytes() == cut("b").read_bytes()


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "a.h5").write_text("no archive")
    with pytest.raises(DataError, match=r"a\.h5"):
        read_table([TrainingShard(tmp_path / "a.h5")], CLASSES)


def test_a_wrong_bit_of_a_tile_is_found_when_it_is_read(cut):
    path = cut("b")
    with open_archive(path) as archive:
        place = archive["images"].id.get_chunk_info(0).byte_offset + 100
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)

    tiles = TileReader(path)
    with pytest.raises(DataError, match=r"b\.h5: cannot be read as a tile archive"):
        tiles.read(0)
    with pytest.raises(DataError, match=r"b\.h5: cannot be read as a tile archive"):  # nor does it pass for checked
        tiles.read(0)


def test_a_tile_is_the_same_each_time_it_is_read(cut):
    path = cut("b")
    tiles = TileReader(path)
    with open_archive(path) as archive:
        assert len(archive["images"]) > 2
        for index in (*range(len(archive["images"])), 1, 0, 1):
            image, mask = tiles.read(index)
            assert (image == archive["images"][index]).all()
            assert (mask == archive["masks"][index]).all()


@pytest.mark.parametrize("together", [1, 2])
def test_an_archive_that_is_stored_otherwise_is_read_too(tmp_path, together):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as archive:
        archive.create_dataset("images", data=pixels, chunks=(together, 8, 8, 3), compression="gzip")
        archive["masks"] = pixels[..., 0]
    tiles = TileReader(tmp_path / "a.h5")
    for index in (0, 1, 1, 3, 3):
        assert (tiles.read(index)[0] == pixels[index]).all()
