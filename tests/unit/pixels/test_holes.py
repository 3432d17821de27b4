import numpy as np
import pytest
from scipy import ndimage

from tilewright.pixels.holes import HoleFiller
from tilewright.pixels.runs import Runs
from tilewright.pixels.strips import Strip
from tilewright.pixels.thresholds import SCORES, Scored

EDGES = ndimage.generate_binary_structure(2, 1)


def noise(seed, height=90, width=70, share=0.6):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((height, width)), 1.2)
    return smooth < np.quantile(smooth, share)


def filled(mask, largest):
    """The whole mask at once."""
    labels, _ = ndimage.label(~mask, EDGES)
    sizes = np.bincount(labels.ravel())
    outer = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    holes = np.setdiff1d(np.flatnonzero(sizes <= largest), [*outer, 0])
    return mask | np.isin(labels, holes)


def streamed(mask, largest, heights, scores=None):
    """Strips of some heights pushed through a filler; what comes out."""
    filler, top, found = HoleFiller(*mask.shape, largest), 0, []
    scores = np.ones(mask.shape) if scores is None else scores
    while top < len(mask):
        bottom = min(top + next(heights), len(mask))
        part = Runs.from_mask(mask[top:bottom])
        runs = Runs(part.row + top, part.start, part.stop, *mask.shape)
        spans = [scores[row, a:b] for row, a, b in zip(runs.row, runs.start, runs.stop, strict=True)]
        values = np.array([(span.sum(), span.max(), len(span)) for span in spans], SCORES)
        found.append(filler.push(Scored(Strip(top, bottom, runs), values)))
        top = bottom
    return found


@pytest.mark.parametrize("largest", [0, 1, 7, 40, 5000])
@pytest.mark.parametrize("seed", range(4))
def test_strips_of_any_height_give_the_holes_of_the_whole_mask(seed, largest):
    mask = noise(seed)
    generator = np.random.default_rng(seed)
    for heights in (iter(lambda: 1, 0), iter(lambda: int(generator.integers(1, 20)), 0), iter(lambda: 90, 0)):
        found = streamed(mask, largest, heights)
        runs = Runs.concatenate(((0, each.strip.runs) for each in found), *mask.shape)
        assert runs == Runs.from_mask(filled(mask, largest) if largest else mask)
        assert [each.strip.top for each in found[1:]] == [each.strip.bottom for each in found[:-1]]
        assert found[-1].strip.bottom == 90


def test_rows_are_held_back_no_longer_than_a_hole_may_be(monkeypatch):
    mask = noise(0, height=400)
    read, late = 0, 0
    for each in streamed(mask, 12, iter(lambda: 5, 0)):
        read += 5
        late = max(late, read - each.strip.bottom)
    assert 0 < late <= 12


def test_a_filled_pixel_adds_nothing_to_the_values():
    mask, scores = noise(1), np.random.default_rng(0).random((90, 70))
    found = streamed(mask, 40, iter(lambda: 9, 0), scores)
    values = np.concatenate([each.values for each in found])
    spans = [
        (row, slice(a, b))
        for each in found
        for row, a, b in zip(each.strip.runs.row, each.strip.runs.start, each.strip.runs.stop, strict=True)
    ]
    assert values["sum"] == pytest.approx([scores[place][mask[place]].sum() for place in spans])
    assert values["largest"] == pytest.approx([scores[place][mask[place]].max(initial=0) for place in spans])
    assert values["count"].tolist() == [mask[place].sum() for place in spans]


def test_background_that_is_no_hole_is_forgotten():
    filler = HoleFiller(4000, 50, 10)
    for top in range(0, 4000, 10):
        filler.push(Scored(Strip(top, top + 10, Runs.empty(4000, 50)), np.empty(0, SCORES)))
        assert len(filler._background._runs) <= 1
