"""Weights of the members of an ensemble, fitted on out-of-fold slides.

The weights are at least 0, sum to 1, and minimise the mean squared error of the blend (its Brier score). That needs
no more than the sums of products of the members' probabilities with each other and with the truth, which are taken in
one pass.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from tilewright.inference.ensemble import read_probabilities
from tilewright.pixels.grid import blocks
from tilewright.pixels.rasters import open_raster
from tilewright.project.orders import WeighOrder
from tilewright.project.places import probability_file, scaled_mask_file
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import track
from tilewright.tiles.split import require_folds

EDGE = 1024
Floats = NDArray[np.float64]


def weigh(order: WeighOrder, *, folds: Path, probabilities: Path, scaled: Path, out: Path) -> None:
    """Fit the weight of each model of an ensemble on the training slides.

    Each slide is predicted by the fold that did not see it.

    Classes count alike: the error of each is divided by the number of its pixels.

    Args:
        order: the slides and their folds; models, the first one at the ensemble's scale; classes.
        folds: ``folds.csv``.
        probabilities: folder of all models, ``{model}/{shard}/{slide}.tif``.
        scaled: folder of the ensemble's scale, ``{shard}/{slide}.mask.tif``.
        out: the JSON to write: weights by model, and for each model its own error, the error of the best blend
            without it, and the errors of the blend, fitted (on the same slides, hence optimistic) and nested.

    Raises:
        DataError: no training slide is labelled, or the folds are not those of sheet and config.
    """
    require_folds(folds, order.folds)
    fold_of = {one.shard: one.fold for one in order.folds}
    sums: dict[int | None, Sums] = {}
    for row in track(order.rows, "weigh"):
        fold = fold_of[row.shard]
        maps = [probability_file(probabilities / model / row.shard, row.slide) for model in order.models]
        found = slide_sums(row.labelled, maps, scaled_mask_file(scaled / row.shard, row.slide), order.classes)
        sums[fold] = sums[fold] + found if fold in sums else found
    if not any(part.positive.any() for part in sums.values()):
        what, remedy = "no training slide shows a class.", "Give the weights in the config."
        raise DataError(Problem("the slide sheet", what, remedy))
    write_document(out, table(list(sums.values()), order.models))


@dataclass(frozen=True)
class Sums:
    """What is known of some pixels, by class: enough for the squared error of any blend.

    Attributes:
        products: sums of the products of members' probabilities, float64[classes, members, members].
        hits: sums of each member's probabilities over pixels of the class, float64[classes, members].
        positive: pixels of the class, float64[classes].
    """

    products: Floats
    hits: Floats
    positive: Floats

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.products + other.products, self.hits + other.hits, self.positive + other.positive)

    def take(self, members: Sequence[int]) -> "Sums":
        """Of some members."""
        return Sums(self.products[:, members][:, :, members], self.hits[:, members], self.positive)

    def error(self, weights: Floats) -> float:
        """Squared error of the blend, by class divided by the number of its pixels.

        Mean over the classes that occur.
        """
        squares = np.einsum("i,cij,j->c", weights, self.products, weights) - 2 * self.hits @ weights + self.positive
        occurs = self.positive > 0
        return float((squares[occurs] / self.positive[occurs]).mean())


def slide_sums(labelled: Collection[str], maps: Sequence[Path], mask: Path, classes: Sequence[str]) -> Sums:
    """The sums over the pixels of a slide, for the classes that are labelled in it; ignored pixels do not count.

    Args:
        labelled: the classes that are labelled.
        maps: probabilities of each member; the first is at the scale of the mask.
        mask: the true mask.
        classes: names of the classes.
    """
    count, members = len(classes), len(maps)
    sums = Sums(np.zeros((count, members, members)), np.zeros((count, members)), np.zeros(count))
    known = [place for place, name in enumerate(classes) if name in labelled]
    with ExitStack() as stack:
        rasters = [stack.enter_context(open_raster(path, classes)) for path in maps]
        bits = stack.enter_context(open_raster(mask, classes))
        for window in blocks(rasters[0].size, EDGE):
            truth = bits.read(window)[0]
            valid = ((truth >> count) & 1) == 0
            masks = [read_probabilities(each, rasters[0], window)[:count] for each in rasters]
            values = np.stack(masks) / np.float32(255)
            for place in known:
                own = values[:, place][:, valid].astype(np.float64)
                positive = ((truth[valid] >> place) & 1) == 1
                sums.products[place] += own @ own.T
                sums.hits[place] += own[:, positive].sum(axis=1)
                sums.positive[place] += positive.sum()
    return sums


def best_weights(sums: Sums) -> Floats:
    """The weights, at least 0 and with sum 1, of the least error, float64[members].

    A least-squares problem in the coordinates of the eigenvectors of the products, solved by non-negative least squares
    (Lawson and Hanson 1974), with the sum as a further row of great weight.
    """
    occurs = sums.positive > 0
    products = (sums.products[occurs] / sums.positive[occurs, None, None]).mean(axis=0)
    hits = (sums.hits[occurs] / sums.positive[occurs, None]).mean(axis=0)
    values, vectors = np.linalg.eigh(products)
    kept = values > values.max() * 1e-12
    roots = np.sqrt(values[kept])
    great = 1e4 * roots.max()
    rows = np.vstack([roots[:, None] * vectors[:, kept].T, np.full((1, len(hits)), great)])
    aims = np.append(vectors[:, kept].T @ hits / roots, great)
    weights, _ = scipy.optimize.nnls(rows, aims)
    return np.asarray(weights / weights.sum(), np.float64)


def table(parts: Sequence[Sums], models: Sequence[str]) -> dict[str, Any]:
    """Weights, and what each model adds.

    Args:
        parts: the sums of each fold.
        models: names of the members.
    """
    whole = _total(parts)
    weights = best_weights(whole)
    members: dict[str, Mapping[str, Any]] = {}
    for place, model in enumerate(models):
        others = whole.take([other for other in range(len(models)) if other != place])
        without = others.error(best_weights(others)) if len(models) > 1 else None
        alone = whole.error(np.eye(len(models))[place])
        members[model] = {
            "weight": _rounded(weights[place]),
            "error": _rounded(alone),
            "error_without": _rounded(without),
        }
    nested = None
    if len(parts) > 1:
        fitted = [best_weights(_total([other for other in parts if other is not part])) for part in parts]
        pixels = [part.positive.sum() for part in parts]
        nested = np.average([part.error(one) for part, one in zip(parts, fitted, strict=True)], weights=pixels)
    return {
        "format": 1,
        "weights": {model: member["weight"] for model, member in members.items()},
        "members": members,
        "error": {"fitted": _rounded(whole.error(weights)), "nested": _rounded(nested)},
    }


def _total(parts: Sequence[Sums]) -> Sums:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
