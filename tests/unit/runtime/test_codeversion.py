import shutil

import pytest

from tilewright.runtime import codeversion
from tilewright.runtime.codeversion import code_version


def forget():
    """Read the package again, as a new process would."""
    codeversion.code_of.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, whose files a test may edit."""
    copy = tmp_path / "tilewright"
    shutil.copytree(codeversion.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(codeversion, "PACKAGE", copy)
    forget()
    yield copy
    forget()


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    forget()


STEPS = ("masks.rasterize", "tiles.split", "training.train", "inference.predict", "segments.segment")


def test_comments_docstrings_and_layout_are_no_code(package):
    before = [code_version(step) for step in STEPS]
    losses = package / "training" / "losses.py"
    edit(losses, "def bce(", "# why\n\n\ndef bce(")
    edit(losses, '"""Binary cross-entropy', '"""Cross-entropy')
    edit(losses, "(size - 1) / 2", "(\n        (size - 1) / 2\n    )")
    assert [code_version(step) for step in STEPS] == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("training/fitting.py", 'note(f"', 'note(f"Well: '),
        ("pixels/tables.py", "Problem(", 'Problem("" + '),
        ("inference/predict.py", 'f"predict {name}"', 'f"now predict {name}"'),
        ("training/start.py", 'remedy = "', 'remedy = "Please: '),
        ("pixels/runs.py", 'ValueError(f"runs', 'ValueError(f"some runs'),
        ("training/networks.py", 'ValueError(f"gate', 'ValueError("gate is none", f"gate'),
        ("training/networks.py", 'additive or original")', 'additive or original", why="it is none")'),
    ],
)
def test_what_is_said_to_people_is_no_code(package, module, old, new):
    before = [code_version(step) for step in (*STEPS, "bundles.pack")]
    edit(package / module, old, new)
    assert [code_version(step) for step in (*STEPS, "bundles.pack")] == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("inference/predict.py", "track(corners,", "track(corners[1:],"),
        ("training/losses.py", "def bce(", 'WORD = "one"\n\n\ndef bce('),
        ("training/losses.py", '"""Binary cross-entropy', 'word = "a"\n    print(word)\n    """Binary'),
        ("pixels/runs.py", "raise ValueError(f", "raise TypeError(f"),
    ],
)
def test_what_is_worked_through_and_texts_that_others_may_take_are_code(package, module, old, new):
    before = [code_version(step) for step in STEPS]
    edit(package / module, old, new)
    assert [code_version(step) for step in STEPS] != before


@pytest.mark.parametrize("word", ['WORD = "one"\n', 'def said():\n    word = "one"\n    return word\n'])
def test_another_text_is_other_code_where_anything_takes_it(package, word):
    losses = package / "training" / "losses.py"
    edit(losses, "def bce(", f"{word}\n\ndef bce(")
    before = code_version("training.train")
    edit(losses, '"one"', '"two"')
    assert code_version("training.train") != before


@pytest.mark.parametrize(
    ("module", "old", "new", "changed"),
    [
        ("training/losses.py", "(size - 1) / 2", "(size - 1) / 3", {"training.train"}),
        ("training/segmenter.py", "255 *", "256 *", {"training.train", "inference.predict"}),
        ("inference/blending.py", "+ 0.5", "+ 0.4", {"inference.predict"}),
        ("tiles/split.py", "count.total()", "0", {"tiles.split", "training.train"}),
        ("pixels/rle.py", '"ascii"', '"utf-8"', {"masks.rasterize", "segments.segment"}),
        ("pixels/seals.py", "zlib.crc32(chunk, checksum)", "0", {*STEPS} - {"tiles.split"}),
    ],
)
def test_code_of_a_module_counts_for_the_steps_that_import_it_and_no_others(package, module, old, new, changed):
    before = {step: code_version(step) for step in STEPS}
    edit(package / module, old, new)
    assert {step for step in STEPS if code_version(step) != before[step]} == changed


@pytest.mark.parametrize(
    "module", ["runtime/progress.py", "runtime/errors.py", "cli.py", "project/config/training.py", "project/rows.py"]
)
def test_modules_that_cannot_change_a_result_do_not_count(package, module):
    before = [code_version(step) for step in STEPS]
    path = package / module
    path.write_text(path.read_text() + "\n\nADDED = 1\n")
    forget()
    assert [code_version(step) for step in STEPS] == before
