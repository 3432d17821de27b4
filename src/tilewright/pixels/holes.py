"""Small holes of a mask filled while its strips pass from top to bottom."""

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.components import ComponentTracker
from tilewright.pixels.runs import Ints, Runs, difference, union
from tilewright.pixels.strips import Strip
from tilewright.pixels.thresholds import SCORES, Scored


class HoleFiller:
    """Fills the holes of a mask that have at most ``largest`` pixels; what touches the border of the mask is no hole.

    A hole is a connected part of the background, by edges, as the mask is connected by edges and corners. Rows are held
    back while they may be part of a hole that is not yet closed: at most ``largest`` rows. Of the background that is no
    hole only the last row is kept.
    """

    def __init__(self, height: int, width: int, largest: int) -> None:
        """Prepare a mask.

        Args:
            height: its rows.
            width: its columns.
            largest: pixels of the largest hole that is filled; 0: none is.
        """
        self._largest, self._written = largest, 0
        self._background = ComponentTracker(height, width, values=np.int64, connectivity=4)
        self._waiting = Scored(Strip(0, 0, Runs.empty(height, width)), np.empty(0, SCORES))

    def push(self, scored: Scored) -> Scored:
        """Add the next strip.

        Returns:
            The rows that are settled by now, from where those of the last call ended; there may be none. A filled pixel
            adds nothing to the values of its run.
        """
        if not self._largest:
            return scored
        gaps = _complement(scored.strip)
        closed = self._background.push(scored.strip._replace(runs=gaps), self._sizes(gaps))
        sizes = np.bincount(closed.owner, closed.values)
        holes = closed.runs.take((sizes <= self._largest)[closed.owner])
        unsettled = self._background.forget_upper_rows(self._largest + 1)
        return self._settle(scored, holes, scored.strip.bottom if unsettled < 0 else unsettled)

    def _sizes(self, gaps: Runs) -> Ints:
        """Pixels of each run, so many that it cannot be a hole where it touches the border."""
        outer = (gaps.start == 0) | (gaps.stop == gaps.width) | (gaps.row == 0) | (gaps.row == gaps.height - 1)
        return gaps.lengths() + np.where(outer, self._largest + 1, 0)

    def _settle(self, scored: Scored, holes: Runs, bottom: int) -> Scored:
        """Take up a strip and holes; give out the rows above ``bottom``."""
        height, width = holes.height, holes.width
        runs = Runs.concatenate([(0, self._waiting.strip.runs), (0, scored.strip.runs)], height, width)
        values = np.concatenate([self._waiting.values, scored.values])
        if len(holes):
            runs, values = _joined(runs, values, holes)
        count = int(np.searchsorted(runs.row, bottom))
        top = self._waiting.strip.top
        rest = Strip(bottom, scored.strip.bottom, runs.take(slice(count, None)))
        self._waiting = Scored(rest, values[count:])
        return Scored(Strip(top, bottom, runs.take(slice(0, count))), values[:count])


def _complement(strip: Strip) -> Runs:
    rows: Ints = np.arange(strip.top, strip.bottom)
    everything = Runs(
        rows, np.zeros_like(rows), np.full_like(rows, strip.runs.width), strip.runs.height, strip.runs.width
    )
    return difference(everything, strip.runs)


def _joined(runs: Runs, values: NDArray[np.void], holes: Runs) -> tuple[Runs, NDArray[np.void]]:
    """The union of runs and holes; a run's values are those of the runs in it."""
    whole = union(runs, holes)
    starts, _ = whole.intervals()
    place = np.searchsorted(starts, runs.intervals()[0], side="right") - 1
    found = np.zeros(len(whole), SCORES)
    np.add.at(found["sum"], place, values["sum"])
    np.maximum.at(found["largest"], place, values["largest"])
    np.add.at(found["count"], place, values["count"])
    return whole, found
