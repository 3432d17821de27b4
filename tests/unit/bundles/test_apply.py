"""What ``apply`` makes of images and options; the runs themselves are in tests/workflow/test_apply.py."""

import csv

import numpy as np
import pytest
import pyvips
import yaml

from tilewright.bundles import apply as steps
from tilewright.bundles.apply import apply
from tilewright.project.bundle import Bundle
from tilewright.project.configfile import parse_config
from tilewright.runtime.errors import DataError, UserError


@pytest.fixture
def images(tmp_path, save_image):
    """Three images in a folder, of which one says how large its pixels are."""
    draw = np.random.default_rng(0)
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("one.png", "two words.png"):
        save_image(folder / name, draw.integers(0, 256, (64, 80, 3), np.uint8))
    (folder / "notes.txt").write_text("no image")
    return folder


def made(tmp_path, *, scale, mpp=None, weights=None):
    """A bundle of one model, of which only the description is there, and how it is read."""
    member = {
        "name": "unet",
        "network": {
            "architecture": "Unet", "encoder": "x", "options": {}, "mean": [0.5] * 3, "std": [0.5] * 3,
            "precision": "32",
        },
        "scale": scale, "mpp": mpp and {"min": mpp, "max": mpp}, "inference": {}, "weight": 1,
        "bands": [["gland", "mask"]],
        "weights": weights or [{"role": "fold0", "file": "weights/unet/fold0.safetensors"}],
    }  # fmt: skip
    return Bundle.model_validate({
        "format": 1, "name": "glands", "credits": {}, "description": "", "inside": [], "members": [member],
        "classes": [{"name": "gland", "color": "#112233", "threshold": 0.4, "min_area": 7}], "tissue": {}, "slides": {},
        "segmentation": {}, "aim": "pooled", "scores": [], "trained_on": [], "versions": {}, "code": "", "files": {},
    })  # fmt: skip


