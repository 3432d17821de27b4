"""The picture of the house: packages from the ground up, the steps in each, drawn from the code."""

import ast
from pathlib import Path
from xml.sax.saxutils import escape

from tilewright.cli import VERBS

FOUNDATIONS = ("runtime", "project", "pixels")
STAGES = (
    "slides", "annotations", "masks", "scales", "tiles", "training", "inference", "bundles", "segments",
    "evaluation", "report",
)  # fmt: skip
PACKAGES = (*FOUNDATIONS, *STAGES, "check")
"""All packages; each imports from those before it and from no other."""
DOORS = {
    "__init__": "for notebooks: docs/python.md",
    "cli": "for the shell: tilewright VERB",
    "graph": "for the Snakefile: inputs, orders, resources",
}
WIDTH, ROW, GAP, LEFT, TEXT = 1000, 34, 6, 44, 300
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #222 }
.name { font-family: ui-monospace, monospace; font-weight: 600 }
.verb { font-family: ui-monospace, monospace; font-size: 13px; fill: #fff }
.quiet { font-size: 13px; fill: #555 }
"""


def house(source: Path) -> str:
    """An SVG: the doors on top, then the packages from the last to the first.

    Args:
        source: the folder of the package.
    """
    rows = [_door(name, what) for name, what in DOORS.items()]
    rows += [_package(name, _summary(source / name / "__init__.py")) for name in reversed(PACKAGES)]
    height = len(rows) * (ROW + GAP) + 16
    tops = range(8, height - ROW, ROW + GAP)
    body = "".join(f'<g transform="translate({LEFT} {top})">{row}</g>\n' for top, row in zip(tops, rows, strict=True))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="The packages of tilewright and the steps in them">\n<style>{STYLE}</style>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n{_arrow(height)}{body}</svg>\n'
    )


def _arrow(height: int) -> str:
    middle = height / 2
    return (
        f'<path d="M22 {height - 14} l-6 -12 h12 z" fill="#888"/><path d="M22 14 V{height - 26}" stroke="#888" '
        f'stroke-width="2"/>\n<rect x="8" y="{middle - 40}" width="28" height="80" fill="#fff"/>'
        f'<text class="quiet" transform="translate(27 {middle}) rotate(-90)" text-anchor="middle">imports</text>\n'
    )


def _door(name: str, what: str) -> str:
    return _box("#eef3ee", "#9db59d") + _name(f"{name}.py") + _told(TEXT, what)


def _package(name: str, summary: str) -> str:
    ground = name in FOUNDATIONS
    parts = [_box("#f0f0f0" if ground else "#eaf1f8", "#b0b0b0" if ground else "#93b4d4"), _name(f"{name}/")]
    x = 120
    for verb in (verb for verb, (target, _) in VERBS.items() if target.split(".")[1] == name):
        width = 14 + 8 * len(verb)
        parts.append(f'<rect x="{x}" y="6" width="{width}" height="22" rx="11" fill="#3a6ea5"/>')
        parts.append(f'<text class="verb" x="{x + width / 2:g}" y="21" text-anchor="middle">{verb}</text>')
        x += width + 6
    return "".join([*parts, _told(max(TEXT, x + 8), summary)])


def _box(fill: str, line: str) -> str:
    return f'<rect width="{WIDTH - LEFT - 8}" height="{ROW}" rx="4" fill="{fill}" stroke="{line}"/>'


def _name(text: str) -> str:
    return f'<text class="name" x="12" y="22">{text}</text>'


def _told(x: int, text: str) -> str:
    return f'<text class="quiet" x="{x}" y="22">{escape(text)}</text>'


def _summary(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]
