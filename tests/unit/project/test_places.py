import pytest

from tilewright.project.places import Places
from tilewright.runtime.errors import UserError


@pytest.mark.parametrize(
    ("pathvars", "places"),
    [
        ({}, ("results", "results/logs", "results/benchmarks")),
        ({"results": "out"}, ("out", "out/logs", "out/benchmarks")),
        ({"base": "out", "results": "<base>/res"}, ("out/res", "out/res/logs", "out/res/benchmarks")),
        ({"logs": "<results>/l", "results": "r", "benchmarks": "<logs>/b"}, ("r", "r/l", "r/l/b")),
    ],
)
def test_folders_may_speak_of_each_other(pathvars, places):
    found = Places.of(pathvars)
    assert (found.results, found.logs, found.benchmarks) == places
    assert found.masks("a") == f"{places[0]}/masks/a"


@pytest.mark.parametrize("pathvars", [{"results": "<bas>/res"}, {"results": "<logs>", "logs": "<results>"}])
def test_a_folder_that_leads_nowhere_is_refused(pathvars):
    with pytest.raises(UserError, match=r"config, pathvars\.(results|logs): .* leads to <\w+>, which is no path"):
        Places.of(pathvars)
