"""Thresholds fitted on out-of-fold slides.

For each slide and class the probabilities of positive and of negative pixels are counted in 256 bins. From the counts the
Dice at every threshold follows exactly, without reading the maps again.
"""

import json
from pathlib import Path

import numpy as np

from tilewright.histograms import BINS, Histogram, best_bin, bin_threshold, dice_curve
from tilewright.rasters import blocks, open_raster
from tilewright.runtime.atomic import write_text
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import track
from tilewright.settings import CalibrateSettings
from tilewright.sheet import Row, read_sheet

WINDOW = 2048


def calibrate(
    *, sheet: Path, data: Path, probabilities: Path, scaled: Path, settings: CalibrateSettings, out: Path
) -> None:
    """Choose a threshold for each class on the training slides, each predicted by the fold that did not see it.

    Args:
        sheet: the slide sheet.
        data: folder in which images are looked for first.
        probabilities: folder of the ensemble, ``{shard}/{slide}.tif``.
        scaled: folder of the ensemble's scale, ``{shard}/{slide}.mask.tif``.
        settings: classes, aim, fixed values.
        out: the JSON to write: thresholds, min_area, dice (of the fitted thresholds: optimistic), weights, slides.

    Raises:
        DataError: no training slide is labelled for a class.
    """
    rows = [row for row in read_sheet(sheet, [data, sheet.parent, Path()], None) if row.role == "train"]
    found: dict[str, list[Histogram]] = {name: [] for name in settings.classes}
    for row in track(rows, "calibrate"):
        place = probabilities / row.shard / f"{row.slide}.tif", scaled / row.shard / f"{row.slide}.mask.tif"
        for name, histogram in slide_histograms(row, *place, settings.classes).items():
            found[name].append(histogram)
    if missing := [name for name, histograms in found.items() if not histograms]:
        what = f"no training slide is labelled for {', '.join(missing)}."
        raise DataError(Problem(str(sheet), what, "Correct the column labelled, or fix the threshold in the config."))
    curves = {name: dice_curve(histograms, settings.calibration.aim) for name, histograms in found.items()}
    bins = {name: best_bin(curve) for name, curve in curves.items()}
    fixed = settings.calibration.threshold
    content = {
        "format": 1,
        "weights": settings.weights,
        "thresholds": {name: bin_threshold(best) if fixed is None else fixed for name, best in bins.items()},
        "min_area": dict.fromkeys(settings.classes, settings.calibration.min_area),
        "dice": {name: round(float(curve[bins[name]]), 6) for name, curve in curves.items()},
        "slides": [row.slide for row in rows],
    }
    write_text(out, json.dumps(content, indent=2) + "\n")


def slide_histograms(row: Row, probability: Path, mask: Path, classes: list[str]) -> dict[str, Histogram]:
    """Count the probabilities of a slide, for the classes that are labelled in it; ignored pixels do not count."""
    counts = {name: np.zeros((2, BINS), np.int64) for name in classes if row.labelled is None or name in row.labelled}
    with open_raster(probability) as values, open_raster(mask) as bits:
        for window in blocks(values.size, WINDOW):
            pixels, truth = values.read(window), bits.read(window)[0]
            valid = ((truth >> len(classes)) & 1) == 0
            for name, count in counts.items():
                bit = classes.index(name)
                both = pixels[bit][valid].astype(np.int64) + BINS * ((truth[valid] >> bit) & 1).astype(np.int64)
                count += np.bincount(both, minlength=2 * BINS).reshape(2, BINS)
    return {name: Histogram(positive=count[1], negative=count[0]) for name, count in counts.items()}
