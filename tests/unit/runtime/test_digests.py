"""By what files are told from others; what of it counts for results: tests/unit/runtime/test_kept.py."""

import os

import pytest

from tilewright.runtime.digests import LARGE, Digests, Made, Remembered

OLD = 10**18


@pytest.fixture
def write(tmp_path):
    def write(content, when, size=1):
        path = tmp_path / "a.tif"
        path.write_bytes(content * size)
        os.utime(path, ns=(OLD + when, OLD + when))
        return path

    return write


@pytest.fixture
def digests(tmp_path):
    return Digests(tmp_path / "results")


def test_a_small_file_is_told_by_its_content(digests, write):
    first = digests.glance(write(b"a", 1))
    assert digests.glance(write(b"a", 2)) == first
    assert digests.glance(write(b"b", 3)) != first


def test_a_large_file_is_told_by_size_and_time_unread(digests, write, monkeypatch):
    monkeypatch.setattr("tilewright.runtime.digests.file_hash", None)
    assert digests.glance(write(b"a", 1, LARGE)) == (LARGE, OLD + 1)
    assert digests.glance(write(b"a", 2, LARGE)) == (LARGE, OLD + 2)
    assert digests.glance(write(b"a", 2, LARGE + 1)) == (LARGE + 1, OLD + 2)


@pytest.mark.parametrize("size", [1, LARGE])
def test_a_file_that_is_gone_is_what_it_was_and_one_that_never_was_is_nothing(digests, write, size):
    path = write(b"a", 1, size)
    assert digests.glance(path.with_name("never.tif")) == ()
    seen = digests.glance(path)
    path.unlink()
    assert digests.glance(path) == seen
    path.mkdir()
    assert digests.glance(path.parent) == ()


def test_a_file_that_was_only_glanced_at_is_read_for_its_digest(digests, write):
    path = write(b"a", 1, LARGE)
    digests.glance(path)
    digest = digests.of(path)
    assert digest == Digests(digests.results / "other").of(path)
    digests.glance(path)
    assert digests.recall(path).files[""].digest == digest, "what is known stays known"


@pytest.mark.parametrize("size", [1, LARGE])
def test_content_that_changed_behind_equal_size_and_time_is_read(digests, write, size):
    path = write(b"a", 1, size)
    first = digests.of(path)
    assert digests.of(write(b"b", 1, size)) != first
    assert digests.of(write(b"a", 1, size)) == first


def test_a_result_that_is_linked_into_the_folder_of_what_is_kept_is_not_read_again(digests, write, monkeypatch):
    path = write(b"a", 1)
    digests.of(path)
    digests.remember(path, Remembered(Made("tile"), digests.recall(path).files))
    path.with_name("kept").hardlink_to(path)
    monkeypatch.setattr("tilewright.runtime.digests.file_hash", None)
    digests.of(path)
