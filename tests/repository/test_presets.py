"""The presets say what the systems they are named after do."""

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
    assert f"--configfile config/presets/{name}.yaml" in text
    assert (
        f"tilewright sheet {'sartorius' if 'sartorius' in name else name.split('-')[0]} DATA --out {config.sheet}"
        in text
    )


def test_frames_and_threshold_are_those_of_the_kidney_notebook():
    config = read("kidney-notebook")
    assert config.scales["half"].factor * config.tiles["frames"].size == 1024
    assert config.tiles["frames"].size * config.tiles["frames"].overlap * 2 == 384
    assert config.ensembles["unet"].calibration.threshold == 0.4
    assert config.models["unet"].batch_size == 16


def test_both_networks_of_the_vasculature_study_are_trained_alike():
    unet, fcn = (read("vasculature-fcn-unet").models[name] for name in ("unet", "fcn"))
    assert (unet.architecture, fcn.architecture) == ("PlainUnet", "FCN")
    assert unet.model_dump(exclude={"architecture"}) == fcn.model_dump(exclude={"architecture"})
    assert unet.loss == {"balanced_bce": {"weight": 1, "positive": 1, "negative": 3}}


def test_the_fourth_place_trains_twice_on_tiles_larger_than_the_crop():
    config = read("kidney-4th")
    first, second = config.models["first"], config.models["second"]
    assert config.tiles["large"].size == 1.5 * first.crop
    assert config.folds.count == 5
    assert second.pseudo.source == "first"
    assert second.model_dump(exclude={"pseudo"}) == first.model_dump(exclude={"pseudo"})
    assert (first.epochs, first.tiles_per_epoch, first.seed) == (40, 5000, 42)


def test_the_second_place_sees_crops_of_3072_pixels_and_ends_each_schedule_where_it_says():
    config = read("kidney-2nd")
    assert config.folds.count == 4
    assert len(config.ensembles["four"].models) == 4
    for model in config.models.values():
        assert config.scales["sixth"].factor * model.crop == 1536  # half of the tile of 3072 pixels
        assert config.scales["sixth"].factor * config.tiles["cuts"].size == 3072
        assert model.learning_rate * model.first_rate == pytest.approx(1e-5)
        assert model.learning_rate * model.last_rate == pytest.approx(1.5e-5)
        assert (model.epochs, model.ema, model.validate_every) == (60, 0.995, 2)


def test_the_sartorius_notebook_stops_and_slows_down_as_it_says():
    config = read("sartorius-attention-unet")
    model = config.models["attention"]
    assert (config.folds.count, config.folds.seed) == (10, 123)
    assert (model.plateau.factor, model.plateau.patience, model.plateau.min_delta) == (0.01, 5, 0.01)
    assert (model.stopping.patience, model.stopping.min_delta) == (15, 0.01)
    assert model.loss == {"dice": {"weight": 1, "power": 2, "smooth": 1}}
