"""A bundle is what it says, or it is refused with a message that names what is wrong."""

import hashlib
import json
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
from bundling import content, member, say_anew, write_bundle, zipped

from tilewright.project.bundle import bundle_file, read_bundle
from tilewright.runtime.errors import DataError

WEIGHTS = "weights/near/fold0.safetensors"


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path / "both")


@pytest.fixture(params=["folder", "zip"])
def bundle(request, folder, tmp_path):
    return folder if request.param == "folder" else zipped(folder, tmp_path / "both.zip")


def bands_of(*bands):
    return [band.split() for band in bands]


def test_a_bundle_says_what_was_written(bundle):
    found = read_bundle(bundle)
    assert [each.name for each in found.members] == ["near", "far"]
    assert found.members[0].scale.factor == 2
    assert found.members[0].inference.window == 64
    assert found.members[0].bands == [("gland", "mask"), ("vessel", "mask")]
    assert [one.role for one in found.members[0].weights] == ["fold0", "fold1"]
    assert found.classes[1].threshold == 0.4
    assert found.credits.licence == "CC-BY-4.0"
    assert bundle_file(bundle, found, WEIGHTS) == WEIGHTS.encode()


def test_what_is_fitted_for_objects_is_said_where_it_is_and_nothing_else_is_new(tmp_path):
    plain = read_bundle(write_bundle(tmp_path / "plain")).model_dump(mode="json")
    assert {(*one,) for one in plain["classes"]} == {("name", "color", "threshold", "min_area")}
    assert {(*one,) for one in plain["scores"]} == {("class_name", "source", "dice", "slides", "groups")}
    told = {"name": "gland", "color": "#112233", "threshold": 0.4, "min_area": 3, "min_confidence": 0.7, "seed": 0.4}
    score = {"class_name": "gland", "source": None, "dice": 0.5, "slides": 4, "groups": 2, "f1": 0.25}
    classes = [told, {**told, "name": "vessel"}]
    found = read_bundle(write_bundle(tmp_path / "both", content(classes=classes, scores=[score], aim="objects")))
    assert found.classes[0].bounds == (0.4, 3, 0.7, 0.4)
    assert found.model_dump(mode="json")["classes"] == classes
    assert found.model_dump(mode="json")["scores"] == [score]


def test_a_picture_may_lie_in_it(tmp_path):
    path = write_bundle(tmp_path / "both", files={"examples/a1.jpg": b"picture"})
    assert bundle_file(path, read_bundle(path), "examples/a1.jpg") == b"picture"


def test_snakemakes_stamp_is_no_file_of_it(folder):
    (folder / ".snakemake_timestamp").touch()
    read_bundle(folder)
    (folder / ".snakemake_timestamp").write_text("more")
    assert 'holds ".snakemake_timestamp"' in refusal(folder)


def test_a_network_is_built_from_what_is_said(folder):
    network = read_bundle(folder).members[0].network.to_build()
    assert (network.architecture, network.options) == ("Unet", {"encoder_depth": 3, "decoder_channels": [16, 8, 8]})
    assert (network.encoder_weights, network.deep_supervision, network.image_loss) == ("random", 0, 0)


def everything(path):
    found = read_bundle(path)
    return found, {name: bundle_file(path, found, name) for name in found.files}


def refusal(path):
    with pytest.raises(DataError) as raised:
        everything(path)
    assert all(problem.where.startswith(str(path)) and problem.remedy for problem in raised.value.problems)
    return str(raised.value)


def listed(name, data=b"x"):
    """Puts a file into the list of a bundle, and into the bundle where it lies inside."""

    def damage(folder):
        if folder in (path := folder / name).parents and ".." not in path.parts:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        entry = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        say_anew(folder, lambda said: said["files"].update({name: entry}))

    return damage


def said(change):
    return lambda folder: say_anew(folder, change)


def edited(folder):
    path = folder / "bundle.json"
    path.write_text(path.read_text().replace('"threshold": 0.4', '"threshold": 0.1', 1))


def other_weights(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[0] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))


def as_pickle(folder):
    """Its hash fits: it is refused for what it is."""
    listed("weights/near/fold0.pt", pickle.dumps(print))(folder)
    say_anew(folder, lambda said: said["members"][0]["weights"][0].update(file="weights/near/fold0.pt"))
    (folder / WEIGHTS).unlink()
    say_anew(folder, lambda said: said["files"].pop(WEIGHTS))


