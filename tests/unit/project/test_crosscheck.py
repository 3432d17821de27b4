import pytest

from tilewright.project.config import Config
from tilewright.project.crosscheck import sheet_problems
from tilewright.project.sheetfile import read_sheet


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
        ({"rates": {"class": {"glands": 0.5}}}, 'no tile to train on has the class "glands".\n  Did you mean "gland"?'),
        ({"rates": {"role": {"pseudo": 0.5}}}, 'no tile to train on has the role "pseudo".'),
        ({"multipliers": {"a3": 2}}, 'no tile to train on has the slide "a3".'),
        ({"multipliers": {"t1": 2}}, 'no tile to train on has the slide "t1".'),
    ],
)
def test_names_that_the_sheet_does_not_have_are_told_with_the_nearest(project, sampling, says):
    (found,) = problems(project, sampling=sampling)
    assert found.startswith(f"config, models.near.sampling: {says}")


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
