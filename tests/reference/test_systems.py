"""Presets have the values of the systems they are named after, and make of them what those made."""

import re
from pathlib import Path

import pytest
import yaml
from reference.comparing import alike, leaves, made, mutants, problems, with_value, without
from systems import systems

from tilewright.project.configfile import parse_config

REPOSITORY = Path(__file__).parents[2]
FOUND = systems(Path(__file__).parent)
WITH_PRESET = [name for name, system in FOUND.items() if system.preset]
COUNTS = {"S1": 28, "S2": 23, "S3": 26, "S4": 22, "S5": 13, "X": 11}


def preset(name):
    return yaml.safe_load((REPOSITORY / "config" / "presets" / f"{FOUND[name].preset}.yaml").read_text())


def test_each_preset_has_its_table():
    stems = {path.stem for path in (REPOSITORY / "config" / "presets").glob("*.yaml")}
    assert stems == {system.preset for system in FOUND.values() if system.preset}


def test_every_id_has_its_line():
    for name, count in COUNTS.items():
        assert list(FOUND[name].lines) == [f"{name}-{number:02}" for number in range(1, count + 1)]


def test_the_list_has_no_other_ids():
    text = REPOSITORY.parent / "shared" / "acceptance.md"
    if not text.is_file():
        pytest.skip("the list of the systems lies outside of this repository")
    named = set(re.findall(r"\b(?:S[1-5]|X)-\d\d\b", text.read_text()))
    assert named <= {key for system in FOUND.values() for key in system.lines}


@pytest.mark.parametrize("name", WITH_PRESET)
def test_values_are_those_of_the_table(name):
    assert problems(FOUND[name], preset(name)) == []


@pytest.mark.parametrize("name", WITH_PRESET)
def test_what_is_made_of_them_is_that_of_the_table(name):
    config = parse_config(preset(name))
    wrong = {
        (key, fact, asked): found
        for key, line in FOUND[name].lines.items()
        for fact, expected in line.builds.items()
        for asked, value in expected.items()
        if not alike(value, found := made(config, fact, asked))
    }
    assert wrong == {}


@pytest.mark.parametrize("name", WITH_PRESET)
def test_a_change_of_any_value_is_noticed(name):
    values = preset(name)
    assert len(list(mutants(values))) >= len(leaves(values))
    unnoticed = [key for key, changed in mutants(values) if not problems(FOUND[name], changed)]
    assert unnoticed == []


@pytest.mark.parametrize("name", WITH_PRESET)
def test_a_value_that_is_new_is_noticed(name):
    assert problems(FOUND[name], {**preset(name), "limits": {"max_pixels": 1}})
    for model in preset(name)["models"]:
        assert problems(FOUND[name], with_value(preset(name), f"models.{model}.clip", 1))


@pytest.mark.parametrize("name", WITH_PRESET)
def test_a_value_that_is_missing_is_noticed_unless_it_is_the_default(name):
    values = preset(name)
    config = parse_config(values)
    for key in leaves(values):
        fewer = without(values, key)
        assert problems(FOUND[name], fewer) or parse_config(fewer).model_dump() == config.model_dump(), key


def test_every_test_that_is_named_exists():
    named = {test for system in FOUND.values() for line in system.lines.values() for test in line.shown}
    missing = [test for test in sorted(named) if not _exists(*test.split("::"))]
    assert missing == []


def _exists(module, test=None):
    path = REPOSITORY / "tests" / f"{module}.py"
    return path.is_file() and (test is None or f"def {test}(" in path.read_text())
