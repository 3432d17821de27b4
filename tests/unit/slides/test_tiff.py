"""Layouts of TIFF that programs write, byte by byte, because no library here writes them all."""

import struct
import tracemalloc
from itertools import product

import numpy as np
import pytest
from pages import HEIGHT, OTHER, PLANES, RGB, SMALL, WIDTH, Writer, ome, save_pages
from reading import read_slide, slide_refusal

from tilewright.pixels.grid import Size
from tilewright.runtime.errors import SlideError
from tilewright.slides import open_slide
from tilewright.slides.tiff import Tiff

ORDERS = ("XYCZT", "XYCTZ", "XYZCT", "XYZTC", "XYTCZ", "XYTZC")


@pytest.mark.parametrize(("order", "big"), [*product("<>", [False, True])])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_either_byte_order_and_bigtiff_are_read_alike(tmp_path, order, big, dtype):
    scale = 257 if dtype == np.uint16 else 1
    whole = save_pages(tmp_path / "a.tif", [RGB.astype(dtype) * scale], order=order, big=big)
    pages = save_pages(tmp_path / "b.tif", [plane.astype(dtype) * scale for plane in PLANES], order=order, big=big)
    assert (read_slide(whole) == RGB).all()
    assert (read_slide(pages) == RGB).all()


@pytest.mark.parametrize(
    "description",
    [
        "",
        '{"shape": [3, 24, 40]}',
        '{"shape": [1, 1, 3, 24, 40]}',
        "ImageJ=1.11a\nimages=3\nchannels=3\nhyperstack=true\nmode=composite\nloop=false\n",
        ome(),
        ome(order="XYZTC"),
    ],
)
def test_channels_on_pages_of_their_own_are_one_colour_image(tmp_path, description):
    path = save_pages(tmp_path / "a.tif", PLANES, description)
    assert (read_slide(path) == RGB).all()


@pytest.mark.parametrize("order", ORDERS)
def test_the_first_plane_and_time_of_an_ome_tiff_are_read_whatever_the_order(tmp_path, order):
    lengths = {"C": 3, "Z": 2, "T": 2}
    names = order[:1:-1]  # the slowest first, as numpy has it
    pages = []
    for index in np.ndindex(*(lengths[name] for name in names)):
        place = dict(zip(names, index, strict=True))
        pages.append(PLANES[place["C"]] if place["Z"] == place["T"] == 0 else OTHER)
    path = save_pages(tmp_path / "a.ome.tif", pages, ome(planes=2, times=2, order=order))
    assert (read_slide(path) == RGB).all()


def test_ome_pages_are_found_where_the_xml_says(tmp_path):
    data = "".join(f'<TiffData FirstC="{channel}" IFD="{3 - channel}"/>' for channel in range(3))
    path = save_pages(tmp_path / "a.ome.tif", [OTHER, *PLANES[::-1]], ome(data=data))
    assert (read_slide(path) == RGB).all()


def test_a_colour_page_of_an_ome_stack_is_read_for_its_first_plane(tmp_path):
    path = save_pages(tmp_path / "a.ome.tif", [RGB, 255 - RGB], ome(planes=2, samples=3))
    assert (read_slide(path) == RGB).all()


def test_a_grey_ome_stack_is_read_for_its_first_plane(tmp_path):
    path = save_pages(tmp_path / "a.ome.tif", [PLANES[0], OTHER], ome(channels=1, planes=2))
    assert (read_slide(path) == PLANES[0][..., None]).all()


@pytest.mark.parametrize("description", ["", ome(samples=3)])
def test_a_pyramid_is_never_taken_for_channels(tmp_path, description):
    tags = {270: description} if description else {}
    below = Writer().add(RGB, tags, children=[SMALL, SMALL[::2, ::2]]).save(tmp_path / "a.tif")
    flagged = Writer().add(RGB, tags).add(SMALL, {254: 1}).add(SMALL[::2, ::2], {254: 1}).save(tmp_path / "b.tif")
    plain = Writer().add(RGB, tags).add(SMALL).add(SMALL[::2, ::2]).save(tmp_path / "c.tif")
    for path in (below, flagged, plain):
        assert (read_slide(path) == RGB).all()


def test_a_pyramid_of_channels_is_read_at_its_full_size(tmp_path):
    writer = Writer()
    for index, plane in enumerate(PLANES):
        writer.add(plane, {} if index else {270: ome()}, children=[np.ascontiguousarray(plane[::2, ::2])])
    assert (read_slide(writer.save(tmp_path / "a.ome.tif")) == RGB).all()


def test_a_mask_page_is_no_channel(tmp_path):
    path = Writer().add(RGB).add(OTHER, {254: 4}).save(tmp_path / "a.tif")
    assert (read_slide(path) == RGB).all()


