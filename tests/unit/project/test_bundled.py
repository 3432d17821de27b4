"""What bundles bring to a config: members, scales, settings that it leaves out; and where they do not go with it."""

from pathlib import Path

import pytest
from bundling import content, member, write_bundle, zipped

from tilewright.project.bundled import Bundled
from tilewright.project.config import Scale
from tilewright.project.configfile import parse_config
from tilewright.runtime.errors import UserError

SMALL = {"scale": {"factor": 1}, "mpp": {"min": 0.2, "max": 0.3}}
UNKNOWN = {"mpp": None}
TRAINED = {
    "classes": {"gland": {}, "vessel": {}},
    "scales": {"half": {"factor": 2}, "full": {"factor": 1}},
    "tiles": {"fine": {"scale": "full"}},
    "models": {"unet": {"tiles": "fine"}},
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Reads a config of bundles that are written by what they say."""
    monkeypatch.chdir(tmp_path)

    def parsed(values=None, ensembles=None, **bundles):
        for name, said in bundles.items():
            write_bundle(Path(name), said)
        used = {name: {"path": name} for name in bundles}
        ensembles = ensembles or {"all": {"models": dict.fromkeys(bundles, 1)}}
        return parse_config({**(values or {}), "bundles": used, "ensembles": ensembles})

    return parsed


def refusal(config, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        config(*args, **kwargs)
    return [str(problem) for problem in caught.value.problems]


def test_bundles_alone_need_neither_classes_nor_scales_nor_tiles_nor_models(config):
    said = content(
        tissue={"smooth": 3}, slides={"crop_to_bounds": False}, segmentation={"fill_holes": 9}, name="kidney"
    )
    found = config(kidney=said)
    assert list(found.classes) == ["gland", "vessel"]
    assert {one.color for one in found.classes.values()} == {"#112233"}
    assert (found.tissue.smooth, found.slides.crop_to_bounds, found.segmentation.fill_holes) == (3, False, 9)
    assert found.tiles == found.models == found.scales == {}
    assert not found.is_cross_validated


def test_what_the_config_says_itself_it_keeps(config):
    given = {"segmentation": {"fill_holes": 1}, "classes": {"gland": {"color": "#000000"}, "vessel": {}}}
    found = config(given, kidney=content(tissue={"smooth": 3}, segmentation={"fill_holes": 9}))
    assert (found.segmentation.fill_holes, found.tissue.smooth) == (1, 3)
    assert found.classes["gland"].color == "#000000"


def test_the_first_of_several_bundles_gives_the_settings(config):
    found = config(a=content(segmentation={"fill_holes": 1}), b=content(segmentation={"fill_holes": 2}))
    assert found.segmentation.fill_holes == 1


def test_beside_models_that_are_trained_here_bundles_give_nothing(config):
    found = config(TRAINED, kidney=content(tissue={"smooth": 3}, segmentation={"fill_holes": 9}))
    assert found.segmentation.fill_holes == 0
    assert found.tissue.smooth != 3
    bare = {key: value for key, value in TRAINED.items() if key != "classes"}
    assert refusal(config, bare, kidney=content()) == [
        "config: classes: field required.\n  Bundles give them only where no model is trained."
    ]


def test_a_member_works_at_the_pixel_size_of_its_training_where_that_is_known(config):
    said = content(members=[member("near", **SMALL), member("far"), member("old", **UNKNOWN)])
    found = Bundled.read(config(kidney=said))
    assert {name: one.scale for name, one in found.members.items()} == {
        "kidney.near": Scale(mpp=0.25),
        "kidney.far": Scale(mpp=1.0),
        "kidney.old": Scale(factor=2),
    }
    sharp = content(members=[member("near", scale={"factor": 2, "resample": "bicubic"}), member("far")])
    assert Bundled.read(config(sharp=sharp)).members["sharp.near"].scale == Scale(mpp=1.0, resample="bicubic")
    by_size = content(members=[member("near", scale={"mpp": 0.5}, mpp={"min": 0.2, "max": 0.3})])
    assert Bundled.read(config(other=by_size)).members["other.near"].scale == Scale(mpp=0.5)


def test_a_scale_that_is_there_is_not_made_twice(config):
    said = content(members=[member("near", **UNKNOWN), member("far", **UNKNOWN), member("fine")])
    alone = Bundled.read(config(kidney=said))
    assert dict(alone.scale_of) == {
        "kidney.near": "kidney.near",
        "kidney.far": "kidney.near",
        "kidney.fine": "kidney.fine",
    }
    beside = Bundled.read(config(TRAINED, kidney=said))
    assert beside.scale_of["kidney.far"] == "half"
    assert list(beside.scales) == ["half", "full", "kidney.fine"]


def test_the_members_of_a_bundle_have_the_weights_that_they_had(config):
    said = content(members=[member("near", weight=3), member("far", weight=1)])
    assert Bundled.read(config(kidney=said)).weights("kidney") == {"kidney.near": 3, "kidney.far": 1}


def test_a_zip_is_read_as_a_folder_is(config):
    whole = config(kidney=content())
    zipped(Path("kidney"), Path("kidney.zip"))
    packed = parse_config(
        {"bundles": {"kidney": {"path": "kidney.zip"}}, "ensembles": {"all": {"models": {"kidney": 1}}}}
    )
    assert packed.classes == whole.classes
    assert Bundled.read(packed) == Bundled.read(whole)


def test_everything_that_is_wrong_with_bundles_is_said_at_once(config):
    other = content(classes=[{"name": "vein", "color": "#112233", "threshold": 0.4, "min_area": 3}], scores=[])
    other["members"] = [member("near", bands=[["vein", "mask"]])]
    turned = content(members=[member("near", bands=[["vessel", "mask"], ["gland", "mask"]])])
    assert refusal(config, TRAINED, vein=other, turned=turned) == [
        "config, bundles.vein: the bundle finds the classes vein, the others gland, vessel.\n"
        "  Members of an ensemble find the same classes.",
        "config, bundles.turned: its member near has not a band for each class, in their order.\n"
        "  This tilewright cannot use it.",
    ]
    bundles = {name: {"path": f"no/{name}"} for name in ("one", "two")}
    with pytest.raises(UserError) as caught:
        parse_config({"bundles": bundles, "ensembles": {"all": {"models": {"one": 1}}}})
    assert [problem.where for problem in caught.value.problems] == ["no/one", "no/two"]


def test_a_name_means_one_member(config):
    for section in ("models", "predictions", "scales"):
        values = {**TRAINED, "predictions": {}}
        values[section] = {
            **values[section],
            "kidney.near": {"models": {"tiles": "fine"}, "predictions": {"folder": "x"}, "scales": {"factor": 9}}[
                section
            ],
        }
        assert refusal(config, values, kidney=content()) == [
            'config, bundles.kidney: its member would be called "kidney.near", as something else is.\n'
            "  Rename the bundle, or what has this name."
        ]
    twice = {"a": content(members=[member("b.c")]), "a.b": content(members=[member("c")])}
    assert [text.partition(":")[0] for text in refusal(config, None, **twice)] == [
        "config, bundles.a",
        "config, bundles.a.b",
    ]
    values = {**TRAINED, "predictions": {"kidney": {"folder": "x"}}}
    assert refusal(config, values, kidney=content()) == [
        'config: predictions.kidney: there is a member "kidney" in bundles already.\n'
        "  Models, bundles and predictions share one set of names."
    ]


def test_a_member_that_is_nowhere_is_told_with_the_nearest_of_all_kinds(config):
    ensembles = {"all": {"models": {"kidny": 1, "their": 1}}}
    values = {**TRAINED, "predictions": {"theirs": {"folder": "x"}}}
    kidny, their = refusal(config, values, ensembles, kidney=content())
    assert kidny.endswith('no model is named "kidny".\n  Did you mean "kidney"?')
    assert their.endswith('no model is named "their".\n  Did you mean "theirs"?')
