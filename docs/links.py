"""Checks a built site without a network: ``python docs/links.py .site/html`` names what is wrong and fails.

Every link and picture leads to a file that is there, and to an anchor in it; nothing is loaded from elsewhere; each
page has one heading of the first order, and pictures say what they show.
"""

import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
"""Elements that a browser fetches by itself, and the attribute that says from where."""
NO_FETCH = {"canonical", "next", "prev", "index", "search"}
"""Kinds of ``link`` that are pages to go to, not files to fetch."""

SEARCH = "search.html"
"""Its heading comes with what was found."""


@dataclass
class Page(HTMLParser):
    """What a page of HTML holds that can be wrong."""

    ids: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    headings: int = 0
    silent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, links, what is loaded, headings, and pictures without words."""
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids[given["id"]] += 1
        self.headings += tag == "h1"
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADS and LOADS[tag] in given and given.get("rel") not in NO_FETCH:
            self.loaded.append(given[LOADS[tag]])
        if tag == "img" and not given.get("alt"):
            self.silent.append(given.get("src", ""))


@cache
def page_of(path: Path) -> Page:
    """A page, read once."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def problems(folder: Path) -> list[str]:
    """What is wrong with the pages of a folder, one line each."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        page, name = page_of(path), path.relative_to(folder)
        found += [f"{name}: the anchor {one} is there {count} times" for one, count in page.ids.items() if count > 1]
        found += [f"{name}: {one} is loaded from elsewhere" for one in page.loaded if _elsewhere(one)]
        found += [f"{name}: the picture {one} has no words (alt)" for one in page.silent]
        if page.headings != 1 and path.name != SEARCH:
            found.append(f"{name}: {page.headings} headings of the first order")
        found += [f"{name}: {one} {why}" for one in [*page.links, *page.loaded] if (why := _wrong(path, one))]
    return found


def _elsewhere(target: str) -> bool:
    parts = urlsplit(target)
    return bool(parts.netloc) or parts.scheme in {"http", "https"}


def _wrong(path: Path, target: str) -> str:
    """Why a target within the site leads nowhere; empty: it does not."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return ""
    file = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
    if not file.is_file():
        return "leads to no file"
    anchor = unquote(parts.fragment)
    return "leads to no such place" if anchor and file.suffix == ".html" and not page_of(file).ids[anchor] else ""


if __name__ == "__main__":
    sys.exit("\n".join(problems(Path(sys.argv[1]))) or 0)