def named(*names):
    channels = "".join(f'<Channel ID="Channel:0:{number}" Name="{name}"/>' for number, name in enumerate(names))
    return ome().replace('<Channel ID="Channel:0:0" SamplesPerPixel="1"/>', channels)


@pytest.mark.parametrize(
    "names",
    [
        ("Red", "Green", "Blue"),
        ("R", "G", "B"),
        ("", "", ""),
        ("C1", "C2", "C3"),
        ("Channel:0:0",) * 3,
        ("0", "1", "2"),
    ],
)
def test_channels_that_may_be_colours_are_read_as_such(tmp_path, names):
    assert (read_slide(save_pages(tmp_path / "a.tif", list(PLANES), named(*names))) == RGB).all()


@pytest.mark.parametrize(
    ("pages", "description", "says"),
    [
        ([OTHER] * 5, "", "5 pages of 40 x 24 pixels with 1 band each"),
        ([OTHER] * 2, "", "2 pages"),
        ([RGB] * 2, "", "2 pages of 40 x 24 pixels with 3 bands each"),
        ([SMALL, RGB], "", "a page (2) larger than the first"),
        ([OTHER] * 4, ome(channels=4), "4 channels"),
        ([OTHER] * 7, ome(channels=7), "7 channels"),
        ([RGB] * 3, ome(channels=9, samples=3), "9 channels on pages of 3 bands"),
        ([OTHER], ome(), "fewer pages than its OME-XML says"),
        ([*PLANES[:2], PLANES[2][:9]], ome(), "channels of different sizes"),
        ([OTHER] * 4, "ImageJ=1\nimages=4\nchannels=4\n", "an ImageJ stack of 4 channels"),
        ([OTHER] * 3, "ImageJ=1\nimages=3\nslices=3\n", "an ImageJ stack of 3 slices"),
        ([RGB] * 3, "ImageJ=1\nimages=3\nslices=3\n", "an ImageJ stack of 3 slices"),
        ([OTHER] * 3, named("DAPI", "CD3", "CD8"), "the channels DAPI, CD3, CD8, which are no colours"),
        ([OTHER] * 3, named("Red", "Blue", "Green"), "the channels Red, Blue, Green, which are no colours"),
        ([OTHER], "ImageJ=1\nimages=3\nchannels=3\n", "3 planes behind one page"),
        ([OTHER], '{"shape": [3, 24, 40]}', "3 planes behind 1 page"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path, pages, description, says):
    found = slide_refusal(save_pages(tmp_path / "a.tif", pages, description))
    assert says in found
    assert "Export the image as RGB" in found


def test_planes_in_other_files_are_not_taken_from_this_one(tmp_path):
    data = "".join(
        f'<TiffData FirstC="{channel}" IFD="0"><UUID FileName="{channel}.tif">urn:uuid:{channel}</UUID></TiffData>'
        for channel in range(3)
    )
    path = save_pages(tmp_path / "a.ome.tif", PLANES, ome(data=data, root=' UUID="urn:uuid:0"'))
    assert "only some planes of an OME-TIFF of several files" in slide_refusal(path)


def test_an_ome_with_several_images_of_one_size_is_refused(tmp_path):
    twice = ome(samples=3).replace("</OME>", ome(samples=3).partition(">")[2].partition(">")[2])
    assert "2 images" in slide_refusal(save_pages(tmp_path / "a.ome.tif", [RGB, RGB], twice))


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        "<!doctype x>",
    ],
)
def test_ome_xml_with_entities_is_refused_before_it_is_parsed(tmp_path, declaration, monkeypatch):
    monkeypatch.setattr("xml.etree.ElementTree.fromstring", lambda _: pytest.fail("parsed"))
    text = ome(samples=3).replace("<OME", declaration + "<OME")
    assert "document type" in slide_refusal(save_pages(tmp_path / "a.ome.tif", [RGB], text))


@pytest.mark.parametrize(
    ("old", "new"),
    [("</OME>", ""), ('SizeC="3"', 'SizeC="three"'), ("XYCZT", "CXY"), ("Pixels", "Pickels")],
)
def test_damaged_ome_xml_is_refused(tmp_path, old, new):
    text = ome(samples=3).replace(old, new)
    assert "its OME-XML cannot be read" in slide_refusal(save_pages(tmp_path / "a.ome.tif", [RGB], text))


