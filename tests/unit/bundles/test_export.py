"""What ``export`` takes of a bundle, and what it refuses; what it writes is in the tests of each program."""

import pytest
from bundling import content, member, write_real_bundle

from tilewright.bundles import export as module
from tilewright.bundles.export import export
from tilewright.runtime.errors import DataError, UserError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return write_real_bundle(folder, content(members=[member("near"), member("far", folds=1)]))


@pytest.fixture
def written(monkeypatch):
    """What is handed to the writer of ONNX: member and parts."""
    found = []
    monkeypatch.setattr(
        module, "write_onnx_files", lambda _, members, __: found.extend((m.spec.name, *m.networks) for m in members)
    )
    return found


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, [("near", "fold0", "fold1"), ("far", "fold0")]),
        (["far"], [("far", "fold0")]),
        (["near.fold1"], [("near", "fold1")]),
        (["far.fold0", "near.fold1", "near"], [("near", "fold0", "fold1"), ("far", "fold0")]),
    ],
)
def test_members_and_single_networks_are_chosen_by_name(bundle, written, tmp_path, names, expected):
    export(bundle, to="onnx", out=tmp_path / "out", members=names)
    assert written == expected


def test_all_names_that_are_none_are_told_with_the_nearest(bundle, tmp_path):
    with pytest.raises(UserError) as error:
        export(bundle, to="onnx", out=tmp_path / "out", members=["nera", "far.fold1", "far"])
    text = str(error.value)
    assert 'the bundle has no "nera".\n  Did you mean "near"?' in text
    assert 'the bundle has no "far.fold1"' in text
    assert not (tmp_path / "out").exists()


def test_what_fails_leaves_no_folder(bundle, tmp_path, monkeypatch):
    def fail(*_):
        raise DataError("no")

    monkeypatch.setattr(module, "write_onnx_files", fail)
    with pytest.raises(DataError):
        export(bundle, to="onnx", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_bundle_is_told(tmp_path):
    with pytest.raises(DataError, match=r"holds no bundle\.json"):
        export(tmp_path, to="onnx", out=tmp_path / "out")
