"""Borders of tiles and windows on the map of the viewer: they are drawn where they lie on the slide."""

import cv2
import numpy as np
import pytest
from driving import IN_CHROMIUM, READY
from viewing import MODEL, TILED, add_borders, make_results, viewer

pytestmark = IN_CHROMIUM
CENTER, ZOOM = (80, 64), 2


@pytest.fixture(scope="module")
def seen(tmp_path_factory, new_project):
    project = new_project(tmp_path_factory.mktemp("browser") / "project")
    results = make_results(project)
    add_borders(project)
    with viewer(results, log=tmp_path_factory.mktemp("log") / "view.log") as found:
        yield found


def looked(page, seen, layers, out):
    """The pixels of the map, and where the middle of it is in them."""
    x, y = CENTER
    page.open("about:blank")
    page.open(f"{seen.address}#run=0&slide=b1&x={x}&y={y}&zoom={ZOOM}&layers={layers}")
    page.until(READY)
    page.rest()
    page.picture(out)
    left, top, right, bottom = page.value(
        "(() => { const b = document.getElementById('map0').getBoundingClientRect();"
        " return [b.left, b.top, b.right, b.bottom]; })()"
    )
    pixels = cv2.imread(str(out)).astype(int)[round(top) : round(bottom), round(left) : round(right)]
    return pixels, ((right - left) / 2, (bottom - top) / 2)


@pytest.mark.parametrize(("kind", "name", "share"), [("tiles", TILED, 0.95), ("windows", MODEL, 0.4)])
def test_borders_are_drawn_where_they_lie_and_nowhere_else(page, seen, tmp_path, kind, name, share):
    plain, middle = looked(page, seen, "", tmp_path / "plain.png")
    drawn, _ = looked(page, seen, f"{kind}:1", tmp_path / f"{kind}.png")
    changed = np.abs(drawn - plain).max(axis=2) > 40
    found = seen.json(f"0/b1/borders.json?kind={kind}&name={name}&box=0,0,160,128")["boxes"]
    lines = np.zeros(changed.shape, np.uint8)
    for box in found:
        # a pixel of the slide is 2 ** ZOOM of the screen, as the slide has one zoom
        edges = [(edge - CENTER[side % 2]) * 2**ZOOM + middle[side % 2] for side, edge in enumerate(box)]
        left, top, right, bottom = (round(edge) for edge in edges)
        cv2.rectangle(lines, (left, top), (right, bottom), 1, 1)
    near = cv2.dilate(lines, np.ones((7, 7), np.uint8)) > 0
    assert changed.sum() > 1000
    assert not (changed & ~near).any()
    reached = cv2.dilate(changed.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert reached[lines > 0].mean() > share
