"""The presets are configs that can be run as they say. What is in them: ``tests/reference``."""

from pathlib import Path

import pytest

from tilewright.project.configfile import read_config
from tilewright.training.architectures import check_network

PRESETS = Path(__file__).parents[2] / "config" / "presets"
NAMES = ("kidney-2nd", "kidney-4th", "kidney-notebook", "sartorius-attention-unet", "vasculature-fcn-unet")


def read(name):
    return read_config(PRESETS / f"{name}.yaml")


def test_each_of_the_five_systems_has_a_preset():
    assert tuple(sorted(path.stem for path in PRESETS.glob("*.yaml"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_names_what_exists_and_how_it_is_run(name):
    config = read(name)
    for model in config.models.values():
        check_network(model)
    text = (PRESETS / f"{name}.yaml").read_text()
    assert f"--configfile config/presets/{name}.yaml --config data=DATA" in text
    assert config.layout


@pytest.mark.parametrize("path", sorted(PRESETS.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_config_can_be_read_and_says_how_it_is_run(path):
    config = read_config(path)
    for model in config.models.values():
        check_network(model)
    assert path.stem == "config" or f"--configfile config/{path.name} --config data=DATA" in path.read_text()
