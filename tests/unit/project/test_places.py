import pytest

from tilewright.project.places import Places, name_pattern
from tilewright.runtime.errors import UserError


@pytest.mark.parametrize(
    ("pathvars", "places"),
    [
        ({}, ("results", "results/logs", "results/benchmarks")),
        ({"results": "out"}, ("out", "out/logs", "out/benchmarks")),
        ({"base": "out", "results": "<base>/res"}, ("out/res", "out/res/logs", "out/res/benchmarks")),
        ({"results": "./out/"}, ("out", "out/logs", "out/benchmarks")),
        ({"results": "~/out"}, ("/home/me/out", "/home/me/out/logs", "/home/me/out/benchmarks")),
        ({"results": "$SCRATCH/out"}, ("/big/out", "/big/out/logs", "/big/out/benchmarks")),
        ({"logs": "<results>/l", "results": "r", "benchmarks": "<logs>/b"}, ("r", "r/l", "r/l/b")),
    ],
)
def test_folders_may_speak_of_each_other_and_of_the_environment(monkeypatch, pathvars, places):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/big")
    found = Places.of(pathvars)
    assert (found.results, found.logs, found.benchmarks) == places
    assert found.masks("a") == f"{places[0]}/masks/a"


@pytest.mark.parametrize("pathvars", [{"results": "<bas>/res"}, {"results": "<logs>", "logs": "<results>"}])
def test_a_folder_that_leads_nowhere_is_refused(pathvars):
    with pytest.raises(UserError, match=r"config, pathvars\.(results|logs): .* leads to <\w+>, which is no path"):
        Places.of(pathvars)


def test_a_folder_that_nobody_asks_for_is_refused():
    with pytest.raises(
        UserError, match=r'pathvars\.result: no path is called so or speaks of it\.\n  Did you mean "results"'
    ):
        Places.of({"result": "out"})


@pytest.mark.parametrize(
    ("results", "kept"),
    [
        ("results", "results/.kept"),
        ("results/mine", "results/.kept"),
        ("module/results/demo", "module/results/.kept"),
        ("out", "out/.kept"),
        ("/scratch/results/mine", "/scratch/results/mine/.kept"),
    ],
)
def test_configs_of_one_checkout_keep_in_one_folder_and_others_in_their_own(results, kept):
    assert Places(results).kept() == kept


def test_names_are_matched_whole():
    assert name_pattern(["a.b", "c"]) == r"a\.b|c"
