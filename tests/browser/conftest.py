import pytest
from driving import browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def page(chromium, seen):
    """A fresh page; whatever it did, it asked nobody else, and nothing went wrong in it."""
    chromium.open("about:blank")
    chromium.rest()
    chromium.asked.clear(), chromium.said.clear()
    yield chromium
    chromium.rest()
    others = [url for url in chromium.asked if not url.startswith((seen.address, "blob:", "data:", "about:"))]
    assert others == []
    assert chromium.said == []