@pytest.fixture
def applied(tmp_path, monkeypatch):
    """Applies a bundle up to the run of the graph; gives the sheet's rows, the config, and how the graph is run."""

    def run(*images, scale=None, known=None, weights=None, **options):
        bundle, ran = made(tmp_path, scale=scale or {"factor": 2}, mpp=known, weights=weights), []
        monkeypatch.setattr(steps, "read_bundle", lambda _: bundle)
        monkeypatch.setattr(steps, "_run", lambda *arguments: ran.append(arguments))
        out = tmp_path / "out"
        apply(tmp_path / "bundle", *map(str, images), out=out, **options)
        with (out / "slides.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        return rows, yaml.safe_load((out / "config.yaml").read_text()), ran

    return run


def test_a_folder_gives_a_slide_for_each_image_in_it(applied, images):
    rows, config, ran = applied(images)
    assert [(row["slide"], row["role"], row["shard"]) for row in rows] == [
        ("one", "test", "one"),
        ("two_words", "test", "two_words"),
    ]
    assert rows[1]["image"] == str(images / "two words.png")
    assert config["ensembles"] == {"glands": {"models": {"glands": 1}}}
    assert len(ran) == 1


def test_files_and_patterns_may_be_mixed_and_count_once(applied, images):
    rows, *_ = applied(images / "one.png", images / "*.png", images / "o?e.png")
    assert [row["slide"] for row in rows] == ["one", "two_words"]


def test_images_of_one_name_bear_that_of_their_folder(applied, images, tmp_path):
    other = tmp_path / "others"
    other.mkdir()
    for name in ("one.png", "One.tif"):
        (other / name).write_bytes((images / "one.png").read_bytes())
    rows, *_ = applied(images / "one.png", other / "one.png")
    assert [row["slide"] for row in rows] == ["scans_one", "others_one"]
    rows, *_ = applied(other)
    assert len({row["slide"].lower() for row in rows}) == 2


def test_everything_that_is_not_there_is_named_at_once(applied, images, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as error:
        applied(images / "none.png", tmp_path / "empty", images / "*.svs", images / "one.png")
    text = str(error.value)
    assert "none.png: there is no such image" in text
    assert "empty: holds no image" in text
    assert "*.svs: there is no such image" in text
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_read_are_left_out_where_that_is_asked_for(applied, images, capsys):
    for name in ("cut.png", "text.tif"):
        (images / name).write_text("this is no picture")
    rows, *_ = applied(images, skip_unreadable=True)
    roles = {row["slide"]: row["role"] for row in rows}
    assert roles == {"one": "test", "two_words": "test", "cut": "skip", "text": "skip"}
    told = capsys.readouterr().err
    assert "left out: " in told
    assert "cut.png" in told
    assert "text.tif" in told


def test_where_no_image_can_be_read_that_is_an_error(applied, images, tmp_path):
    (tmp_path / "text.tif").write_text("this is no picture")
    with pytest.raises(UserError, match=r"text\.tif"):
        applied(tmp_path / "text.tif", skip_unreadable=True)


def test_what_a_sheet_skips_stays_skipped(applied, images, tmp_path):
    sheet = tmp_path / "mine.csv"
    sheet.write_text(f"slide,image,role\none,{images}/one.png,\ntwo,{images}/none.png,skip\n")
    rows, *_ = applied(sheet)
    assert {row["slide"]: row["role"] for row in rows} == {"one": "test", "two": "skip"}


def test_results_among_the_images_are_refused(applied, images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes((images / "one.png").read_bytes())
    with pytest.raises(UserError, match="is the folder of the images"):
        applied(tmp_path / "out")


def test_every_image_that_cannot_be_read_is_named_before_anything_runs(applied, images, tmp_path):
    for name in ("cut.png", "text.tif"):
        (images / name).write_text("this is no picture")
    with pytest.raises(UserError) as error:
        applied(images)
    assert "cut.png" in str(error.value)
    assert "text.tif" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_knows_its_pixel_size_refuses_a_slide_without_one(applied, images):
    with pytest.raises(UserError, match=r"pixel size is unknown(.|\n)*--mpp") as error:
        applied(images, known=1.0)
    assert str(error.value).count("pixel size is unknown") == 2
    rows, *_ = applied(images, known=1.0, mpp=0.5)
    assert {row["mpp"] for row in rows} == {"0.5"}


def test_a_pixel_size_is_for_slides_that_do_not_say_theirs(applied, images):
    pyvips.Image.black(40, 40, bands=3).copy(xres=4000, yres=4000).tiffsave(str(images / "told.tif"), resunit="cm")
    rows, *_ = applied(images, known=1.0, mpp=0.5)
    assert {row["slide"]: row["mpp"] for row in rows} == {"one": "0.5", "two_words": "0.5", "told": ""}
    with pytest.raises(UserError, match="0 is no pixel size"):
        applied(images, mpp=0.0)


def test_a_slide_that_is_coarser_than_the_bundle_is_refused_with_a_remedy(applied, images):
    with pytest.raises(UserError, match=r"coarser than the scale's 1\.0(.|\n)*Use a finer image"):
        applied(images / "one.png", known=1.0, mpp=2.0)


def test_a_bundle_without_a_pixel_size_works_by_factor_and_says_so(applied, images, capsys):
    applied(images)
    assert "unet works by factor (2), whatever the pixel size of a slide" in capsys.readouterr().err
    applied(images, known=1.0, mpp=0.5)
    assert "by factor" not in capsys.readouterr().err


def test_a_sheet_gives_slides_with_regions_pixel_sizes_and_shards(applied, images, tmp_path):
    sheet = images / "mine.csv"
    sheet.write_text(
        'slide,image,region,mpp,shard,role\na,one.png,"1,2,30,40",0.25,both,train\nb,two words.png,,,both,\n'
    )
    rows, *_ = applied(sheet, mpp=0.5)
    assert [(row["slide"], row["region"], row["mpp"], row["shard"]) for row in rows] == [
        ("a", "1,2,30,40", "0.25", "both"),
        ("b", "", "0.5", "both"),
    ]
    with pytest.raises(UserError, match="beside which no other images"):
        applied(sheet, images / "one.png")
    sheet.write_text("slide,image\na,none.png\n")
    with pytest.raises(UserError, match=r'image "none.png" not found'):
        applied(sheet)


def test_options_reach_the_config(applied, images, tmp_path):
    sample = tmp_path / "sample.csv"
    sample.write_text("id,predicted\none,\n")
    _, config, ran = applied(
        images, threshold=0.7, submission="coco", classes=["gland"], sample=sample, profile="slurm", cores="3"
    )
    assert config["ensembles"]["glands"]["calibration"] == {"threshold": 0.7}
    assert config["submission"] == {"dialect": "coco", "classes": ["gland"], "sample": str(sample)}
    assert ran == [(tmp_path / "out", "3", "slurm")]
    with pytest.raises(UserError, match=r"1\.2 is no probability"):
        applied(images, threshold=1.2)
    with pytest.raises(UserError, match=r'finds no class "glands".(.|\n)*Did you mean "gland"'):
        applied(images, classes=["glands"])


def test_a_spread_is_asked_for_of_bundles_whose_networks_can_differ(applied, images):
    assert "spread" not in applied(images)[1]["bundles"]["glands"]
    with pytest.raises(UserError, match="--spread: the bundle holds one network"):
        applied(images, spread=True)
    folds = [{"role": f"fold{fold}", "file": f"weights/unet/fold{fold}.safetensors"} for fold in range(2)]
    _, config, _ = applied(images, weights=folds, spread=True)
    assert config["bundles"]["glands"]["spread"] is True


def test_no_image_is_no_run(applied):
    with pytest.raises(UserError, match="no image is named"):
        applied()


def test_the_same_command_writes_nothing_anew(applied, images, tmp_path):
    applied(images)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    applied(images)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_a_step_that_failed_is_an_error_that_says_how_to_go_on(images, tmp_path, monkeypatch):
    bundle = made(tmp_path, scale={"factor": 2})
    monkeypatch.setattr(steps, "read_bundle", lambda _: bundle)
    (tmp_path / "profiles" / "default").mkdir(parents=True)
    monkeypatch.setattr(steps, "home", lambda: tmp_path)  # where no Snakefile is
    with pytest.raises(UserError, match=r'no profile "slum".(.|\n)*one of default'):
        apply(tmp_path / "bundle", str(images), out=tmp_path / "out", profile="slum")
    with pytest.raises(DataError, match=r"a step failed(.|\n)*run the same command"):
        apply(tmp_path / "bundle", str(images), out=tmp_path / "out")


def test_the_config_that_is_written_is_read_as_one(applied, images, monkeypatch, tmp_path):
    _, config, _ = applied(images)
    monkeypatch.setattr("tilewright.project.bundled.read_bundle", lambda _: made(tmp_path, scale={"factor": 2}))
    parsed = parse_config(config)
    assert list(parsed.classes) == ["gland"]
    assert not parsed.is_cross_validated
