import pytest
import yaml
from snakemake.cli import parse_config as snakemakes_values

from tilewright.project.config import TileSet, width_and_height
from tilewright.project.configfile import parse_config, read_config
from tilewright.runtime.errors import UserError

CONFIG = """\
classes:
  gland: {}
  vessel: {}
scales:
  full: {factor: 1}
tiles:
  small: {scale: full, size: 64}
models:
  unet:
    tiles: small
    epochs: 3
ensembles:
  both:
    models: {unet: 1}
"""


def with_threshold(value):
    return "{unet: 1}\n", f"{{unet: 1}}\n    calibration: {{threshold: {value}}}\n"


def problems(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(path)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def problem(tmp_path, text):
    (only,) = problems(tmp_path, text)
    return only


@pytest.mark.parametrize(
    ("edit", "line", "key", "near"),
    [
        (("    epochs: 3", "    epohcs: 3"), 11, "models.unet.epohcs", "epochs"),
        (("    epochs: 3", "    inference: {windw: 64}"), 11, "models.unet.inference.windw", "window"),
        (("scales:\n", "scale:\n"), 4, "scale", "scales"),
        (("size: 64", "sise: 64"), 7, "tiles.small.sise", "size"),
    ],
)
def test_an_unknown_key_names_its_line_and_the_nearest_key(tmp_path, edit, line, key, near):
    found = [text for text in problems(tmp_path, CONFIG.replace(*edit)) if "unknown key" in text]
    assert found == [f'config.yaml, line {line}: unknown key "{key}".\n  Did you mean "{near}"?']


@pytest.mark.parametrize(
    ("edit", "line", "says"),
    [
        (("epochs: 3", "epochs: three"), 11, "models.unet.epochs: input should be a valid integer"),
        (("epochs: 3", "epochs: 0"), 11, "greater than or equal to 1 (given: 0)"),
        (("size: 64", "size: 65"), 7, "multiple of 32"),
        (("size: 64", "size: [64]"), 7, "at least 2 items"),
        (("size: 64", "size: [64, 20]"), 7, "greater than or equal to 32"),
        (("size: 64", "size: wide"), 7, "valid integer"),
        (("{factor: 1}", "{factor: 1, mpp: 2}"), 5, "give either factor or mpp"),
        (("epochs: 3", "loss: {dicee: 1}"), 11, "'balanced_bce', 'dice'"),
        (("gland: {}", "gland: {color: red}"), 2, "classes.gland.color"),
        (with_threshold("1.5"), 15, "both.calibration.threshold: input should be less than or equal to 1 (given: 1.5)"),
        (with_threshold("{gland: -1}"), 15, "calibration.threshold.gland: input should be greater than or equal to 0"),
        (with_threshold("{any: 1}"), 15, "calibration.threshold.any: is reserved"),
    ],
)
def test_a_wrong_value_names_its_line_and_what_is_expected(tmp_path, edit, line, says):
    text = problem(tmp_path, CONFIG.replace(*edit))
    assert text.startswith(f"config.yaml, line {line}: ")
    assert says in text


def test_a_missing_key_names_the_section_that_lacks_it(tmp_path):
    text = problem(tmp_path, CONFIG.replace("    tiles: small\n", ""))
    assert text == "config.yaml, line 9: models.unet.tiles: field required."


def test_all_problems_are_told_at_once(tmp_path):
    text = CONFIG.replace("epochs: 3", "epohcs: 3\n    seed: x").replace("size: 64", "size: 1").replace("gland", "-x")
    assert len(problems(tmp_path, text)) == 4


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (("scale: full", "scale: ful"), 'line 7: tiles.small.scale: no scale is named "ful".\n  Did you mean "full"?'),
        (
            ("epochs: 3", "crop: [64, 96]"),
            "line 11: models.unet.crop: [64, 96] is larger than the tiles (small: 64).\n  Lower it",
        ),
        (("tiles: small", "tiles: smal"), 'line 10: models.unet.tiles: no tile set is named "smal".'),
        (("{unet: 1}", "{unit: 1}"), 'line 14: ensembles.both.models.unit: no model is named "unit".'),
        (("ensembles:", "submission: {classes: [glands]}\nensembles:"), 'no class is named "glands".'),
        (
            with_threshold("{gland: 0, vesel: 1}"),
            'line 15: ensembles.both.calibration.threshold.vesel: no class is named "vesel".\n  Did you mean "vessel"?',
        ),
    ],
)
def test_a_name_that_refers_to_nothing_is_named_with_its_line(tmp_path, edit, says):
    assert says in problem(tmp_path, CONFIG.replace(*edit))


