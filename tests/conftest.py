"""A tiny project: a few synthetic slides with QuPath outlines, a sheet, and networks that train in a second."""

import csv
import json
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from filelock import FileLock
from hypothesis import settings
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import geometry_mask
from running import Graph, new_graph
from shapely import Point, box
from shapely.geometry import mapping

PINK = (235, 205, 225)
COLORS = {"gland": (90, 40, 120), "vessel": (200, 60, 60)}
COLUMNS = ("slide", "image", "annotations", "role", "group", "shard", "source", "labelled")
# slide, suffix of the image, width, height, role, group, shard, source, labelled
SLIDES = (
    ("a1", "png", 128, 96, "train", "a", "a", "one", ""),
    ("a2", "tif", 96, 128, "train", "a", "a", "one", "gland"),
    ("b1", "png", 160, 128, "train", "b", "b", "two", ""),
    ("b2", "png", 112, 112, "train", "b", "b", "two", ""),
    ("x1", "png", 96, 96, "external", "x", "x1", "two", ""),
    ("t1", "tif", 144, 112, "test", "t", "t", "one", ""),
    ("t2", "png", 112, 144, "test", "t", "t", "two", ""),
)
UNLABELLED = "t2"
NETWORK = {
    "architecture": "Unet",
    "encoder": "tu-test_resnet.r160_in1k",
    "encoder_weights": "random",
    "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    "augmentation": "flips",
    "epochs": 1,
    "learning_rate": 0.01,
    "batch_size": 4,
}
CONFIG = {
    "sheet": "slides/slides.csv",
    "classes": {"gland": {"color": "#112233"}, "vessel": {}},
    "scales": {"full": {"factor": 1}, "half": {"factor": 2}},
    "tiles": {"fine": {"scale": "full", "size": 64, "overlap": 0.5}, "coarse": {"scale": "half", "size": 64}},
    "folds": {"count": 2},
    "models": {
        "near": {**NETWORK, "tiles": "fine", "inference": {"window": 64, "overlap": 0.5, "tta": "flips"}},
        "far": {**NETWORK, "tiles": "coarse", "inference": {"window": 64}},
    },
    "ensembles": {"both": {"models": {"near": 2, "far": 1}}},
    "report": {"overlays": 2, "max_edge": 200},
}


@dataclass(frozen=True)
class Project:
    """A folder that the graph runs in."""

    folder: Path

    @property
    def config_file(self):
        return self.folder / "config.yaml"

    @property
    def sheet(self):
        return self.folder / "slides" / "slides.csv"

    def config(self):
        return yaml.safe_load(self.config_file.read_text())

    def write_config(self, config):
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=False))

    def write_sheet(self, rows):
        with self.sheet.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    def rows(self):
        with self.sheet.open(newline="") as stream:
            return list(csv.DictReader(stream))

    def add_slide(self, name, suffix, width, height, role, group, shard, source, labelled):
        """Draw a slide and its outlines, and return its row."""
        shapes = blobs(name, width, height)
        write_image(self.sheet.parent / f"{name}.{suffix}", stained(width, height, shapes, name))
        outlines = "" if name == UNLABELLED else f"{name}.geojson"
        if outlines:
            write_outlines(self.sheet.parent / outlines, shapes)
        values = (name, f"{name}.{suffix}", outlines, role, group, shard, source, labelled)
        return dict(zip(COLUMNS, values, strict=True))


def blobs(name, width, height):
    """Outlines with their class: disks are glands, boxes are vessels."""
    draw = np.random.default_rng(list(name.encode()))
    shapes = []
    for x in range(24, width - 16, 40):
        for y in range(24, height - 16, 40):
            dx, dy = draw.integers(-6, 7, 2)
            if (x + y) // 40 % 2:
                shapes.append(("vessel", box(x + dx - 8, y + dy - 11, x + dx + 8, y + dy + 11)))
            else:
                shapes.append(("gland", Point(x + dx, y + dy).buffer(float(draw.integers(8, 14)))))
    return shapes


def stained(width, height, shapes, name):
    """A pink image with the blobs in the colours of their classes and a little noise."""
    image = np.full((height, width, 3), PINK, np.float64)
    for label, shape in shapes:
        outside = geometry_mask([shape], (height, width), rasterio.Affine.identity())
        image[~outside] = COLORS[label]
    image += np.random.default_rng(list(name.encode())).normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_image(path, pixels, **options):
    """Write rows x columns x bands as PNG or TIFF."""
    driver = {".png": "PNG", ".tif": "GTiff", ".jpg": "JPEG"}[path.suffix]
    height, width, bands = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver=driver, width=width, height=height, count=bands, dtype=pixels.dtype, **options
        ) as file:
            file.write(np.moveaxis(pixels, -1, 0))


def write_outlines(path, shapes):
    """Write outlines as QuPath exports them."""
    features = [
        {"type": "Feature", "geometry": mapping(shape), "properties": {"classification": {"name": label}}}
        for label, shape in shapes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def make_project(folder):
    """Write the tiny project into a folder."""
    project = Project(folder)
    project.sheet.parent.mkdir(parents=True)
    project.write_sheet([project.add_slide(*slide) for slide in SLIDES])
    project.write_config(CONFIG)
    return project


# how long a case takes says more about the machine than about the code
settings.register_profile("tilewright", deadline=None)
settings.load_profile("tilewright")


APART = {
    "faults": "does the faults of tests/README.md; make test-faults",
    "long": "takes minutes; make test-long",
    "slurm": "starts a SLURM cluster; make test-slurm",
    "gpu": "needs a GPU; make test-gpu",
    "browser": "looks at pages in Chromium; make test-browser",
}
"""Markers of tests that run only where they are asked for, and what is said where they are not."""


def pytest_collection_modifyitems(config, items):
    """Files of fast tests first, so that a plain mistake shows at once, then those that take longest.

    Processes take files in this order, each as a whole: what it has set up serves all tests of a file. The cluster,
    which mostly waits, goes beside the faults.
    """
    slow_files = {item.path for item in items if has(item, "slow")}
    graph_files = {item.path for item in items if "finished" in item.fixturenames}

    def place(item):
        return item.path in slow_files, has(item, "faults"), item.path not in graph_files, has(item, "slow")

    items.sort(key=place)
    for item in items:
        for name, why in APART.items():
            if has(item, name) and name not in config.option.markexpr:
                item.add_marker(pytest.mark.skip(reason=why))


def has(item, marker):
    """Whether a test or its file has a marker."""
    return item.get_closest_marker(marker) is not None


@pytest.fixture(scope="session")
def new_project():
    """Writes the tiny project into a folder."""
    return make_project


@pytest.fixture(scope="session")
def save_image():
    """Writes an array (rows x columns x bands) as PNG, TIFF or JPEG."""
    return write_image


@pytest.fixture
def project(tmp_path):
    """The tiny project in a folder of its own."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run of the whole graph, one for all workers. Tests that change something work on a copy."""
    mine = tmp_path_factory.getbasetemp()
    folder = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "finished"
    ran = folder / "ran"
    with FileLock(f"{folder}.lock"):
        if not ran.exists():
            shutil.rmtree(folder, ignore_errors=True)
            new_graph(folder, make_project(folder / "project")).run()
            ran.touch()
    return Graph(folder, Project(folder / "project"))


@pytest.fixture
def graph(finished, tmp_path):
    """A copy of the run."""
    return finished.copied(tmp_path / "copy")