@pytest.mark.parametrize(
    ("attributes", "mpp"),
    [
        (' PhysicalSizeX="0.25"', 0.25),
        (' PhysicalSizeX="0.25" PhysicalSizeXUnit="µm"', 0.25),
        (' PhysicalSizeX="0.25" PhysicalSizeXUnit="\u03bcm"', 0.25),
        (' PhysicalSizeX="250" PhysicalSizeXUnit="nm"', 0.25),
        (' PhysicalSizeX="0.00025" PhysicalSizeXUnit="mm"', 0.25),
        (' PhysicalSizeX="1" PhysicalSizeXUnit="pixel"', None),
        (' PhysicalSizeX="0"', None),
        (' PhysicalSizeX="nan"', None),
        ("", None),
    ],
)
def test_the_pixel_size_of_an_ome_tiff_is_that_of_its_xml(tmp_path, attributes, mpp):
    path = save_pages(tmp_path / "a.ome.tif", [RGB], ome(samples=3, pixels=attributes))
    with open_slide(path) as slide:
        assert slide.frame.mpp == (pytest.approx(mpp) if mpp else None)


@pytest.mark.parametrize(
    ("unit", "pixels", "mpp"),
    [("micron", (4, 1), 0.25), ("\\u00B5m", (4, 1), 0.25), ("um", (4, 1), 0.25), ("mm", (4000, 1), 0.25),
     ("nm", (4, 1000), 0.25), ("pixel", (4, 1), None), ("", (4, 1), None), ("micron", (4, 0), None)],
)  # fmt: skip
def test_the_pixel_size_of_an_imagej_tiff_is_its_resolution_in_its_unit(tmp_path, unit, pixels, mpp):
    tags = {270: f"ImageJ=1.53\nunit={unit}\n", 282: pixels, 296: 1}
    with open_slide(Writer().add(RGB, tags).save(tmp_path / "a.tif")) as slide:
        assert slide.frame.mpp == (pytest.approx(mpp) if mpp else None)


def test_descriptions_in_other_alphabets_do_no_harm(tmp_path):
    path = tmp_path / "a.tif"
    Writer().add(RGB, {270: "micron XX"}).save(path)
    path.write_bytes(path.read_bytes().replace(b"XX", b"\xb5m"))
    assert (read_slide(path) == RGB).all()


@pytest.mark.parametrize("tag", [254, 262])
def test_a_tag_without_a_value_is_none(tmp_path, tag):
    assert (read_slide(Writer().add(RGB, {tag: []}).save(tmp_path / "a.tif")) == RGB).all()


def test_pages_that_lead_back_are_refused(tmp_path):
    writer = Writer().add(OTHER)
    struct.pack_into("<I", writer.out, writer.link, writer.start)
    assert "damaged or cut short" in slide_refusal(writer.save(tmp_path / "a.tif"))


def test_a_page_where_no_file_can_have_one_is_refused(tmp_path):
    writer = Writer(big=True).add(OTHER)
    struct.pack_into("<Q", writer.out, writer.link, 2**63)
    assert "damaged or cut short" in slide_refusal(writer.save(tmp_path / "a.tif"))


def overlapping(pages, tags):
    """Pages that begin 12 bytes (one tag) after another and share their tags, as a page may lie anywhere."""
    tag = struct.pack("<HHIHH", 258, 3, 1, 8, tags)
    out = bytearray(struct.pack("<2sHIH", b"II", 42, 8, tags) + tag * (pages + tags) + bytes(4))
    struct.pack_into("<HHIHHHHIH", out, 10 + 12 * pages, 256, 3, 1, WIDTH, tags, 257, 3, 1, HEIGHT)
    for page in range(pages):
        struct.pack_into("<I", out, 10 + 12 * (page + tags), 8 + 12 * (page + 1) if page < pages - 1 else 0)
    return out


def test_pages_that_overlap_are_refused(tmp_path):
    """2000 of 65,535 tags each fit into 0.8 MB, and would take minutes."""
    path = tmp_path / "a.tif"
    path.write_bytes(overlapping(20, 100))
    assert "damaged or cut short" in slide_refusal(path)


@pytest.mark.parametrize(
    "tags",
    [
        {324: [0] * 1_000_000, 325: [0] * 1_000_000},
        {50838: [12, *[100_000, -100_000] * 10_000], 50839: b"JIJIrevo" + struct.pack("<I", 20_000) + bytes(100_000)},
    ],
    ids=["places of tiles", "metadata of ImageJ that goes back and forth"],
)
def test_what_is_not_asked_for_is_not_read(tmp_path, tags):
    path = Writer().add(RGB, tags).save(tmp_path / "a.tif")
    tracemalloc.start()
    try:
        assert len(Tiff(path).pages) == 1
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_tiles_too_large_for_memory_are_refused(tmp_path):
    writer = Writer().add(RGB, {322: 65520, 323: 65520, 324: 8, 325: 100})
    with pytest.raises(SlideError, match=r"a\.tif"):
        read_slide(writer.save(tmp_path / "a.tif"))


def test_the_size_is_that_of_the_page_that_is_read(tmp_path):
    with open_slide(save_pages(tmp_path / "a.tif", PLANES)) as slide:
        assert slide.size == slide.frame.image == Size(WIDTH, HEIGHT)
