"""Changes each value of each preset in turn and says what notices: ``python tests/reference/mutate.py``.

First the preset alone, which the table of the system notices; then the preset and the table alike, which what is built
notices, wherever it shows the value. The exit code is 1 where a change of the preset alone goes unnoticed.
"""

import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "docs")]

from reference.comparing import alike, changed, is_valid, leaves, made, means, problems, with_value  # noqa: E402
from systems import systems  # noqa: E402

from tilewright.project.configfile import parse_config  # noqa: E402
from tilewright.runtime.errors import UserError  # noqa: E402


def main():
    """Try all, print what goes unnoticed, and count."""
    alone, both, total, ours = [], [], 0, 0
    for system in systems(HERE).values():
        if not system.preset:
            continue
        values = yaml.safe_load((HERE.parents[1] / "config" / "presets" / f"{system.preset}.yaml").read_text())
        facts = _true(system, values)
        for key, value in leaves(values).items():
            others = [with_value(values, key, other) for other in changed(key, value)]
            valid = next((other for other in others if is_valid(other)), None)
            total += 1
            name = f"{system.preset} {key}"
            if valid is None:
                continue
            if not problems(system, valid):
                alone.append(name)
            if _is_ours(system, key):
                ours += 1
            elif _true(system, valid) >= facts:
                both.append(name)
    print(f"{total} values; changed in the preset alone, unnoticed: {len(alone)}", *alone, sep="\n  ")
    print(
        f"{total - ours} values of the systems; changed in preset and table alike, unnoticed: {len(both)}",
        *both,
        sep="\n  ",
    )
    return 1 if alone else 0


def _is_ours(system, key):
    return any(means(key, each) for each in system.ours)


def _true(system, values):
    """The facts of a table that hold."""
    config = parse_config(values)
    return {
        (key, fact, asked)
        for key, line in system.lines.items()
        for fact, expected in line.builds.items()
        for asked, value in expected.items()
        if _holds(config, fact, asked, value)
    }


def _holds(config, fact, asked, value):
    try:
        return alike(value, made(config, fact, asked))
    except UserError:
        return False


if __name__ == "__main__":
    sys.exit(main())
