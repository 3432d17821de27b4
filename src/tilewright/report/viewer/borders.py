"""Borders in a part of a slide: of the tiles of a set, of the windows of a model, of the parts that other folds hold.

Which tiles and windows those are, the run has written down; where it has not and its config is gone, there are none.
Boxes are left, top, right and bottom in pixels of the slide.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import grid
from tilewright.project.claim import claimed
from tilewright.project.config import Config, width_and_height
from tilewright.project.configfile import read_config
from tilewright.project.orders import ReportRow
from tilewright.project.places import image_file, probability_file
from tilewright.report.viewer.runs import Run, frame_of
from tilewright.runtime.errors import TilewrightError
from tilewright.tiles.archive import open_archive, reading

MOST = 4000
"""Boxes that are sent at a time."""
Boxes = NDArray[np.float64]


def config_of(run: Run) -> Config | None:
    """What the last run was told; of one that has not written it down what its config says now. None: nothing does."""
    with suppress(ValueError, KeyError):
        return Config.model_validate(claimed(run.places)["config"])
    return config_now(run)


def config_now(run: Run) -> Config | None:
    """The config of the last run, as it is now; None: it is gone, or is no config any more."""
    with suppress(OSError, ValueError, KeyError, IndexError, TilewrightError):
        return read_config(run.root / claimed(run.places)["configs"][0])
    return None


def tile_sets(run: Run, row: ReportRow, config: Config | None) -> list[str]:
    """The tile sets that have an archive of a slide's shard, and a scale at which the slide is there."""
    if config is None:
        return []
    scaled = run.scaled(row)
    return [
        name
        for name, spec in config.tiles.items()
        if spec.scale in scaled and Path(run.places.tiles(name, row.shard)).is_file()
    ]


def tiles_of(run: Run, row: ReportRow, config: Config, name: str) -> Boxes:
    """The tiles of a set that were cut from a slide.

    Raises:
        DataError: the archive is damaged.
    """
    path = Path(run.places.tiles(name, row.shard))
    with open_archive(path) as archive, reading(path):
        own = archive["slide"].asstr()[:] == row.slide
        corners = np.stack([archive["x"][:][own], archive["y"][:][own]], axis=1).astype(np.float64)
        height, width = archive["images"].shape[1:3]
    factor = frame_of(image_file(run.scaled(row)[config.tiles[name].scale], row.slide)).factor
    return np.hstack([corners, corners + np.array((width, height))]) * factor


def windowed(run: Run, row: ReportRow, config: Config | None) -> list[str]:
    """The models whose windows on a slide are known."""
    if config is None:
        return []
    return [
        name
        for name in config.models
        if probability_file(Path(run.places.probabilities(name, row.shard)), row.slide).is_file()
    ]


def windows_of(run: Run, row: ReportRow, config: Config, model: str) -> Boxes:
    """The windows in which a model predicts a slide."""
    frame = frame_of(probability_file(Path(run.places.probabilities(model, row.shard)), row.slide))
    inference = config.models[model].inference
    edges = width_and_height(inference.window)
    corners = np.array(grid(frame.size, edges, inference.overlap), np.float64)
    return np.hstack([corners, corners + np.array(edges)]) * frame.factor


def folds_of(run: Run, row: ReportRow) -> list[dict[str, Any]]:
    """The parts of the same image that the sheet names, and the fold of each."""
    here = row.region or (0, 0, 0, 0)
    found = []
    for other in run.rows.values():
        if other.image == row.image and other.region:
            x, y, width, height = other.region
            left, top = x - here[0], y - here[1]
            box = [left, top, left + width, top + height]
            found.append({"slide": other.slide, "role": other.role, "fold": run.folds.get(other.shard), "box": box})
    return found


def inside(boxes: Boxes, box: tuple[float, float, float, float]) -> list[list[float]] | int:
    """Those that meet a box, or how many they are where they are too many."""
    left, top, right, bottom = box
    meets = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
    count = int(meets.sum())
    return count if count > MOST else boxes[meets].tolist()
