"""docs/reference-systems.md names tests that exist."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "docs" / "reference-systems.md").read_text()


def test_every_test_that_is_named_exists():
    named = re.findall(r"`(?:(\w+)/)?(test_\w+)(?:::(test_\w+))?`", TEXT)
    assert len(named) > 30
    for folder, module, test in named:
        path = next((REPOSITORY / "tests").rglob(f"{folder or '*'}/{module}.py"))
        assert not test or f"def {test}(" in path.read_text(), test
