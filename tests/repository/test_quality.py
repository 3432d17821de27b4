"""The recipes that ``make quality`` compares can be trained, and its page says what was measured."""

import json
import sys
from pathlib import Path

import pytest

from tilewright.project.config import Network
from tilewright.training.architectures import check_network

FOLDER = Path(__file__).parents[2] / "quality"


@pytest.fixture
def quality(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield __import__("recipes"), __import__("page")
    for name in ("recipes", "page"):
        sys.modules.pop(name, None)


def test_every_recipe_is_one_that_can_be_trained_without_a_network(quality):
    recipes, _ = quality
    every = {"default": recipes.default(), **recipes.presets(download=False), **recipes.ablations()}
    assert len(every) > 15
    for spec in every.values():
        network = Network(**spec, tiles="any")
        check_network(network)
        assert network.encoder_weights in ("auto", "random")


def test_recipes_with_a_transformer_take_the_file_that_is_given(quality):
    recipes, _ = quality
    made = recipes.transformers("lunit-s8", "w.safetensors")
    found = {name: Network(**spec, tiles="any") for name, spec in made.items()}
    assert {name: network.encoder_rate for name, network in found.items()} == {
        "lunit-s8 frozen": 0, "lunit-s8 at a tenth of the rate": 0.1,
    }  # fmt: skip
    for network in found.values():
        check_network(network)
        assert (network.encoder, network.encoder_weights) == ("lunit-s8", "w.safetensors")


def test_ablations_change_something(quality):
    recipes, _ = quality
    default = Network(**recipes.default(), tiles="any")
    for name, spec in recipes.ablations().items():
        assert Network(**spec, tiles="any") != default, name


def record(recipe, dice, seed=0, minutes=3.0):
    return {
        "set": "hgsc", "recipe": recipe, "minutes": minutes, "seed": seed, "dice": dice, "tiles_per_epoch": 100,
        "epochs": 12, "cpus": 2,
    }  # fmt: skip


def test_the_page_shows_the_mean_over_seeds_and_nothing_that_was_not_measured(quality):
    _, page = quality
    text = page.page(
        [
            record("default", 0.7),
            record("default", 0.8, seed=1),
            record("no EMA", 0.6),
            record("default", 0.9, minutes=15),
        ]
    )
    assert "| default | 0.750 ± 0.071 (1,200 tiles) |" in text
    assert "| no EMA | 0.600 (1,200 tiles) |" in text
    assert "## 15 minutes a fold" in text
    assert "S4" not in text.split("# Quality")[1].split("## 3 minutes")[1].split("The sets")[0]
    assert "vessels" not in text.split("The sets")[0]


def test_a_result_of_before_is_marked_with_its_day(quality):
    _, page = quality
    text = page.page([record("default", 0.7), record("no EMA", 0.6) | {"stale": True, "date": "2026-01-02"}])
    assert "| default | 0.700 (1,200 tiles) |" in text
    assert "| no EMA | 0.600† (1,200 tiles) |" in text
    assert "†: of 2026-01-02" in text
    assert "†" not in page.page([record("default", 0.7)])


def test_the_page_in_docs_is_that_of_the_results(quality):
    _, page = quality
    written = (FOLDER.parent / "docs" / "quality.md").read_text()
    assert written == page.page(json.loads(page.RESULTS.read_text()))
