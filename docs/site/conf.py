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

_LINK = re.compile(r"^- \[[^]]+\]\(([^)#]+)[^)]*\)", re.MULTILINE)
_SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n?)*)", re.MULTILINE)


def sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """The sections of ``docs/README.md``: title, and the pages that its list names, as Sphinx calls them."""
    for title, body in _SECTION.findall(text):
        yield title, [str(PurePosixPath(normpath(f"docs/{target}")).with_suffix("")) for target in _LINK.findall(body)]


def add_sidebar(_app: Any, page: str, source: list[str]) -> None:
    """Let the lists of links of the first page be what the sidebar shows too."""
    if page == root_doc:
        source[0] += "".join(
            "\n\n".join(["", f"```{{toctree}}\n:hidden:\n:caption: {title}", "\n".join(f"/{one}" for one in pages)])
            + "\n```\n"
            for title, pages in sections(source[0])
        )


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_sidebar)
