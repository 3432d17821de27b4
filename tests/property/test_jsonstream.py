import json
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.annotations import jsonstream
from tilewright.annotations.jsonstream import JsonReader
from tilewright.runtime.errors import AnnotationError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
indents = st.sampled_from([None, 0, 2])
pieces = st.integers(1, 9)


def reader(text, piece):
    """A reader that is given ``piece`` characters at a time, however many it asks for."""
    parts = (text[start : start + piece] for start in range(0, len(text), piece))
    return JsonReader(lambda _: next(parts, ""), Path("f.json"))


def read_all(source):
    elements = list(source.elements())
    source.finish()
    return elements


@given(st.lists(values, max_size=6), indents, pieces)
def test_elements_read_in_pieces_are_those_of_the_whole_text(document, indent, piece):
    assert read_all(reader(json.dumps(document, indent=indent), piece)) == document


@given(st.dictionaries(st.text(max_size=4), values, max_size=5), indents, pieces)
def test_members_read_in_pieces_are_those_of_the_whole_text(document, indent, piece):
    source = reader(json.dumps(document, indent=indent), piece)
    assert {key: source.value() for key in source.members()} == document
    source.finish()


@given(st.lists(values, min_size=1, max_size=4), indents, pieces, st.data())
def test_a_text_that_is_cut_off_or_followed_by_more_is_never_taken_as_whole(document, indent, piece, data):
    text = json.dumps(document, indent=indent)
    broken = data.draw(st.sampled_from([text[: data.draw(st.integers(0, len(text) - 1))], text + "]", text + " 1"]))
    with pytest.raises(AnnotationError):
        read_all(reader(broken, piece))


@given(st.integers(0, 30), st.integers(0, 30), pieces)
def test_an_error_is_named_by_its_line_and_column_in_the_file(lines, columns, piece):
    text = "[" + "1,\n" * lines + "2," * columns + "x]"
    with patch.object(jsonstream, "PIECE", 1), pytest.raises(AnnotationError) as caught:
        list(reader(text, piece).elements())
    column = 2 * columns + (1 if lines else 2)
    assert f"line {lines + 1}" in str(caught.value)
    assert f"column {column})" in str(caught.value)
