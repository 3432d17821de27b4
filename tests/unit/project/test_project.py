"""What follows from a config with bundles and saved predictions: members, weights, thresholds, what is predicted."""

import shutil
from pathlib import Path

import pytest
from bundling import content, member, write_bundle

from tilewright.graph import Graph
from tilewright.project.configfile import parse_config
from tilewright.project.orders import PseudoOrder, ReportOrder, WeighOrder
from tilewright.project.places import Places
from tilewright.project.project import Bounds
from tilewright.tiles.folding import project_of

KIDNEY = content(
    classes=[
        {"name": "gland", "color": "#112233", "threshold": 0.4, "min_area": 3},
        {"name": "vessel", "color": "#445566", "threshold": 0.7, "min_area": 5},
    ],
    members=[member("near", weight=3, scale={"factor": 1}, mpp=None), member("far", weight=1, mpp=None)],
)


@pytest.fixture
def project_with(project, monkeypatch):
    """A project with the bundle kidney and the saved predictions theirs, and ensembles of them."""
    monkeypatch.chdir(project.folder)
    write_bundle(Path("kidney"), KIDNEY)

    def made(models, *, trained=True, out_of_fold=False, scale=None, changes=None, **ensemble):
        values = {**project.config(), **(changes or {}), "bundles": {"kidney": {"path": "kidney"}}}
        values["predictions"] = {"theirs": {"folder": "theirs", "out_of_fold": out_of_fold, "scale": scale}}
        values["ensembles"] = {"all": {"models": models, **ensemble}}
        for name in () if trained else ("models", "tiles", "folds"):
            values.pop(name)
        return project_of(parse_config(values))

    return made


def test_members_of_a_bundle_share_its_weight(project_with):
    found = project_with({"near": 2, "kidney": 4, "theirs": 1})
    assert found.weights("all") == {"near": 2, "kidney.near": 3, "kidney.far": 1, "theirs": 1}


def test_a_bundle_alone_is_added_up_by_the_numbers_that_it_has(project_with):
    """Other numbers of the same ratios would be rounded otherwise than where it was made."""
    assert project_with({"kidney": 0.3}, trained=False).weights("all") == {"kidney.near": 3, "kidney.far": 1}


def test_the_grid_of_an_ensemble_is_that_of_its_finest_member(project_with):
    found = project_with({"far": 1, "kidney": 1, "theirs": 1}, scale="half")
    assert found.members("all") == ["kidney.near", "far", "theirs", "kidney.far"]
    assert found.grid_scale("all") == "full"
    assert WeighOrder.of(found, "all").models[0] == "kidney.near"


def test_of_equal_scales_one_of_this_project_comes_first(project_with):
    assert project_with({"near": 1, "kidney": 1}).members("all") == ["near", "kidney.near", "kidney.far"]


def test_saved_predictions_are_brought_to_the_finest_scale_unless_one_is_named(project_with):
    assert project_with({"kidney": 1, "theirs": 1}).scale_of("theirs") == "full"
    assert project_with({"kidney": 1, "theirs": 1}, scale="half").scale_of("theirs") == "half"
    alone = project_with({"kidney": 1, "theirs": 1}, trained=False, changes={"scales": {}})
    assert alone.scale_of("theirs") == "kidney.near"
    shutil.rmtree("kidney")
    write_bundle(Path("kidney"), content(members=[member("near", mpp={"min": 0.5, "max": 0.5})]))
    assert project_with({"near": 1, "kidney": 1}).scale_of("theirs") == "full", "micrometres are no factor"


GIVEN = {"threshold": {"gland": 0.2}}
KEPT = {"gland": Bounds(0.4, 3), "vessel": Bounds(0.7, 5)}


@pytest.mark.parametrize(
    ("models", "calibration", "bounds"),
    [
        ({"kidney": 1}, {}, KEPT),
        ({"kidney": 1, "theirs": 1}, {"min_area": "fit"}, KEPT),
        ({"kidney": 1}, GIVEN, {**KEPT, "gland": Bounds(0.2, 3)}),
        ({"kidney": 1}, {"threshold": 0.0, "min_area": 0}, {"gland": Bounds(0, 0), "vessel": Bounds(0, 0)}),
        ({"theirs": 1}, {"threshold": 0.5, "min_area": 9}, {"gland": Bounds(0.5, 9), "vessel": Bounds(0.5, 9)}),
        ({"theirs": 1}, {"threshold": 0.5, "min_area": "fit"}, {"gland": Bounds(0.5, 0), "vessel": Bounds(0.5, 0)}),
    ],
)
def test_what_is_not_fitted_is_given_by_the_config_else_by_the_bundle(project_with, models, calibration, bounds):
    assert project_with(models, trained=False, calibration=calibration).bounds("all") == bounds


