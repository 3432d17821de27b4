"""Memory that jobs share."""

import os

import pytest

from tilewright.runtime.ram import usable_megabytes

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("memory.max", "1000000000\n", 900),
        ("memory.max", "max\n", int(0.9 * MACHINE / 1e6)),
        ("memory/memory.limit_in_bytes", "2000000000\n", 1800),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", int(0.9 * MACHINE / 1e6)),
        ("other", "", int(0.9 * MACHINE / 1e6)),
    ],
)
def test_the_smaller_of_machine_and_container(tmp_path, name, content, expected):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert usable_megabytes(tmp_path) == expected
