"""The index of the objects of a slide, and the tables that it is made of."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilewright.report.viewer.objectindex import Batch, ObjectIndex

READING = """
import os, sys
from pathlib import Path
from tilewright.report.viewer.objects import predicted_batches
before = len(os.listdir("/proc/self/task"))
print(sum(len(one.boxes) for one in predicted_batches(Path(sys.argv[1]), [])))
print(len(os.listdir("/proc/self/task")) - before)
"""


def test_the_index_finds_what_all_boxes_tell(tmp_path):
    draw = np.random.default_rng(3)
    corner = draw.uniform(0, 4000, (3000, 2))
    size = np.where(draw.uniform(size=(3000, 1)) < 0.01, 900, 200) * draw.uniform(0.1, 1, (3000, 2))
    boxes = np.hstack([corner, corner + size]).astype(np.float32)
    numbers = np.arange(3000, dtype=np.float32)[:, None]
    batches = [
        Batch(boxes[i : i + 700], numbers[i : i + 700], [b"%d" % n for n in range(i, min(i + 700, 3000))])
        for i in range(0, 3000, 700)
    ]
    index = ObjectIndex.build(batches, tmp_path)
    for left, top in draw.uniform(-200, 4100, (60, 2)):
        box = (left, top, left + 300, top + 150)
        places = index.near(box, 3000)
        meets = (boxes[:, 0] < box[2]) & (boxes[:, 2] > left) & (boxes[:, 1] < box[3]) & (boxes[:, 3] > top)
        assert sorted(index.numbers[places, 0]) == np.flatnonzero(meets).tolist()
        assert [index.payload_of(place) for place in places] == [b"%d" % n for n in index.numbers[places, 0]]
    assert isinstance(index.near((0, 0, 4000, 4000), 50), int)


def test_an_index_of_nothing_finds_nothing(tmp_path):
    nothing = Batch(np.empty((0, 4), np.float32), np.empty((0, 3), np.float32), [])
    for number, batches in enumerate(([], [nothing])):
        (tmp_path / str(number)).mkdir()
        index = ObjectIndex.build(batches, tmp_path / str(number))
        assert (len(index), index.numbers.shape) == (0, (0, 3 * number))
        assert index.near((0, 0, 4000, 4000), 50).tolist() == []


def test_making_an_index_takes_little_beside_what_it_holds(tmp_path):
    count, together = 200_000, 4096

    def batches():
        for first in range(0, count, together):
            corner = np.full((min(together, count - first), 2), first % 5000, np.float32)
            yield Batch(np.hstack([corner, corner + 9]), corner, [b"outline"] * len(corner))

    tracemalloc.start()
    ObjectIndex.build(batches(), tmp_path)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 72 * count, taken / count


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted by Linux alone")
def test_a_table_is_read_by_one_thread_as_others_keep_what_they_took(tmp_path):
    count, path = 20_000, tmp_path / "objects.parquet"
    numbers = dict.fromkeys(("left", "top", "width", "height", "first_x", "area", "confidence"), np.arange(count))
    pq.write_table(pa.table({"class": ["gland"] * count, **numbers}), path)
    told = subprocess.run([sys.executable, "-c", READING, path], capture_output=True, text=True, check=True).stdout
    assert told.split() == [str(count), "0"]
