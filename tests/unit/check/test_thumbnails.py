"""Pictures of slides with their outlines, and the contact sheet."""

import json
import re

import cv2
import numpy as np
import pytest
from checking import config_of
from pages import Writer

from tilewright.check.check import check
from tilewright.check.contact import LARGEST, SMALLEST, Card, cell_edge, contact_sheet
from tilewright.check.thumbnails import picture
from tilewright.runtime.errors import DataError, UserError
from tilewright.slides import open_slide

CONFIG = config_of('tumor: {color: "#00ff00"}') + "annotations: {discard: [pen]}\n"
STAIN = (180, 90, 160)


def feature(label, x, y, size):
    ring = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": label}}}


@pytest.fixture
def project(tmp_path, monkeypatch, save_image):
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "a.tif", np.full((1600, 2400, 3), STAIN, np.uint8), tiled=True)
    (tmp_path / "a.geojson").write_text(json.dumps([feature("tumor", 600, 300, 600), feature("pen", 1800, 900, 300)]))
    save_image(tmp_path / "b.png", np.full((48, 64, 3), STAIN, np.uint8))
    (tmp_path / "b.geojson").write_text(json.dumps([feature("tumor", 10, 10, 20)]))
    save_image(tmp_path / "c.png", np.full((48, 64, 3), 250, np.uint8))
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "slides.csv").write_text(
        "slide,image,annotations,role,region\na,a.tif,a.geojson,train,\nb,b.png,b.geojson,train,\n"
        'c,c.png,,test,\nd,a.tif,a.geojson,train,"300,200,1200,900"\ne,e.tif,,test,\n'
    )
    Writer().add(np.zeros((8, 8, 3), np.uint8), {279: 0}).save(tmp_path / "e.tif")
    return tmp_path


def shown(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)


def is_like(pixel, color):
    return np.abs(pixel - np.array(color)).max() < 70


def test_slides_are_shown_with_their_outlines_on_one_sheet(project):
    with pytest.raises(UserError, match="1 error, 2 warnings; 5 slides readable"):
        check(config=project / "config.yaml", thumbnails=project / "look")
    found = sorted(path.name for path in (project / "look").iterdir() if not path.name.startswith("."))
    assert found == ["a.jpg", "b.jpg", "c.jpg", "contact_sheet.png", "d.jpg", "index.html"]
    pixels = shown(project / "look/a.jpg")
    assert pixels.shape == (534, 800, 3)
    assert is_like(pixels[200, 200], (0, 255, 0))
    assert is_like(pixels[100, 300], (0, 255, 0))
    assert is_like(pixels[200, 300], STAIN)
    assert is_like(pixels[20, 20], STAIN)
    assert not is_like(pixels[350, 600], (0, 255, 0))  # left out on purpose
    assert is_like(shown(project / "look/d.jpg")[(300 - 200) // 2, (900 - 300) // 2], (0, 255, 0))
    small = shown(project / "look/b.jpg")
    assert small.shape == (48 * 6, 64 * 6, 3)
    assert is_like(small[20 * 6, 10 * 6], (0, 255, 0))


def test_the_page_says_of_each_slide_what_was_found(project):
    with pytest.raises(UserError):
        check(config=project / "config.yaml", thumbnails=project / "look")
    page = (project / "look/index.html").read_text()
    figures = dict(re.findall(r'<figure[^>]*id="(\w)">(.*?)</figure>', page, re.DOTALL))
    assert list(figures) == ["a", "b", "c", "d", "e"]
    assert "(train) 2400 x 1600, size of a pixel unknown; outlines: tumor 1" in figures["a"]
    assert "class=" not in figures["a"]
    assert "(test) 64 x 48, size of a pixel unknown; outlines: none" in figures["c"]
    assert "0 of 3072 pixels that were read are tissue" in figures["c"]
    assert "1 of 1 strips of page 1 have a place and a length of 0" in figures["e"]
    assert "<img" not in figures["e"]
    assert "http" not in page


def test_pictures_are_written_anew_and_replace_nothing_else(project):
    for _ in range(2):
        with pytest.raises(UserError):
            check(config=project / "config.yaml", thumbnails=project / "look")
    with pytest.raises(DataError, match="Nothing was changed"):
        check(config=project / "config.yaml", thumbnails=project)


def test_without_the_option_nothing_is_written(project):
    before = sorted(project.iterdir())
    with pytest.raises(UserError):
        check(config=project / "config.yaml")
    assert sorted(project.iterdir()) == before


@pytest.mark.parametrize(("size", "shape", "scale"), [((3, 5), (228, 380), 76), ((400, 500), (400, 500), 1),
                                                      ((1025, 3), (513, 2), 0.5)])  # fmt: skip
def test_a_picture_is_of_whole_pixels_of_the_slide(tmp_path, save_image, size, shape, scale):
    save_image(tmp_path / "a.png", np.full((*size, 3), STAIN, np.uint8))
    with open_slide(tmp_path / "a.png") as slide:
        pixels, found = picture(slide)
    assert (pixels.shape[:2], found) == (shape, scale)
    assert (pixels == STAIN).all()


@pytest.mark.parametrize("count", [0, 1, 7, 3000])
def test_a_sheet_of_any_number_of_slides_stays_of_a_size_to_look_at(count):
    edge = cell_edge(count)
    assert SMALLEST <= edge <= LARGEST
    card = Card("slide", "", "", np.zeros((edge, edge, 3), np.uint8), ["odd"])
    assert contact_sheet([card] * count).size < 3 * 2**26
