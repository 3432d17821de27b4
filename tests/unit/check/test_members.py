"""``check`` looks at bundles and saved predictions before a run does."""

from pathlib import Path

import pytest
from bundling import content, write_bundle

from tilewright.check.check import check
from tilewright.runtime.errors import UserError
from tilewright.runtime.hashed import file_print


def examined(project, capsys):
    """What ``check`` prints; of errors their number last."""
    try:
        check(config=project.config_file)
    except UserError as error:
        return f"{capsys.readouterr().out}{error}"
    return capsys.readouterr().out


@pytest.fixture
def told(project, monkeypatch, capsys):
    """What ``check`` prints of the tiny project with bundles and saved predictions."""
    monkeypatch.chdir(project.folder)

    def printed(models, *, trained=True, predictions=None, saw=(), start=None, **ensemble):
        slides = [next(project.sheet.parent.glob(f"{name}.[pt]*")) for name in saw]
        write_bundle(Path("kidney"), content(trained_on=sorted(map(file_print, slides))))
        values = {**project.config(), "bundles": {"kidney": {"path": "kidney"}}}
        values |= {"predictions": predictions or {}, "ensembles": {"all": {"models": models, **ensemble}}}
        values["models"]["near"]["start"] = start
        for name in () if trained else ("models", "tiles", "folds", "scales", "classes"):
            del values[name]
        project.write_config(values)
        return examined(project, capsys)

    return printed


@pytest.fixture
def project(new_project, tmp_path):
    """The tiny project, whose slides tell their pixel size, which the bundle asks for."""
    project = new_project(tmp_path / "project")
    rows = [{**row, "mpp": "0.5"} for row in project.rows()]
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    project.sheet.write_text("\n".join(lines) + "\n")
    return project


def test_a_bundle_alone_is_enough(told):
    assert told({"kidney": 1}, trained=False) == "0 errors, 0 warnings; 7 slides readable.\n"


def test_slides_of_unknown_pixel_size_are_told_where_a_bundle_asks_for_it(told, project):
    project.write_sheet([{key: value for key, value in row.items() if key != "mpp"} for row in project.rows()])
    found = told({"kidney": 1}, trained=False)
    assert "(slide a1), scale kidney.near: its pixel size is unknown" in found
    assert found.count("its pixel size is unknown") == 7


def test_a_bundle_that_is_not_there_is_one_error(told, project, capsys):
    told({"kidney": 1})
    project.write_config({**project.config(), "bundles": {"kidney": {"path": "kidny"}}})
    found = examined(project, capsys)
    assert "kidny: " in found
    assert "1 error, 0 warnings" in found


def test_an_ensemble_that_cannot_be_made_is_told(told):
    theirs = {"theirs": {"folder": "theirs"}}
    found = told({"near": 1, "theirs": 1}, predictions=theirs)
    assert "ensembles.all: it cannot be calibrated, as training slides may have been seen by theirs" in found
    assert "there is no file" not in found


def test_slides_without_saved_predictions_are_named(told):
    Path("theirs/b").mkdir(parents=True)
    for place in ("a1.npy", "b/b1.tif", "b/b2.tiff", "t1.tif"):
        Path("theirs", place).touch()
    theirs = {"theirs": {"folder": "theirs", "out_of_fold": True}}
    found = told({"near": 1, "theirs": 1}, predictions=theirs)
    assert "predictions.theirs: 2 slide(s) have no file in theirs: a2, t2.\n" in found
    assert "Save SLIDE.tif or SLIDE.npy there, itself or in a folder for each shard." in found
    for place in ("a2.tif", "t/t2.npy"):
        Path("theirs", place).parent.mkdir(exist_ok=True)
        Path("theirs", place).touch()
    assert told({"near": 1, "theirs": 1}, predictions=theirs).startswith("0 errors")


def test_predictions_are_needed_of_the_slides_that_are_predicted_alone(told):
    Path("theirs").mkdir()
    for slide in ("t1", "t2"):
        Path("theirs", f"{slide}.tif").touch()
    theirs = {"theirs": {"folder": "theirs"}}
    assert told({"near": 1, "theirs": 1}, predictions=theirs, calibration={"threshold": 0.5}).startswith("0 errors")


SEEN = "bundles.kidney: the bundle was trained on the files of slides that it is judged by here: "


@pytest.mark.parametrize(
    ("trained", "saw", "named"),
    [
        (True, ("a1", "b2", "t1", "t2", "x1"), "a1, b2, t1."),
        (True, ("t2", "x1"), ""),
        (False, ("a1", "t1", "t2"), "t1."),
        (False, (), ""),
    ],
)
def test_slides_that_a_bundle_has_seen_are_named_where_it_is_judged_by_them(told, trained, saw, named):
    found = told({"kidney": 1}, trained=trained, saw=saw)
    assert (f"{SEEN}{named}\n" in found) == bool(named)
    assert found.endswith(f"0 errors, {1 if named else 0} warning{'' if named else 's'}; 7 slides readable.\n")


def test_slides_that_the_start_of_a_training_has_seen_are_named_where_the_model_is_judged(told, monkeypatch):
    monkeypatch.setattr("tilewright.check.networks.load_start", lambda *_: None)  # its weights are a few bytes
    found = told({"near": 1}, saw=("a1", "t2"), start="kidney")
    assert f"{SEEN.replace('bundles.', 'models, start ')}a1.\n" in found
    assert "judged" not in told({"far": 1}, saw=("a1",), start="kidney")
    assert "judged" not in told({"near": 1}, saw=("x1",), start="kidney")


def test_a_bundle_in_no_ensemble_is_judged_by_nothing(told):
    assert told({"near": 1}, saw=("a1", "t1")).startswith("0 errors, 0 warnings")


def test_a_slide_is_known_again_by_its_content_and_not_by_its_name(told, project, capsys):
    assert f"{SEEN}t1.\n" in told({"kidney": 1}, trained=False, saw=("t1",))
    image, sheet = project.sheet.parent / "t1.tif", project.sheet.read_text()
    image.rename(image.with_name("other.tif"))
    project.sheet.write_text(sheet.replace("t1,t1.tif", "t9,other.tif"))
    assert f"{SEEN}t9.\n" in examined(project, capsys)
