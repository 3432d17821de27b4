"""Results in JSON: what is read is what was written, or an error."""

import json

import pytest

from tilewright.runtime.documents import read_document, write_document
from tilewright.runtime.errors import DataError

CONTENT = {"format": 1, "thresholds": {"gland": 0.1 + 0.2, "Gefäß": 1e-300}, "slides": ["a", "b"], "none": None}


@pytest.fixture
def path(tmp_path):
    write_document(tmp_path / "c.json", CONTENT)
    return tmp_path / "c.json"


def test_what_is_read_is_what_was_written(path):
    assert read_document(path) == CONTENT
    assert json.loads(path.read_text()).items() > CONTENT.items()


def test_a_wrong_bit_anywhere_is_an_error_or_changes_nothing(path):
    whole, said = path.read_bytes(), []
    for place in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(bytes(data))
            try:
                assert read_document(path) == CONTENT
            except DataError as error:
                said.append(str(error))
    assert len(said) > 0.8 * 8 * len(whole)
    assert all(f"Delete {path} and run the same command again." in text for text in said)


def test_another_layout_is_no_damage(path):
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert read_document(path) == CONTENT


def test_an_edited_value_is_an_error_that_names_what_to_delete(path, tmp_path):
    path.write_text(path.read_text().replace('"a"', '"c"'))
    with pytest.raises(DataError, match=f"(?s)edited: it is not what was written.*Delete {tmp_path} and run"):
        read_document(path, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"format": 1}', "\udcff"])
def test_another_file_is_an_error(path, text):
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"c\.json"):
        read_document(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_document(tmp_path / "c.json")
