"""Tables as Excel, pandas, R and people write them."""

import pytest

from tilewright.runtime.errors import UserError
from tilewright.runtime.tables import read_table

TEXT = "slide,source,note\na,Köln,\nb,Lund,x\n"
VALUES = [{"slide": "a", "source": "Köln", "note": ""}, {"slide": "b", "source": "Lund", "note": "x"}]


def table(tmp_path, data, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table(path)


def values(tmp_path, data, name="t.csv"):
    return [record.values for record in table(tmp_path, data, name).records]


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"],
)
def test_every_encoding_that_programs_write(tmp_path, encoding):
    assert values(tmp_path, TEXT.encode(encoding)) == VALUES


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_every_separator_and_line_ending(tmp_path, separator, ending):
    assert values(tmp_path, TEXT.replace(",", separator).replace("\n", ending)) == VALUES


def test_a_separator_counts_only_outside_of_quotes(tmp_path):
    assert values(tmp_path, '"a;b;c",d\n1,2\n') == [{"a;b;c": "1", "d": "2"}]
    assert values(tmp_path, "slide;region\na;1,2,3,4\n") == [{"slide": "a", "region": "1,2,3,4"}]


def test_a_tsv_with_commas_in_its_values_is_split_at_tabs(tmp_path):
    assert values(tmp_path, "slide\ta,b,c\nx\t1\n", "t.tsv") == [{"slide": "x", "a,b,c": "1"}]
    assert values(tmp_path, "slide,note\nx,1\n", "t.tsv") == [{"slide": "x", "note": "1"}]


def test_excel_says_its_separator_in_a_line_of_its_own(tmp_path):
    found = table(tmp_path, "sep=;\r\nslide;note\r\na;1,5\r\n")
    assert (found.header, found.records[0].values, found.records[0].line) == (
        ("slide", "note"), {"slide": "a", "note": "1,5"}, 2,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 12"])
def test_the_index_that_pandas_writes_is_left_out(tmp_path, name):
    found = table(tmp_path, f"{name},slide,note\n10,a,x\n11,b,\n")
    assert found.header == ("slide", "note")
    assert [record.values for record in found.records] == [{"slide": "a", "note": "x"}, {"slide": "b", "note": ""}]
    assert not any(record.surplus for record in found.records)


def test_separators_at_the_ends_of_rows_are_no_values_and_values_there_are_told(tmp_path):
    first, second = table(tmp_path, "slide,note\na,x,,\nb,y,1,2\n").records
    assert (first.surplus, second.surplus) == ((), ("1", "2"))


def test_a_value_may_be_longer_than_the_csv_modules_limit(tmp_path):
    assert values(tmp_path, "slide,rle\na," + "1 2 " * 100_000 + "\n")[0]["rle"] == ("1 2 " * 100_000).strip()


def test_lines_are_counted_over_empty_rows_and_values_of_several_lines(tmp_path):
    found = table(tmp_path, 'slide,note\n\na,"two\nlines"\n , \nb,x\n')
    assert [(record.values["slide"], record.line) for record in found.records] == [("a", 4), ("b", 6)]


@pytest.mark.parametrize(
    ("data", "what", "remedy"),
    [
        (b"PK\x03\x04\x14\0xl/workbook.xml", "is a workbook of Excel or LibreOffice", "CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is a workbook of an old Excel", "CSV UTF-8"),
        (b"\x1f\x8b\x08\0", "is packed by gzip", "gunzip"),
        (b"slide,note\na,\x81\x8d\n", "neither in UTF-8 nor in Windows-1252 (byte 13, row 2)", "CSV UTF-8"),
        (b"slide,note\na,b\nc,\0\0\n", "row 3: holds bytes that are no text", "CSV UTF-8"),
        (b"slide,note,slide\na,b,c\n", "header: columns are named twice: slide", "another name"),
    ],
)
def test_what_is_no_table_is_told_with_its_remedy(tmp_path, data, what, remedy):
    with pytest.raises(UserError) as caught:
        table(tmp_path, data)
    assert what in str(caught.value)
    assert remedy in caught.value.problems[0].remedy


def test_a_folder_in_place_of_a_table_is_told(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        read_table(tmp_path)
