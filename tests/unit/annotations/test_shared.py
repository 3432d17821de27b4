"""Files that many slides share are read and grouped once, and by one process of many."""

import json
import re

import pytest
from reading import SIZE

from tilewright.annotations import coco, jsonl, shared, stream_outlines, tables
from tilewright.pixels.grid import Size
from tilewright.project.config import Annotations, Limits
from tilewright.project.naming import Identity
from tilewright.runtime.errors import AnnotationError, DataError

NAMES = [f"im_{place:03}" for place in range(40)]


def write_table(path):
    path.write_text("id,class,rle\n" + "".join(f"{name},a,{80 * place + 1} 4\n" for place, name in enumerate(NAMES)))


def write_coco(path):
    path.write_text(json.dumps({
        "images": [{"id": place, "file_name": f"{name}.png"} for place, name in enumerate(NAMES)],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"image_id": place, "category_id": 1, "segmentation": [[place, 0, place + 1, 0, place + 1, 4]]}
                        for place in range(len(NAMES))] + ["stray"],
    }))  # fmt: skip


def write_lines(path):
    rings = ([[n, 0], [n + 1, 0], [n + 1, 4]] for n in range(len(NAMES)))
    path.write_text("".join(
        json.dumps({"id": name, "annotations": [{"type": "a", "coordinates": [ring]}]}) + "\n"
        for name, ring in zip(NAMES, rings, strict=True)
    ))  # fmt: skip


WRITERS = {"t.csv": write_table, "c.json": write_coco, "l.jsonl": write_lines}
READ_BY = {"t.csv": (tables, "load_table"), "c.json": (coco, "_by_image"), "l.jsonl": (jsonl, "read_bytes")}


@pytest.fixture(params=WRITERS)
def path(request, tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "LEAST", 0)
    shared._open.cache_clear()
    WRITERS[request.param](tmp_path / request.param)
    return tmp_path / request.param


@pytest.fixture
def reads(path, monkeypatch):
    """The times that the file was read and divided."""
    counted = []
    module, name = READ_BY[path.name]
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *given: counted.append(1) or real(*given))
    return counted


def outlines(path, slide, index=None):
    batches = list(stream_outlines(path, Identity(slide), SIZE, Annotations(), Limits(), index))
    return [
        *((one.label, one.geometry.wkt, one.origin) for batch in batches for one in batch.annotations),
        *(str(finding) for batch in batches for finding in batch.findings),
    ]


def test_a_file_is_divided_once_for_all_slides(path, reads):
    for place, name in enumerate(NAMES):
        (first, *_) = outlines(path, name)
        assert first[1].startswith(f"POLYGON (({place}") or f" {place} " in first[1]
    assert len(reads) == 1


def test_slides_may_take_turns_between_files(path, reads, tmp_path):
    write_table(tmp_path / "other.csv")
    for name in NAMES[:3]:
        assert outlines(path, name)
        assert outlines(tmp_path / "other.csv", name)
    assert len(reads) <= 2


def test_a_file_that_changed_is_read_again(path):
    before = outlines(path, NAMES[0])
    path.write_text(path.read_text().replace("im_000", "im_xxx").replace("im_001", "im_000"))
    assert outlines(path, NAMES[0]) != before


def test_another_process_reads_the_index_alone_and_finds_the_same(path, reads, tmp_path):
    alone = [outlines(path, name) for name in NAMES]
    shared._open.cache_clear()
    first = outlines(path, NAMES[0], tmp_path / "left")
    (index,) = (tmp_path / "left").iterdir()
    assert re.fullmatch(r"[0-9a-f]{16}-\d+\.index", index.name)
    del reads[:]
    shared._open.cache_clear()
    assert [outlines(path, name, tmp_path / "left") for name in NAMES] == alone
    assert first == alone[0]
    assert reads == []
    with pytest.raises(AnnotationError, match="holds no outlines of slide im_04x"):
        outlines(path, "im_04x", tmp_path / "left")


def test_an_index_is_that_of_its_content(path, tmp_path):
    outlines(path, NAMES[0], tmp_path / "left")
    path.write_text(path.read_text().replace("im_000", "im_xxx").replace("im_001", "im_000"))
    shared._open.cache_clear()
    assert outlines(path, NAMES[0], tmp_path / "left") == outlines(path, NAMES[0])
    assert len(list((tmp_path / "left").iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"x" + data[1:], lambda _: b""])
def test_an_index_that_is_not_whole_is_written_again(path, reads, tmp_path, damage):
    before = outlines(path, NAMES[0], tmp_path / "left")
    (index,) = (tmp_path / "left").iterdir()
    index.write_bytes(damage(whole := index.read_bytes()))
    shared._open.cache_clear()
    assert outlines(path, NAMES[0], tmp_path / "left") == before
    assert index.read_bytes() == whole
    assert len(reads) == 2


def test_what_is_damaged_in_an_index_is_not_used(path, tmp_path):
    outlines(path, NAMES[0], tmp_path / "left")
    (index,) = (tmp_path / "left").iterdir()
    data = index.read_bytes()
    index.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    shared._open.cache_clear()
    assert outlines(path, NAMES[0], tmp_path / "left")
    with pytest.raises(DataError, match=r"\.index: is damaged\.\n  Delete it and run again"):
        outlines(path, NAMES[-1], tmp_path / "left")


def test_an_index_that_cannot_be_written_stops_nothing(path, tmp_path, capsys):
    (tmp_path / "left").touch()
    assert outlines(path, NAMES[0], tmp_path / "left") == outlines(path, NAMES[0])
    assert "cannot be written, so that each job reads the whole file of outlines" in capsys.readouterr().err


def test_no_index_is_left_of_a_small_file_or_of_one_slide(path, tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "LEAST", 1 << 20)
    outlines(path, NAMES[0], tmp_path / "left")
    assert not (tmp_path / "left").exists()
    monkeypatch.setattr(shared, "LEAST", 0)
    (tmp_path / "one.csv").write_text("id,class,rle\ns,a,1 4\n")
    outlines(tmp_path / "one.csv", "s", tmp_path / "left")
    assert not (tmp_path / "left").exists()


def test_an_index_is_left_of_a_file_of_a_megabyte_and_not_of_one_that_is_smaller(tmp_path):
    rows = "id,class,rle\nim_000,a,1 4\nim_001,a,"
    for name, size, left in (("small", 900_000, 0), ("large", 1_100_000, 1)):
        path, index = tmp_path / f"{name}.csv", tmp_path / name
        shared._open.cache_clear()
        path.write_text(rows + "1 4 " * ((size - len(rows)) // 4) + "\n")
        outlines(path, "im_000", index)
        assert len(list(index.glob("*.index"))) == left


def test_sizes_that_an_image_states_are_compared(tmp_path):
    (tmp_path / "t.csv").write_text("id,class,rle,width,height\ns,a,1 4,100,80\nt,a,1 4,100,81\n")
    assert outlines(tmp_path / "t.csv", "s")
    with pytest.raises(AnnotationError, match="row 3: the height is 81 here, but the slide's is 80 pixels"):
        outlines(tmp_path / "t.csv", "t")
    with pytest.raises(AnnotationError, match="row 2: the width is 100 here, but the slide's is 99 pixels"):
        list(stream_outlines(tmp_path / "t.csv", Identity("s"), Size(99, 80), Annotations(), Limits()))
