"""The site: the sidebar is the list of pages, and the checker of links finds what is wrong."""

import sys
from pathlib import Path

import pytest
from links import problems

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


@pytest.fixture
def conf(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "site")
    import conf

    yield conf
    sys.modules.pop("conf")


def test_every_page_stands_once_in_the_list_of_pages(conf):
    listed = [path for _, pages in conf.sections((DOCS / "README.md").read_text()) for _, path in pages]
    assert len(listed) == len(set(listed))
    assert {f"docs/{path.stem}" for path in DOCS.glob("*.md")} - {conf.root_doc} <= set(listed)
    assert {"README", "CHANGELOG", "CONTRIBUTING", "config/README"} <= set(listed)


def test_the_sidebar_shows_the_sections_of_the_first_page_and_no_other_page_changes(conf):
    text = "# Pages\n\n## Start\n\n- [One](one.md): first.\n- [Two](../b.md)\n\nWords.\n\n## End\n\n- [Three](c.md#a)\n"
    assert list(conf.sections(text)) == [
        ("Start", [("One", "docs/one"), ("Two", "b")]),
        ("End", [("Three", "docs/c")]),
    ]
    source, other = [text], [text]
    conf.add_sidebar(None, conf.root_doc, source)
    conf.add_sidebar(None, "docs/one", other)
    assert ":caption: Start\n\nOne </docs/one>\nTwo </b>\n```" in source[0]
    assert other == [text]


def page(body, head=""):
    return f"<html><head>{head}</head><body><h1 id='top'>Title</h1>{body}</body></html>"


@pytest.mark.parametrize(
    ("body", "head", "says"),
    [
        ('<a href="b.html">b</a><a href="b.html#there">b</a><a href="#top">a</a>', "", []),
        ('<a href="https://elsewhere.org/x">x</a><a href="mailto:a@b.c">m</a>', "", []),
        ('<img src="a%20b.png" alt="words">', '<link rel="next" href="b.html">', []),
        ('<a href="c.html">c</a>', "", ["a.html: c.html leads to no file"]),
        ('<a href="b.html#gone">b</a>', "", ["a.html: b.html#gone leads to no such place"]),
        ('<a href="#gone">a</a>', "", ["a.html: #gone leads to no such place"]),
        ('<img src="none.png" alt="words">', "", ["a.html: none.png leads to no file"]),
        ('<img src="a%20b.png">', "", ["a.html: the picture a%20b.png has no words (alt)"]),
        ("", '<script src="https://cdn.org/x.js"></script>', ["a.html: https://cdn.org/x.js is loaded from elsewhere"]),
        ("", '<link rel="stylesheet" href="//x.org/s">', ["a.html: //x.org/s is loaded from elsewhere"]),
        ("<h1>Again</h1>", "", ["a.html: 2 headings of the first order"]),
        ('<p id="top"></p>', "", ["a.html: the anchor top is there 2 times"]),
    ],
)
def test_what_is_wrong_in_a_page_is_named(tmp_path, body, head, says):
    (tmp_path / "a.html").write_text(page(body, head))
    (tmp_path / "b.html").write_text(page('<p id="there"></p>'))
    (tmp_path / "a b.png").touch()
    assert problems(tmp_path) == says


def test_styles_load_nothing_from_elsewhere():
    for path in (DOCS / "site").rglob("*.css"):
        assert "http" not in path.read_text()
        assert "@import" not in path.read_text()
