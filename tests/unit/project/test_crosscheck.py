from pathlib import Path

import pytest
from bundling import content, member, write_bundle

from tilewright.project.config import Config
from tilewright.project.configfile import parse_config
from tilewright.project.crosscheck import sheet_problems
from tilewright.project.sheetfile import read_sheet
from tilewright.runtime.errors import UserError
from tilewright.tiles.folding import project_of


def problems(project, **options):
    values = project.config()
    values["models"]["near"] |= options
    config = Config.model_validate(values)
    sheet = read_sheet(project.sheet, [project.sheet.parent], list(config.classes))
    return [str(problem) for problem in sheet_problems(config, sheet)]


@pytest.fixture
def project(new_project, tmp_path):
    return new_project(tmp_path / "project")


def test_folds_are_not_read_from_where_they_are_written(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    values = project.config()
    config = Config.model_validate({**values, "folds": {"count": 2, "file": "./results/folds.csv"}})
    (found,) = sheet_problems(config, read_sheet(project.sheet, [project.sheet.parent], list(config.classes)))
    assert str(found).startswith("config, folds.file: is the file that the step split writes.")


@pytest.mark.parametrize(
    ("sampling", "says"),
    [
        ({"rates": {"source": {"ones": 0.5}}}, 'no tile to train on has the source "ones".\n  Did you mean "one"?'),
        (
            {"rates": {"kind": {"grids": 0.5}}},
            'no tile to train on has the kind "grids".\n  Did you mean "grid"?',
        ),
        ({"rates": {"kind": {"object": 0.5}}}, 'no tile to train on has the kind "object".'),
        ({"rates": {"kind": {"scattered": 0.5}}}, 'no tile to train on has the kind "scattered".'),
        ({"rates": {"class": {"glands": 0.5}}}, 'no tile to train on has the class "glands".\n  Did you mean "gland"?'),
        ({"rates": {"role": {"pseudo": 0.5}}}, 'no tile to train on has the role "pseudo".'),
        ({"multipliers": {"a3": 2}}, 'no tile to train on has the slide "a3".'),
        ({"multipliers": {"t1": 2}}, 'no tile to train on has the slide "t1".'),
    ],
)
def test_names_that_the_sheet_does_not_have_are_told_with_the_nearest(project, sampling, says):
    (found,) = problems(project, sampling=sampling)
    assert found.startswith(f"config, models.near.sampling: {says}")


def test_kinds_of_tiles_to_validate_on_are_those_of_the_tile_set(project):
    (found,) = problems(project, validate_on=["grid", "object"])
    assert found.startswith(
        "config, models.near.validate_on: the tile set fine has no object tiles.\n  Set objects: true"
    )


def test_at_random_places_no_objects_are_known(project):
    values = project.config()
    values["tiles"][values["models"]["near"]["tiles"]]["at"] = "random"
    project.write_config(values)
    (found,) = problems(project, targets=["mask", "border"])
    assert found.startswith("config, models.near.targets: tiles of fine lie at random places")
    assert problems(project) == []


def test_a_column_that_the_sheet_does_not_have_is_told(project):
    config = Config.model_validate({**project.config(), "evaluation": {"columns": ["group", "bmi"]}})
    (found,) = sheet_problems(config, read_sheet(project.sheet, [project.sheet.parent], list(config.classes)))
    assert str(found).startswith(f'config, evaluation.columns: {project.sheet} has no column "bmi".')


def test_an_example_that_the_sheet_does_not_have_is_told_with_the_nearest(project):
    config = Config.model_validate({**project.config(), "bundle": {"examples": ["a1", "a11"]}})
    (found,) = sheet_problems(config, read_sheet(project.sheet, [project.sheet.parent], list(config.classes)))
    assert str(found) == f'config, bundle.examples: {project.sheet} has no slide "a11".\n  Did you mean "a1"?'


def test_names_that_the_sheet_has_are_no_problem(project):
    rates = {"source": {"one": 0.5}, "role": {"external": 0.2}, "kind": {"background": 0.1}, "class": "equal"}
    assert problems(project, sampling={"rates": rates, "multipliers": {"a1": 2}}) == []


def test_pseudo_labels_need_test_slides(project):
    pseudo = {"from": "both"}
    assert problems(project, pseudo=pseudo) == []
    project.write_sheet([row for row in project.rows() if row["role"] != "test"])
    (found,) = problems(project, pseudo=pseudo)
    assert "has no test slides to label" in found


@pytest.fixture
def problems_of(project, monkeypatch):
    """What is said of the ensembles of a config with bundles and saved predictions."""
    monkeypatch.chdir(project.folder)
    write_bundle(Path("kidney"))
    write_bundle(Path("other"))

    def told(ensembles, *, alone=False, **changes):
        values = {**project.config(), "ensembles": ensembles}
        values["bundles"] = {name: {"path": name} for name in ("kidney", "other")}
        values["predictions"] = {"theirs": {"folder": "theirs"}, "unseen": {"folder": "unseen", "out_of_fold": True}}
        values |= changes
        if alone:
            for name in ("models", "tiles", "folds"):
                del values[name]
        try:
            project_of(parse_config(values))
        except UserError as error:
            return [str(problem) for problem in error.problems]
        return []

    return told


SEEN = "training slides may have been seen by theirs"
PROVE = "give predictions out_of_fold: true, if each training slide was predicted by what has not seen it."


def test_without_thresholds_an_ensemble_must_be_calibrated_and_it_is_said_why_it_cannot(problems_of):
    assert problems_of({"all": {"models": {"near": 1, "theirs": 1}}}) == [
        f"config, ensembles.all: it cannot be calibrated, as {SEEN}, and has no threshold for gland, vessel.\n"
        f"  Give calibration.threshold, which a single bundle brings along; or {PROVE}"
    ]
    assert problems_of({"all": {"models": {"theirs": 1}}}, alone=True) == [
        "config, ensembles.all: it cannot be calibrated, as no training slide lies in a fold, and has no threshold for "
        "gland, vessel.\n  Give calibration.threshold, which a single bundle brings along; or give training slides and "
        "the section folds."
    ]


@pytest.mark.parametrize(
    "ensemble",
    [
        {"models": {"near": 1, "unseen": 1, "kidney": 1}, "weights": "fit"},
        {"models": {"near": 1, "theirs": 1}, "calibration": {"threshold": 0.5}},
        {"models": {"near": 1, "theirs": 1, "kidney": 1}},
        {"models": {"theirs": 1, "kidney": 1, "other": 1}, "calibration": {"threshold": {"gland": 0.5, "vessel": 0.4}}},
        {"models": {"theirs": 1, "kidney": 1}, "calibration": {"threshold": {"gland": 0.5}}},
    ],
)
def test_thresholds_are_fitted_given_or_those_of_a_single_bundle(problems_of, ensemble):
    assert problems_of({"all": ensemble}) == []


def test_a_threshold_for_every_class_is_needed(problems_of):
    given = {"models": {"theirs": 1, "kidney": 1, "other": 1}, "calibration": {"threshold": {"gland": 0.5}}}
    (found,) = problems_of({"all": given})
    assert "has no threshold for vessel." in found


def test_weights_are_fitted_out_of_fold_or_not_at_all(problems_of):
    fitted = {"models": {"near": 1, "theirs": 1, "kidney": 1}, "weights": "fit"}
    assert problems_of({"all": fitted}) == [
        f"config, ensembles.all: weights cannot be fitted, as {SEEN}.\n  Leave out weights: fit; or {PROVE}"
    ]


def test_an_ensemble_needs_slides_to_predict(problems_of, project):
    project.write_sheet([row for row in project.rows() if row["role"] != "test"])
    (found,) = problems_of({"all": {"models": {"kidney": 1}}}, alone=True)
    assert found.startswith(f"config, ensembles.all: {project.sheet.relative_to(project.folder)} has no slide for it")
    assert problems_of({"all": {"models": {"kidney": 1}}}) == []


def test_a_fold_and_a_final_model_of_a_bundle_tell_no_spread_of_folds(problems_of):
    weights = [{"role": role, "file": f"weights/{role}.safetensors"} for role in ("fold0", "final")]
    write_bundle(Path("mixed"), content(members=[member("near", weights=weights)]))
    uses = {"mixed": {"path": "mixed", "spread": True}}
    (found,) = problems_of({"all": {"models": {"mixed": 1}}}, alone=True, bundles=uses)
    assert found.startswith("config, bundles.mixed.spread: one network alone predicts")


def test_all_problems_of_all_ensembles_are_said_at_once(problems_of):
    one = {"models": {"near": 1, "theirs": 1}, "weights": "fit"}
    assert [text.partition(":")[0] for text in problems_of({"a": one, "b": one})] == [
        "config, ensembles.a", "config, ensembles.a", "config, ensembles.b", "config, ensembles.b",
    ]  # fmt: skip


def test_scales_in_different_ways_have_no_order(problems_of):
    scales = {"full": {"factor": 1}, "half": {"mpp": 0.5}}
    found = problems_of({"all": {"models": {"near": 1, "far": 1}}}, scales=scales)
    assert "mixes scales by factor and by mpp" in found[0]


@pytest.mark.parametrize("name", ["theirs", "near", "kidney.far"])
def test_saved_predictions_do_not_lie_where_those_of_a_member_are_written(problems_of, name):
    ensembles = {"all": {"models": {"kidney": 1}}}
    folder = f"./results/probabilities/{name}"
    assert problems_of(ensembles, predictions={"theirs": {"folder": folder}}) == [
        f"config, predictions.theirs.folder: {folder} is where this run writes results of its own.\n"
        "  Copy what is there to another place, and name that."
    ]
    assert problems_of(ensembles, predictions={"theirs": {"folder": "results/probabilities/old"}}) == []


def test_an_ensemble_is_not_made_of_what_it_gives(problems_of):
    ensembles = {"all": {"models": {"kidney": 1}}}
    (found,) = problems_of(ensembles, predictions={"theirs": {"folder": "results/ensembles/all"}})
    assert found.startswith("config, predictions.theirs.folder: results/ensembles/all is where this run writes")
    write_bundle(Path("results/bundles/all"))
    (found,) = problems_of(ensembles, bundles={"kidney": {"path": "results/bundles/all"}})
    assert found.startswith("config, bundles.kidney.path: results/bundles/all is where this run writes")


def spreading(project, **changes):
    values = project.config()
    values["models"]["near"]["inference"] = {**values["models"]["near"].get("inference", {}), "spread": True, **changes}
    return {"models": values["models"]}


def test_a_spread_needs_slides_that_no_fold_has_seen(problems_of, project):
    alone = {"all": {"models": {"near": 1}}}
    assert problems_of(alone, **spreading(project)) == []
    project.write_sheet([row for row in project.rows() if row["role"] != "test"])
    assert problems_of(alone, **spreading(project)) == [
        f"config, models.near.inference.spread: {project.sheet.relative_to(project.folder)} has no slide that no fold "
        "has seen.\n  Give slides without outlines the role test, or leave it out."
    ]


def test_a_spread_needs_networks_that_can_differ(problems_of, project):
    one_fold = {**project.config()["folds"], "selected": [0]}
    for folds, ensemble, fine in (
        (one_fold, {"near": 1}, False),
        (one_fold, {"near": 1, "far": 1}, True),
        (one_fold, {"near": 1, "far": 0}, False),
        (project.config()["folds"], {"near": 1}, True),
    ):
        found = problems_of({"all": {"models": ensemble}}, folds=folds, **spreading(project))
        assert [text.partition(":")[0] for text in found] == ([] if fine else ["config, models.near.inference.spread"])


@pytest.mark.parametrize("models", [{"other": 1}, {"kidney": 0, "other": 1}], ids=str)
def test_a_spread_that_no_ensemble_counts_is_told(problems_of, models):
    uses = {name: {"path": name, "spread": name == "kidney"} for name in ("kidney", "other")}
    (found,) = problems_of({"all": {"models": models, "calibration": {"threshold": 0.5}}}, alone=True, bundles=uses)
    assert found.startswith("config, bundles.kidney.spread: no ensemble counts it.")