def test_a_confidence_that_a_bundle_was_fitted_with_comes_with_it(project_with):
    shutil.rmtree("kidney")
    said = content()
    said["classes"] = [{**one, "min_confidence": 0.6} for one in said["classes"]]
    write_bundle(Path("kidney"), said)
    found = project_with({"kidney": 1}, trained=False, calibration={"threshold": {"gland": 0.2}}).bounds("all")
    assert found == {"gland": Bounds(0.2, 3, 0.6), "vessel": Bounds(0.4, 3, 0.6)}


def test_training_slides_are_predicted_where_nothing_has_seen_them(project_with):
    threshold, found_on = {"calibration": {"threshold": 0.5}}, ["a1", "a2", "b1", "b2"]
    for models, out_of_fold, calibrated in (
        ({"near": 1, "kidney": 1}, False, True),
        ({"near": 1, "kidney": 1, "theirs": 1}, False, False),
        ({"near": 1, "kidney": 1, "theirs": 1}, True, True),
        ({"theirs": 1}, False, False),
        ({"kidney": 1}, False, True),
    ):
        found = project_with(models, out_of_fold=out_of_fold, **threshold)
        assert found.is_calibrated("all") == calibrated
        assert found.predicted("all") == (["a", "b", "t"] if calibrated else ["t"])
        assert (found.bounds("all") is None) == calibrated
        assert [row.slide for row in found.evaluated_rows("all")][:-1] == (found_on if calibrated else [])


def test_an_ensemble_is_packed_where_all_its_models_are_there_and_thresholds_are_fitted(project_with):
    assert project_with({"near": 1, "kidney": 1}).is_packed("all")
    assert not project_with({"near": 1, "kidney": 1, "theirs": 1}, out_of_fold=True).is_packed("all")
    assert not project_with({"kidney": 1}, trained=False).is_packed("all")


def test_with_bundles_alone_nothing_of_a_training_is_asked_for(project_with):
    found = project_with({"kidney": 1}, trained=False)
    graph = Graph(found, Places())
    assert found.folds == {}
    assert graph.all_curves == graph.all_seams == graph.all_weights == graph.all_calibrations == graph.all_bundles == []
    assert graph.all_segments == ["results/segments/all/t"]


ROUND = {"pseudo": {"from": "all"}, "tiles": "fine"}


def second_round(project_with, project, models):
    values = project.config()["models"]
    return project_with(
        models, changes={"models": {**values, "again": {**values["near"], **ROUND}}}, calibration={"threshold": 0.5}
    )


def test_members_from_elsewhere_label_every_fold_alike(project_with, project):
    found = second_round(project_with, project, {"near": 1, "kidney": 4, "theirs": 1})
    order = PseudoOrder.of(found, "again", "fold1", "t")
    assert found.members("all") == ["near", "theirs", "kidney.near", "kidney.far"]
    assert [(one.part, one.weight) for one in order.members] == [("fold1", 1), ("", 1), ("", 3), ("", 1)]
    # what validates nothing learns from what predicts test slides
    assert [one.part for one in PseudoOrder.of(found, "again", "final", "t").members] == [""] * 4


@pytest.mark.parametrize("elsewhere", ["kidney", "theirs"])
def test_the_report_is_told_of_labels_from_elsewhere(project_with, project, elsewhere):
    told = ReportOrder.of(second_round(project_with, project, {"near": 1, elsewhere: 1}))
    assert {name: model.labelled_elsewhere for name, model in told.models.items()} == {
        "near": "", "far": "", "again": "all",
    }  # fmt: skip
    alone = ReportOrder.of(second_round(project_with, project, {"near": 1}))
    assert alone.models["again"].labelled_elsewhere == ""


def test_the_report_is_told_what_comes_from_elsewhere(project_with):
    told = ReportOrder.of(project_with({"near": 1, "kidney": 1, "theirs": 1}, out_of_fold=True)).ensembles["all"]
    assert told.saved == ["theirs"]
    assert {name: (one.title, one.licence) for name, one in told.bundles.items()} == {"kidney": ("Glands", "CC-BY-4.0")}
    assert told.evaluated == ["a1", "a2", "b1", "b2", "t1"]
    assert told.bounds is None
