"""The viewer's answers, asked of a real one: what it shows is what lies on disk, and it tells what it cannot."""

import contextlib
import hashlib
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from shapely import Polygon, box
from viewing import ENSEMBLE, THRESHOLD, make_results, viewer

from tilewright.cli import main
from tilewright.pixels.components import Components
from tilewright.pixels.grid import Frame, Size, Window
from tilewright.pixels.measuring import measure
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.pixels.runs import Runs
from tilewright.pixels.thresholds import SCORES
from tilewright.project.places import (
    SPREAD,
    mask_file,
    objects_file,
    outlines_file,
    probability_file,
    segment_file,
    spread_file,
)
from tilewright.report.viewer.pyramids import Extracts, NotYet, cells_of, deepest, sample
from tilewright.segments.writing import object_table
from tilewright.slides import open_slide


@pytest.fixture(scope="module")
def results(tmp_path_factory, new_project):
    return make_results(new_project(tmp_path_factory.mktemp("view") / "project"))


@pytest.fixture(scope="module")
def seen(results, tmp_path_factory):
    with viewer(results, log=tmp_path_factory.mktemp("log") / "view.log") as found:
        yield found


def told(folder):
    """What lies in a folder: every file with its content and its time."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def test_the_gallery_knows_roles_folds_and_scores(seen):
    (run,) = seen.json("runs.json")["runs"]
    slides = {slide["slide"]: slide for slide in run["slides"]}
    assert {name: slide["role"] for name, slide in slides.items()}["t1"] == "test"
    assert slides["t1"]["source"] == "one"
    assert 0.5 < slides["t1"]["dice"][ENSEMBLE] < 1
    assert slides["a1"]["dice"] == {}


def test_a_tile_of_the_picture_is_the_slide(seen, results):
    about = seen.json("0/t1/about.json")
    assert (about["width"], about["height"], about["zoom"]) == (144, 112, 0)
    _, kind, content = seen.ask("0/t1/image/0/0/0.jpg")
    assert kind["content-type"] == "image/jpeg"
    shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert shown.shape == (256, 256, 3)
    with open_slide(results.parent / "slides" / "t1.tif") as slide:
        differ = shown[:112, :144] - slide.read(Window(0, 0, 144, 112))
    assert np.abs(differ).mean() < 9
    assert np.abs(differ.mean(axis=(0, 1))).max() < 1.5
    assert (shown[120:, 150:] > 250).all()


def test_tiles_of_masks_hold_the_number_of_the_class(seen, results):
    classes = seen.json("0/t1/about.json")["classes"]
    with open_raster(mask_file(results / "masks" / "t", "t1")) as raster:
        truth, size = raster.read()[0], raster.size
        assert raster.classes == classes
    with open_raster(segment_file(results / "segments" / ENSEMBLE / "t", "t1")) as raster:
        found = raster.read()[0]
    for layer, bits in (("truth", truth), ("prediction", found)):
        tile = seen.grey(f"0/t1/{layer}/0/0/0.png?set={ENSEMBLE}")[: size.height, : size.width]
        for number, name in enumerate(classes, 1):
            assert ((tile == number) == (bits == 1 << number - 1)).all()
            alone = seen.grey(f"0/t1/{layer}/0/0/0.png?set={ENSEMBLE}&class={name}")[: size.height, : size.width]
            assert ((alone > 0) == (bits >> number - 1 & 1 > 0)).all()
    tile = seen.grey(f"0/t1/difference/0/0/0.png?set={ENSEMBLE}&class=gland")[: size.height, : size.width]
    own, other = (bits >> classes.index("gland") & 1 > 0 for bits in (truth, found))
    assert ((tile == 1) == (own & other)).all()
    assert ((tile == 2) == (own & ~other)).all()
    assert ((tile == 3) == (other & ~own)).all()
    assert all((tile == value).any() for value in (1, 2, 3))


def test_probabilities_reach_the_threshold_where_the_mask_is(seen, results):
    """What the slider draws at the threshold of the run is what ``segment`` found, up to rounding to 256 values."""
    tile = seen.grey(f"0/t1/probability/0/0/0.png?set={ENSEMBLE}&class=gland")[:112, :144]
    with open_raster(segment_file(results / "segments" / ENSEMBLE / "t", "t1")) as raster:
        found = raster.read()[0] >> raster.classes.index("gland") & 1
    assert tile.max() > 200
    differ = (tile >= np.ceil(255 * THRESHOLD)) != (found > 0)
    assert differ.mean() < 0.005


def test_the_spread_is_shown_as_it_lies_on_disk_and_told_of_test_slides(seen, results):
    (about,) = seen.json("0/t1/about.json")["sets"][:1]
    assert (about["name"], about["spread"]) == (ENSEMBLE, True)
    assert seen.json("0/a1/about.json")["sets"][0]["spread"] is False
    tile = seen.grey(f"0/t1/spread/0/0/0.png?set={ENSEMBLE}&class=gland")[:112, :144]
    with open_raster(spread_file(results / "ensembles" / ENSEMBLE / "t", "t1")) as raster:
        (values,) = raster.read()
    wanted = np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)[:112, :144].astype(int)
    assert np.abs(tile - wanted).max() <= 1
    assert tile[0, 140] > tile[0, 4]
    slides = {slide["slide"]: slide["spread"] for slide in seen.json("runs.json")["runs"][0]["slides"]}
    assert slides["t1"] == {ENSEMBLE: pytest.approx(values.mean() / 510, abs=1e-4)}
    assert slides["a1"] == {}


def test_a_table_of_spreads_that_cannot_be_read_takes_nothing_else_away(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results.parent, copy)
    table = copy / "results" / "report" / "spread.csv"
    table.write_text(table.read_text().replace("t2,", "t2;") + "saved,t1,one,t,much\nsaved,a1,one,a,nan\nsaved\n")
    with contextlib.chdir(copy), viewer("results", log=tmp_path / "log") as own:
        slides = {slide["slide"]: slide["spread"] for slide in own.json("runs.json")["runs"][0]["slides"]}
    assert {name for name, told in slides.items() if told} == {"t1"}


def test_the_spread_of_a_model_in_half_precision_is_shown_at_the_same_scale(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results.parent, copy)
    folder = copy / "results" / "probabilities" / ENSEMBLE / "t"
    with open_raster(probability_file(folder, "t1")) as raster:
        size, tags = raster.size, Frame.of(raster).tags([SPREAD])
    with create_raster(spread_file(folder, "t1"), size, dtype=np.float16, tags=tags) as raster:
        raster.write(np.full((size.height, size.width), 0.25), 0, 0)
    with contextlib.chdir(copy), viewer("results", log=tmp_path / "log") as own:
        tile = own.grey(f"0/t1/spread/0/0/0.png?set=model%20{ENSEMBLE}")[:112, :144]
    assert np.unique(tile).tolist() == [128]


def test_dice_at_the_threshold_is_that_of_the_pixels(seen, results):
    curve = seen.json(f"0/t1/dice.json?set={ENSEMBLE}")["dice"]["gland"]
    with open_raster(probability_file(results / "ensembles" / ENSEMBLE / "t", "t1")) as raster:
        values = raster.read()[raster.classes.index("gland")]
    with open_raster(results / "scaled" / "half" / "t" / "t1.mask.tif") as raster:
        truth = raster.read()[0] >> raster.classes.index("gland") & 1 > 0
    for level in (40, 128, 200):
        taken = values >= level
        assert curve[level] == pytest.approx(2 * (taken & truth).sum() / (taken.sum() + truth.sum()), abs=1e-4)


def test_outlines_and_a_click_tell_the_same_object(seen, results):
    part = "0,0,144,112"
    true = seen.json(f"0/t1/outlines.json?box={part}&kind=true&set={ENSEMBLE}")
    found = seen.json(f"0/t1/outlines.json?box={part}&kind=predicted&set={ENSEMBLE}")
    assert len(true["objects"]) > 3
    assert not true["many"]
    table = outlines_file(results / "masks" / "t", "t1")
    assert table.is_file()
    largest = max(found["objects"], key=lambda one: one["area"])
    left, top, right, bottom = largest["box"]
    here = seen.json(f"0/t1/at.json?x={(left + right) / 2}&y={(top + bottom) / 2}&set={ENSEMBLE}")
    assert here["predicted"] == largest
    assert here["true"]["class"] == largest["class"]
    assert 0.4 < here["overlap"]["iou"] < 1
    assert seen.json(f"0/t1/at.json?x=1&y=1&set={ENSEMBLE}") == {"predicted": None, "true": None}
    assert seen.json(f"0/t1/outlines.json?box=-5,-5,-1,-1&kind=predicted&set={ENSEMBLE}")["objects"] == []


def test_the_list_leads_from_the_largest_mistake_on_and_then_from_the_least_sure(seen):
    listed = seen.json(f"0/t1/listed.json?set={ENSEMBLE}")
    assert listed["order"] == ("mistakes" if listed["mistakes"] else "unsure")
    unsure = seen.json(f"0/t1/listed.json?set={ENSEMBLE}&order=unsure")
    confidence = [one["confidence"] for one in unsure["objects"]]
    assert confidence == sorted(confidence)
    assert unsure["count"] == len(confidence) > 3


def test_objects_that_share_edges_are_outlined_and_clicked_each_by_its_own_pixels(results, tmp_path):
    """Whose pixels stand in the table as runs, as the mask does not tell them apart."""
    shutil.copytree(results.parent, tmp_path / "copy")
    segments = tmp_path / "copy" / "results" / "segments" / ENSEMBLE / "t"
    pixels = np.zeros((112, 144), np.int64)
    pixels[20:50, 30:60], pixels[20:35, 60:80], pixels[30:40, 40:50] = 1, 2, 0
    runs = Runs.concatenate([(0, Runs.from_mask(pixels == 1)), (0, Runs.from_mask(pixels == 2))], 112, 144)
    owner = np.repeat([0, 1], [len(Runs.from_mask(pixels == number)) for number in (1, 2)])
    values = np.array([(204.0, 204.0, 1.0), (102.0, 102.0, 1.0)], SCORES)[owner]
    table = object_table("gland", measure(Components(runs, owner, values), use_max=True), 0, sharing=True)
    pq.write_table(table, objects_file(segments, "t1"))
    with contextlib.chdir(tmp_path / "copy"), viewer("results", log=tmp_path / "log") as own:
        found = own.json(f"0/t1/outlines.json?box=0,0,144,112&kind=predicted&set={ENSEMBLE}")["objects"]
        assert [(one["area"], one["confidence"], one["box"]) for one in found] == [
            (800, 0.8, [30, 20, 60, 50]), (300, 0.4, [60, 20, 80, 35]),
        ]  # fmt: skip
        shapes = [Polygon(one["rings"][0], one["rings"][1:]) for one in found]
        assert shapes[0].equals(box(30, 20, 60, 50) - box(40, 30, 50, 40))
        assert shapes[1].equals(box(60, 20, 80, 35))
        for x, place in ((59.5, 0), (60.5, 1)):
            assert own.json(f"0/t1/at.json?x={x}&y=25&set={ENSEMBLE}")["predicted"] == found[place]
        assert own.json(f"0/t1/at.json?x=45&y=35&set={ENSEMBLE}")["predicted"] is None, "a hole"
        listed = own.json(f"0/t1/listed.json?set={ENSEMBLE}&order=unsure")["objects"]
        assert [one["confidence"] for one in listed] == [0.4, 0.8]
        assert own.json(f"0/t1/outlines.json?box=70,0,144,112&kind=predicted&set={ENSEMBLE}")["objects"] == found[1:]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("0/nobody/about.json", 404, 'no slide "nobody"'),
        ("7/t1/about.json", 404, "no run 7"),
        ("0/t1/colours/0/0/0.png", 404, 'no layer "colours"'),
        ("0/t1/truth/0/9/9.png", 404, "no such tile"),
        ("0/t1/truth/44/0/0.png", 404, "no such tile"),
        ("0/t1/prediction/0/0/0.png?set=none", 404, "no predictions"),
        ("0/t1/probability/0/0/0.png?set=saved&class=bone", 404, 'no class "bone"'),
        ("0/t1/outlines.json?box=1,2", 404, "no box"),
        ("0/t1/at.json?x=one&y=1", 404, "no number"),
        ("static/../../../runs.py", 404, "nothing at"),
        ("static/%2e%2e%2fruns.py", 404, "nothing at"),
        ("0/..%2f..%2fsecret/about.json", 404, "nothing at"),
        ("static/" + "a" * 5000, 414, "too long"),
    ],
)
def test_what_cannot_be_answered_is_told(seen, path, status, words):
    found, text = seen.refusal(path)
    assert (found, words in text) == (status, True), text


def test_only_the_token_opens_and_only_from_this_machine(seen):
    assert seen.refusal("/", whole=True)[0] == 403
    assert seen.refusal("/" + "x" * 32 + "/runs.json", whole=True)[0] == 403
    assert seen.refusal("runs.json", headers={"Host": "evil.example"})[0] == 421
    status, text = seen.refusal("runs.json", method="POST", body=b"x" * 2_000_000)
    assert (status, "only reads" in text) == (413, True)
    assert seen.refusal("runs.json", method="DELETE")[0] == 405
    assert seen.refusal("runs.json", body=b"x" * 100)[0] == 413


def test_the_page_may_ask_nobody_else(seen):
    _, headers, content = seen.ask("")
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "http" not in policy
    assert "unsafe" not in policy
    assert b"http" not in content.replace(b"http-equiv", b"")
    assert headers["referrer-policy"] == "no-referrer"


def test_fifty_questions_at_once_are_answered_and_nothing_is_written(seen, results):
    before = told(results.parent)
    paths = [
        f"0/{slide}/{layer}/0/0/0.png?set={ENSEMBLE}" for slide in ("t1", "t2") for layer in ("truth", "probability")
    ]
    paths += [f"0/{slide}/image/0/0/0.jpg" for slide in ("a1", "a2", "b1", "b2", "x1", "t1", "t2")]
    paths = (paths * 5)[:50]
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(seen.ask, paths))
    expected = [404 if path.startswith("0/t2/truth") else 200 for path in paths]
    assert [status for status, _, _ in found] == expected
    assert told(results.parent) == before


def test_a_slide_that_is_gone_and_a_damaged_raster_are_told_without_a_traceback(results, tmp_path):
    shutil.copytree(results.parent, tmp_path / "copy")
    copy = tmp_path / "copy"
    (copy / "slides" / "t1.tif").unlink()
    damaged = probability_file(copy / "results" / "ensembles" / ENSEMBLE / "t", "t1")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    (copy / "results" / "masks" / "t" / "t1.outlines.parquet").write_bytes(b"PAR1 nothing")
    with contextlib.chdir(copy), viewer("results", log=tmp_path / "log") as own:
        before = told(copy)
        status, text = own.refusal("0/t1/image/0/0/0.jpg")
        assert (status, "t1.tif" in text) == (422, True), text
        status, text = own.refusal(f"0/t1/probability/0/0/0.png?set={ENSEMBLE}")
        assert (status, "damaged" in text) == (422, True), text
        outlines = f"0/t1/outlines.json?box=0,0,9,9&kind=true&set={ENSEMBLE}"
        status = 202
        while status == 202:
            status, _, content = own.ask(outlines)
        assert (status, b"outlines.parquet" in content) == (422, True)
        assert own.json("0/t2/about.json")["slide"] == "t2"
        assert told(copy) == before
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert own.process.returncode == 0


def test_results_that_are_none_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["view", str(tmp_path)])
    assert stopped.value.code == 2
    assert "holds no results of a run" in capsys.readouterr().err


@pytest.mark.parametrize(("at", "place"), [("", ""), ("t1", "slide=t1"), ("#slide=t1&zoom=2", "slide=t1&zoom=2")])
def test_it_begins_where_it_is_asked_to(results, tmp_path, at, place):
    with viewer(results, "--at", at, log=tmp_path / "log") as own:
        assert own.place == place
        assert own.ask("")[0] == 200


def test_the_folder_above_results_serves_as_well(results, tmp_path):
    """As ``apply`` leaves it."""
    with viewer(results.parent, log=tmp_path / "log") as own:
        assert len(own.json("runs.json")["runs"][0]["slides"]) == 7


def test_indexes_are_removed_at_the_end(results, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with viewer(results, log=tmp_path / "log") as own:
        own.json(f"0/t1/outlines.json?box=0,0,99,99&kind=true&set={ENSEMBLE}")
        assert list(tmp_path.glob("tilewright-view-*/*"))
        own.process.send_signal(signal.SIGTERM)
        own.process.wait(30)
    assert not list(tmp_path.glob("tilewright-view-*"))


def test_a_coarse_tile_of_a_large_raster_is_every_nth_value(tmp_path, monkeypatch):
    monkeypatch.setattr("tilewright.report.viewer.pyramids.SMALL", 1)
    size = Size(1000, 3000)
    pixels = np.random.default_rng(1).integers(0, 4, (size.height, size.width)).astype(np.uint8)
    path = tmp_path / "mask.tif"
    with create_raster(path, size, tags=Frame(0, 0, *size, image=size).tags(["one"])) as raster:
        raster.write(pixels, 0, 0)
    extracts = Extracts(tmp_path)
    with open_raster(path) as raster:
        cells, factor = cells_of(size, deepest(size) - 4, 0, 0)
        assert factor == 16
        with pytest.raises(NotYet):
            sample(raster, path, cells, factor, extracts)
        extracts.clear()
        extracts._thread.shutdown(wait=True)
        found = sample(raster, path, cells, factor, extracts)[0]
    # of each eighth pixel, the second one of two
    rows, columns = (
        np.minimum((np.arange(n) * 2 + 1) * 8 + 4, e - 1) for n, e in zip(found.shape, pixels.shape, strict=True)
    )
    assert found.shape == (188, 63)
    assert (found[:-1, :-1] == pixels[rows[:, None], columns][:-1, :-1]).all()
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(tmp_path) not in maps.read_text(), "pages that were read stay in memory"