def test_a_square_is_written_in_one_way():
    values = yaml.safe_load(CONFIG)
    squares = [parse_config({**values, "tiles": {"small": {"scale": "full", "size": size}}}) for size in (64, [64, 64])]
    assert squares[0] == squares[1]
    assert squares[1].tiles["small"].size == 64
    assert TileSet(scale="full", size=[520, 520]).size == [520, 520]
    assert [width_and_height(size) for size in (64, [704, 520])] == [(64, 64), (704, 520)]


def test_the_last_file_that_has_a_key_is_named(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(CONFIG)
    second.write_text("models:\n  unet: {epochs: 0}\n")
    values = yaml.safe_load(CONFIG)
    values["models"]["unet"]["epochs"] = 0
    with pytest.raises(UserError, match=r"second\.yaml, line 2"):
        parse_config(values, [first, second])


def test_a_config_that_is_missing_or_no_yaml_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_config(tmp_path / "none.yaml")
    assert "no valid YAML" in problem(tmp_path, "a: [")


def test_the_order_of_keys_means_nothing():
    values = yaml.safe_load(CONFIG)
    turned = {key: values[key] for key in reversed(values)}
    turned["classes"] = {key: values["classes"][key] for key in reversed(values["classes"])}
    one, other = parse_config(values), parse_config(turned)
    assert one == other
    assert list(one.classes) == list(other.classes) == sorted(values["classes"])


def network(tmp_path, more):
    (tmp_path / "config.yaml").write_text(CONFIG.replace("    epochs: 3\n", f"    epochs: 3\n    {more}\n"))
    return read_config(tmp_path / "config.yaml").models["unet"]


def test_targets_have_losses_and_an_order_of_their_own(tmp_path):
    assert network(tmp_path, "loss: {bce: 2}").losses == {"mask": {"bce": {"weight": 2}}}
    found = network(tmp_path, "targets: [distance, touching, mask]")
    assert found.targets == ["mask", "touching", "distance"]
    assert list(found.losses["mask"]) == ["bce", "dice"]
    assert found.losses["touching"] == {"bce": {"weight": 1}}
    assert found.losses["distance"] == {"l1": {"weight": 1}}
    found = network(tmp_path, "targets: [mask, border]\n    loss: {mask: {dice: 1}, border: {focal: 3}}")
    assert found.losses["border"] == {"focal": {"weight": 1, "gamma": 2}} | {"focal": {"weight": 3, "gamma": 2}}
    assert list(found.losses["mask"]) == ["dice"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("targets: [touching]", "mask must be among them"),
        ("targets: [mask, mask]", "a target is there twice"),
        ("targets: [mask, rim]", "'mask', 'touching', 'border' or 'distance'"),
        ("loss: {mask: {bce: 1}, touching: {bce: 1}}", "loss.touching: it is none of the targets, which are mask"),
        ("targets: [mask, border]\n    loss: {border: {bce: 1}}", "loss: the mask needs terms too"),
        ("targets: [mask, distance]\n    loss: {mask: {bce: 1}, distance: {lovasz: 1}}", "lovasz asks yes or no"),
        ("targets: [mask, border]\n    loss: {mask: {bec: 1}}", "line 13: models.unet.loss.mask.bec: "),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(tmp_path, keys, said):
    with pytest.raises(UserError) as error:
        network(tmp_path, keys)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("false", False), ("False", False), ("0", False), ("off", False), ("true", True), ("~/kept", "/home/me/kept")],
)
def test_what_is_kept_can_be_said_to_snakemake_and_in_a_profile(tmp_path, monkeypatch, given, kept):
    monkeypatch.setenv("HOME", "/home/me")
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    assert parse_config(yaml.safe_load(CONFIG) | snakemakes_values([f"kept={given}"]), [path]).kept == kept


def test_what_is_kept_lies_in_a_folder(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    with pytest.raises(UserError, match=r'kept: "s3://lab/kept" is no folder'):
        parse_config(yaml.safe_load(CONFIG) | {"kept": "s3://lab/kept"}, [path])
