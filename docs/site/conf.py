"""How Sphinx makes the site of the Markdown that also reads well by itself: ``make site``.

The source is the whole repository, so that relative links between its pages mean the same here and there. What the
sidebar shows are the lists of links in ``docs/README.md``, section by section.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any

project = "tilewright"
author = "The tilewright developers"
root_doc = "docs/README"
include_patterns = ["*.md", "docs/*.md", "config/README.md", "benchmarks/README.md", "quality/README.md"]
exclude_patterns = [".*", "mutants", "results", "shared", "src", "tests", "workflow"]
extensions = ["myst_parser"] if find_spec("myst_parser") else []

myst_heading_anchors = 4
nitpicky = True
highlight_language = "none"
smartquotes = False

html_theme = "furo"
html_title = "tilewright"
html_static_path = ["static"]
html_extra_path = ["extra"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_last_updated_fmt = None
html_use_index = False

_LINK = re.compile(r"^- \[([^]]+)\]\(([^)#]+)[^)]*\)", re.MULTILINE)
_SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n?)*)", re.MULTILINE)


def sections(text: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The sections of ``docs/README.md``: title, and the pages of its list: words, and path as Sphinx names it."""
    for title, body in _SECTION.findall(text):
        yield title, [(words, _page(target)) for words, target in _LINK.findall(body)]


def _page(target: str) -> str:
    return str(PurePosixPath(normpath(f"docs/{target}")).with_suffix(""))


def add_sidebar(_app: Any, page: str, source: list[str]) -> None:
    """Let the lists of links of the first page be what the sidebar shows too."""
    if page != root_doc:
        return
    for title, pages in sections(source[0]):
        lines = "\n".join(f"{words} </{path}>" for words, path in pages)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{lines}\n```\n"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_sidebar)