def first_member(said, **changes):
    said["members"][0].update(changes)


DAMAGES = {
    "a path outside": (listed("../outside.safetensors"), 'lists "../outside.safetensors", which leads outside'),
    "an absolute path": (listed("/tmp/x.md", b""), 'lists "/tmp/x.md", which leads outside of it'),
    "another file": (lambda folder: (folder / "more.txt").touch(), 'holds "more.txt" beside what is listed'),
    "a file too few": (lambda folder: (folder / WEIGHTS).unlink(), f'the bundle lacks "{WEIGHTS}"'),
    "a hidden file": (lambda folder: (folder / ".hidden").touch(), 'holds ".hidden", which is no name'),
    "other weights": (other_weights, f"its file {WEIGHTS} was damaged or edited"),
    "longer weights": (lambda folder: (folder / WEIGHTS).write_bytes(b"x" * 99), f"{WEIGHTS} has 99 bytes instead of"),
    "an edited description": (edited, "bundle.json: was damaged or edited"),
    "no description": (lambda folder: (folder / "bundle.json").unlink(), "holds no bundle.json"),
    "another description": (lambda folder: (folder / "bundle.json").write_text("[" * 100000), "bundle.json: cannot be"),
    "a newer format": (said(lambda said: said.update(format=2)), "is of the format 2, and this tilewright reads"),
    "no format": (said(lambda said: said.pop("format")), 'its format "None" is none'),
    "an unknown key": (said(lambda said: said.update(extra=1)), "bundle.json, extra: Extra inputs"),
    "an unknown role": (
        said(lambda said: said["members"][0]["weights"][0].update(role="teacher")),
        'members.0.weights.0.role: the role "teacher" is unknown to this tilewright',
    ),
    "an unknown target": (
        said(lambda said: first_member(said, bands=[["gland", "centre"]])),
        'members.0.bands.0.1: the target "centre" is unknown to this tilewright, which knows mask',
    ),
    "bands in another order": (
        said(lambda said: first_member(said, bands=bands_of("gland mask", "gland border", "vessel mask"))),
        "the bands of near are not the masks of its classes, and then each other target of each class",
    ),
    "no masks": (
        said(lambda said: first_member(said, bands=bands_of("gland border", "vessel border"))),
        "the bands of near are not the masks",
    ),
    "a pickle": (as_pickle, "lists weights/near/fold0.pt: a bundle holds no files but .jpg, .md, .safetensors"),
    "a program": (listed("run.py", b"print()"), "lists run.py: a bundle holds no files but"),
    "weights of nobody": (listed("weights/x.safetensors"), "lists weights/x.safetensors, which no member has"),
    "a picture elsewhere": (listed("a.jpg"), "lists a.jpg, which is neither the README.md nor a picture in examples/"),
    "weights that are not listed": (
        said(lambda said: said["files"].pop(WEIGHTS)),
        f'near has its weights in "{WEIGHTS}", which it does not list',
    ),
    "a class of no band": (
        said(lambda said: [first_member(said, bands=[["gland", "mask"]]), said["members"].pop()]),
        "no member finds vessel",
    ),
    "a band of no class": (
        said(lambda said: first_member(said, bands=[["gland", "mask"], ["nerve", "mask"]])),
        'near has a band of "nerve", which is no class',
    ),
    "a band twice": (
        said(lambda said: first_member(said, bands=[["gland", "mask"], ["gland", "mask"]])),
        'the band of near "gland mask" is there 2 times',
    ),
    "a member twice": (
        said(lambda said: said["members"][1].update(name="near")), 'the member "near" is there 2 times'
    ),
    "no weight": (
        said(lambda said: [each.update(weight=0) for each in said["members"]]), "no member has a weight above 0"
    ),
    "a score of no class": (
        said(lambda said: said["scores"][0].update(class_name="nerve")), 'a score is of "nerve", which is no class'
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_each_damage_is_refused_by_name(folder, tmp_path, damage, form):
    do, says = DAMAGES[damage]
    do(folder)
    path = folder if form == "folder" else zipped(folder, tmp_path / "both.zip")
    assert says in refusal(path)


def test_everything_that_is_wrong_is_told_at_once(folder):
    (folder / "more.txt").touch()
    (folder / WEIGHTS).unlink()
    text = refusal(folder)
    assert "more.txt" in text
    assert WEIGHTS in text


@pytest.mark.parametrize("target", ["/etc/hostname", "weights/far/fold0.safetensors"])
def test_a_link_in_a_folder_is_refused(folder, target):
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(folder / target)
    assert f'holds "{WEIGHTS}", which is a symbolic link' in refusal(folder)


def test_a_folder_that_is_a_link_is_refused(folder, tmp_path):
    (folder / "weights" / "near").rename(tmp_path / "near")
    (folder / "weights" / "near").symlink_to(tmp_path / "near")
    assert 'holds "weights/near", which is a symbolic link' in refusal(folder)


def link(archive):
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    archive.writestr(entry, "/etc/hostname")


def twice(archive):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr("README.md", b"# Other\n")


def bomb(archive):
    archive.writestr("examples/a.jpg", bytes(10_000_000), zipfile.ZIP_DEFLATED)


ENTRIES = {
    "a path outside": (lambda archive: archive.writestr("../x.md", ""), 'holds "../x.md", which leads outside of it'),
    "a folder outside": (lambda archive: archive.writestr("../x/", ""), 'holds "../x/", which leads outside of it'),
    "an absolute path": (lambda archive: archive.writestr("/x.md", ""), 'holds "/x.md", which leads outside of it'),
    "a path of Windows": (lambda archive: archive.writestr("..\\x.md", ""), 'which leads outside of it'),
    "a link": (link, 'holds "link", which is a symbolic link'),
    "a file twice": (twice, 'holds "README.md", which is there more than once'),
    "a bomb": (bomb, 'holds "examples/a.jpg", which is compressed'),
}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_of_a_zip_that_is_no_plain_file_inside_is_refused(folder, tmp_path, entry):
    put, says = ENTRIES[entry]
    path = zipped(folder, tmp_path / "both.zip")
    with zipfile.ZipFile(path, "a") as archive:
        put(archive)
    assert says in refusal(path)


def test_a_zip_that_says_less_than_it_holds_is_refused(folder, tmp_path):
    path = zipped(folder, tmp_path / "both.zip")
    data = path.read_bytes()
    size, name = len(WEIGHTS), WEIGHTS.encode()
    central = data.rindex(b"PK\x01\x02", 0, data.rindex(name))
    false = data[: central + 20] + (1).to_bytes(4, "little") + data[central + 24 :]
    path.write_bytes(false)
    assert f'holds "{WEIGHTS}", which has 1 bytes, and is said to have {size}' in refusal(path)


def test_a_wrong_bit_anywhere_in_a_zip_is_refused_or_changes_nothing(folder, tmp_path):
    path = zipped(folder, tmp_path / "both.zip")
    whole, right = path.read_bytes(), everything(path)
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            assert everything(path) == right
        except DataError:
            refused += 1
    assert refused > len(whole) / 7 / 2


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "both.zip").write_bytes(b"PK and so on")
    assert "is neither a folder nor a zip that can be read" in refusal(tmp_path / "both.zip")
    assert "there is no such bundle" in refusal(tmp_path / "no.zip")


def test_a_description_of_any_length_is_not_read(folder, monkeypatch):
    monkeypatch.setattr("tilewright.project.bundle.MOST_BYTES", 100)
    assert "its file bundle.json has more than 100 bytes" in refusal(folder)


def test_a_reader_needs_nothing_heavy():
    script = (
        "import sys\nimport tilewright.project.bundle\n"
        "print(sorted({'numpy', 'torch', 'safetensors', 'rasterio', 'jinja2', 'pickle5'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_weights_are_not_read_with_the_description(folder, monkeypatch):
    opened = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *args, **kw: opened.append(path.name) or real(path, *args, **kw))
    read_bundle(folder)
    assert opened == ["bundle.json"]


def test_members_and_their_files_are_as_many_as_there_are(tmp_path):
    path = write_bundle(tmp_path / "one", content(members=[member("only", folds=1)]))
    assert [one.file for one in read_bundle(path).members[0].weights] == ["weights/only/fold0.safetensors"]
    assert re.fullmatch(r"[0-9a-f]{8}", json.loads((path / "bundle.json").read_text())["crc32"])
