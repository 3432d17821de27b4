"""Sound files that are not read: why, and what helps; only damage is called damage."""

import errno
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips
from pages import RGB, Writer
from reading import slide_refusal

from tilewright.runtime.errors import OUT_OF_MEMORY, SlideError, SlideMemoryError
from tilewright.slides import gdal
from tilewright.slides.source import unreadable

LARGE = "its progressive JPEG needs 1010MB of memory at once, more than is given unasked."


def test_a_progressive_jpeg_that_needs_much_memory_is_no_damage(tmp_path):
    """Of a small one, whose head says that it is large."""
    path = tmp_path / "a.jpg"
    pyvips.Image.black(16, 16, bands=3).jpegsave(str(path), interlace=True, subsample_mode="off")
    content = bytearray(path.read_bytes())
    struct.pack_into(">HH", content, content.index(b"\xff\xc2") + 5, 12_000, 14_000)
    path.write_bytes(content)
    found = slide_refusal(path)
    assert LARGE in found
    assert found.endswith("or give it the memory: export JPEGMEM=1010M")
    assert "damaged" not in found


@pytest.mark.parametrize(
    ("code", "name"),
    [(33003, "JPEG 2000"), (33005, "JPEG 2000"), (34712, "JPEG 2000"), (22610, "JPEG XR"), (50002, "JPEG XL"),
     (34661, "JBIG"), (7777, "a method of code 7777")],
)  # fmt: skip
def test_compression_that_is_not_known_is_no_damage(tmp_path, code, name):
    found = slide_refusal(Writer().add(RGB, {259: code}).save(tmp_path / "a.tif"))
    assert f"its pixels are compressed by {name}, which is not read in a TIFF." in found
    assert "Save it with JPEG, LZW or deflate" in found
    assert "damaged" not in found


@pytest.mark.parametrize(
    ("said", "is_"),
    [
        ("... setting the JPEGMEM environment variable to a value greater or equal to '1010M'.", LARGE),
        ("Scan number 101 exceeds maximum scans (100)", "has too many scans"),
        ("libtiff: Out of memory allocating 123456 bytes", "cannot allocate memory"),
        ("a.tif: Too many open files", "too many open files"),
    ],
)
def test_what_readers_say_is_understood(tmp_path, said, is_):
    found = str(unreadable(tmp_path, RuntimeError(said), "x 0, y 0"))
    assert is_ in found
    assert "damaged" not in found


def test_the_next_attempt_gets_more_memory(tmp_path):
    error = unreadable(tmp_path, MemoryError())
    assert isinstance(error, SlideMemoryError)
    assert error.exit_code == OUT_OF_MEMORY
    assert SlideError.exit_code != OUT_OF_MEMORY


SYSTEM = {
    errno.EACCES: ("permission denied", "chmod u+rw"),
    errno.ESTALE: ("stale file handle", "mounted anew"),
    errno.EMFILE: ("too many open files", "ulimit -n"),
    errno.EIO: ("input/output error", "Look whether the drive is there"),
}


@pytest.mark.parametrize("code", SYSTEM)
def test_what_the_system_says_is_no_damage_on_opening_or_on_reading(tmp_path, save_image, monkeypatch, code):
    path = tmp_path / "a.png"
    save_image(path, np.full((20, 30, 3), 90, np.uint8))

    def refuse(*_arguments, **_options):
        raise OSError(code, os.strerror(code))

    def fail_later(self, _window):
        monkeypatch.setattr(Path, "open", refuse)
        raise RuntimeError("IReadBlock failed")

    for place, name, broken in ((gdal._GdalSource, "_bands_of", fail_later), (Path, "open", refuse)):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, broken)
            found = slide_refusal(path)
        monkeypatch.undo()
        assert f"{path}: cannot be read: {SYSTEM[code][0]}." in found
        assert SYSTEM[code][1] in found


def test_damage_is_called_damage(tmp_path, save_image):
    path = tmp_path / "a.tif"
    save_image(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), compress="deflate")
    content = bytearray(path.read_bytes())
    content[-400:-100] = struct.pack("<300x")
    path.write_bytes(content)
    assert "cannot be read: damaged at x 0, y 0" in slide_refusal(path)
