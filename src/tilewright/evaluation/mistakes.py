"""What is wrong with objects, and where: merged, cut, missed and false ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.instances import Instances, Matches, Pairs
from tilewright.pixels.runs import Ints

KINDS = ("merged", "cut", "missed", "false")
HALF = 0.5
"""Share of an object that lies in another where it belongs to it."""
CRUMB = 0.1
"""Share of a true object that a part of it has at least."""
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of a slide and class.

    Attributes:
        kind: place in ``KINDS``, int64[n].
        box: left, top, right and bottom of the objects that each is made of, in pixels of the slide, int64[n, 4].
    """

    kind: Ints
    box: Ints

    @classmethod
    def of(cls, pairs: Pairs, matches: Matches, truth: Instances, predicted: Instances, width: int) -> "Mistakes":
        """Find the mistakes.

        A predicted object is merged where half or more of each of several true ones lies in it. A true object is cut
        where several predicted ones lie in it by half or more, of which each has a tenth of it. Objects without a
        partner are missed or false where less than half of them is covered by the other side.

        Args:
            pairs: objects that overlap.
            matches: which of them are the same.
            truth: true objects.
            predicted: predicted objects.
            width: columns of the mask.
        """
        swallowed = pairs.common >= HALF * pairs.truth_area[pairs.truth]
        parts = (pairs.common >= HALF * pairs.predicted_area[pairs.predicted]) & (
            pairs.common >= CRUMB * pairs.truth_area[pairs.truth]
        )
        alone = np.ones(truth.count, np.bool_)
        alone[matches.partner[matches.partner >= 0]] = False
        missed = alone & pairs.truth_counts & _bare(pairs.truth, pairs.common, pairs.truth_area)
        false = (matches.partner < 0) & pairs.predicted_counts
        false &= _bare(pairs.predicted, pairs.common, pairs.predicted_area)
        boxes = _boxes(truth, width), _boxes(predicted, width)
        found = [
            _joined(pairs.predicted, pairs.truth, swallowed, boxes[1], boxes[0]),
            _joined(pairs.truth, pairs.predicted, parts, boxes[0], boxes[1]),
            boxes[0][missed],
            boxes[1][false],
        ]
        return cls(np.repeat(np.arange(len(KINDS)), [len(box) for box in found]), np.concatenate(found))


def _bare(owner: Ints, common: Ints, area: Ints) -> Bools:
    """The objects of which less than half is covered."""
    covered = np.bincount(owner, common, minlength=len(area))
    bare: Bools = covered < HALF * area
    return bare


def _boxes(objects: Instances, width: int) -> Ints:
    """Left, top, right and bottom of each object, int64[count, 4]; of one without a pixel, nothing that is used."""
    row, start = np.divmod(objects.starts, width + 1)
    stop = start + objects.stops - objects.starts
    boxes = np.tile(np.array([np.iinfo(np.int64).max] * 2 + [0, 0]), (objects.count, 1))
    np.minimum.at(boxes[:, :2], objects.owner, np.stack([start, row], axis=1))
    np.maximum.at(boxes[:, 2:], objects.owner, np.stack([stop, row + 1], axis=1))
    return boxes


def _joined(whole: Ints, part: Ints, chosen: Bools, boxes: Ints, part_boxes: Ints) -> Ints:
    """The boxes of the objects that several chosen parts belong to, together with those of the parts."""
    whole, part = whole[chosen], part[chosen]
    several = np.bincount(whole, minlength=len(boxes)) > 1
    own = several[whole]
    boxes = boxes.copy()
    np.minimum.at(boxes[:, :2], whole[own], part_boxes[part[own], :2])
    np.maximum.at(boxes[:, 2:], whole[own], part_boxes[part[own], 2:])
    return boxes[several]
