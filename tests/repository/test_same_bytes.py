"""The script that compares the results of two runs misses nothing but what it says."""

import pytest
from same_bytes import differences


def folders(tmp_path, name, *texts):
    for folder, text in zip(("before", "after"), texts, strict=True):
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(text)
    return tmp_path / "before", tmp_path / "after"


@pytest.mark.parametrize(
    ("name", "before", "after", "says"),
    [
        ("a.csv", b"a,b\n1,2\n", b"a,b\n1,3\n", "1,2 became 1,3"),
        ("a.csv", b"a,b\n1,2\n", b"a,b\r\n1,2", "the same content, other bytes"),
        ("a.json", b'{"a": 1, "b": 2.0}', b'{"b":2,"a":true}', "the same content, other bytes"),
        ("a.json", b'{"a": 1}', b'{"a": 2}', "a: 1 became 2"),
        ("index.html", b"<p>\n", b"<p>", "the same content, other bytes"),
        ("a.png", b"1", b"2", "other bytes"),
        ("m/model.json", b'{"a": 1, "versions": 1}', b'{"a": 2, "versions": 1}', "a: 1 became 2"),
        ("b/bundle.json", b'{"files": {"w": 1}}', b'{"files": {"w": 2}}', "files.w: 1 became 2"),
        ("b/README.md", b"1\n## Made with\n1", b"2\n## Made with\n1", "other bytes"),
    ],
)
def test_any_other_byte_is_a_difference(tmp_path, name, before, after, says):
    assert differences(*folders(tmp_path, name, before, after)) == {name: says}


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("m/model.json", b'{"a": 1, "versions": 1, "crc32": "x"}', b'{"a": 1, "versions": 2, "crc32": "y"}'),
        ("b/bundle.json", b'{"code": 1, "files": {"README.md": 1}}', b'{"code": 2, "files": {"README.md": 2}}'),
        ("b/README.md", b"1\n## Made with\n1", b"1\n## Made with\n2"),
        ("logs/a.log", b"1", b"2"),
    ],
)
def test_versions_and_logs_are_none(tmp_path, name, before, after):
    assert differences(*folders(tmp_path, name, before, after)) == {}


def test_a_file_that_is_there_once_is_a_difference(tmp_path):
    before, after = folders(tmp_path, "a.csv", b"1", b"1")
    (before / "b.csv").touch()
    (after / "c.csv").touch()
    assert differences(before, after) == {"b.csv": "is missing", "c.csv": "is new"}
