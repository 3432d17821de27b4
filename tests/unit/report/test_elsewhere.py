"""What the report says of members that were not trained here."""

import shutil
from pathlib import Path

import pytest
from bundling import content, write_bundle

from tilewright.pixels.grid import Size
from tilewright.pixels.rasters import create_raster
from tilewright.project.configfile import parse_config
from tilewright.project.orders import ReportBundle, ReportOrder
from tilewright.project.places import Places
from tilewright.report.content import Pictures, page_content
from tilewright.report.reading import read_results
from tilewright.report.report import rendered
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError
from tilewright.tiles.folding import project_of

PLACES = Places()
BUNDLES = {
    "kidney": content(trained_on=["a" * 64], credits={"title": "Glands", "licence": "CC-BY-4.0"}),
    "bare": content(trained_on=["b" * 64, "c" * 64], credits={}),
}


@pytest.fixture
def page(project, monkeypatch):
    """The page of an ensemble of bundles and saved predictions, of test slides alone."""
    monkeypatch.chdir(project.folder)
    for name, said in BUNDLES.items():
        write_bundle(Path(name), said)

    def told(models, prints, *, starts=None, **ensemble):
        values = {key: project.config()[key] for key in ("sheet", "classes", "scales")}
        values["bundles"] = {name: {"path": name} for name in BUNDLES}
        values["predictions"] = {"theirs": {"folder": "theirs"}}
        values["ensembles"] = {"all": {"models": models, **ensemble}}
        made = project_of(parse_config(values))
        scaled = Path(PLACES.scaled(made.grid_scale("all"), "t"))
        shutil.rmtree(scaled, ignore_errors=True)
        for slide, found in prints.items():
            scaled.mkdir(parents=True, exist_ok=True)
            with create_raster(scaled / f"{slide}.image.tif", Size(8, 8), bands=3, tags=found and {"file": found}):
                pass
        write_document(Path(PLACES.metrics("all"), "summary.json"), {})
        Path(PLACES.metrics("all"), "slides.csv").write_text("set,slide,source,class,dice\n")
        Path(PLACES.metrics("all"), "mistakes.csv").write_text("set,slide,class,kind,left,top,right,bottom\n")
        order = ReportOrder.of(made)
        own = order.ensembles["all"].model_copy(update={"starts": starts or {}})
        order = order.model_copy(update={"ensembles": {"all": own}})
        return rendered(page_content(order, read_results(order, PLACES), Pictures(set(), {"all": []})))

    Path(PLACES.metrics("all")).mkdir(parents=True)
    return told


def test_bundles_are_told_with_title_and_licence(page):
    text = page({"kidney": 1, "bare": 1}, {"t1": "d" * 64}, calibration={"threshold": 0.5})
    assert "<p>kidney is a bundle (Glands, licence CC-BY-4.0): models that were trained elsewhere.</p>" in text
    assert "<p>bare is a bundle: models that were trained elsewhere.</p>" in text
    assert "trained on the files" not in text
    assert "no bundle is made of it" not in text


def test_slides_that_a_bundle_has_seen_are_named(page):
    text = page({"kidney": 1, "bare": 1}, {"t1": "c" * 64}, calibration={"threshold": 0.5})
    assert "bare was trained on the files of slides that it is judged by here; their scores are too good: t1." in text
    assert "kidney was trained on" not in text


def test_slides_that_a_training_started_from_are_named(page):
    starts = {"old.zip": ReportBundle(title="Old", licence="MIT", trained_on=["e" * 64])}
    text = page({"kidney": 1}, {"t1": "e" * 64}, starts=starts)
    assert "Trainings started from the bundle old.zip." in text
    assert "old.zip was trained on the files of slides that it is judged by here" in text


def test_an_ensemble_with_saved_predictions_says_that_no_bundle_is_made(page):
    text = page({"kidney": 1, "theirs": 1}, {"t1": "d" * 64})
    assert "Holds saved predictions (theirs), whose models are not here; hence no bundle is made of it." in text


def test_weights_of_an_earlier_config_are_not_shown(page):
    member = {"weight": 0.987, "error": 0.1, "error_without": None}
    said = {"weights": {"kidney.near": 0.987}, "members": {"kidney.near": member}, "error": {"fitted": 0, "nested": 0}}
    Path(PLACES.weights("all")).parent.mkdir(parents=True)
    write_document(Path(PLACES.weights("all")), said)
    text = page({"kidney": 1}, {"t1": "d" * 64})
    assert "0.987" not in text
    assert "kidney.near (1)" in text


def test_thresholds_that_were_not_fitted_are_shown_as_such(page):
    text = page({"kidney": 1}, {"t1": "d" * 64}, calibration={"threshold": {"vessel": 0.25}})
    assert "Given by the config or the bundle; nothing was fitted here." in text
    assert '</span>gland</td><td class="n">0.400</td><td class="n">3</td>' in text
    assert '</span>vessel</td><td class="n">0.250</td><td class="n">3</td>' in text


def test_a_scaled_image_that_tells_no_file_is_an_error_and_no_traceback(page):
    with pytest.raises(DataError, match=r"t1\.image\.tif: does not say of which file it is"):
        page({"kidney": 1}, {"t1": None})
    assert "trained on the files" not in page({"theirs": 1}, {"t1": None}, calibration={"threshold": 0.5})
