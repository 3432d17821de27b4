"""Places in the viewer, as pages name them: behind the # of its address, and behind ``--at`` of its command."""

from collections.abc import Sequence
from urllib.parse import urlencode


def place_of(slide: str, ensemble: str, class_name: str = "", box: Sequence[int] = ()) -> str:
    """The place of a slide, or of an object of it.

    Args:
        slide: its name.
        ensemble: whose predictions are shown.
        class_name: the class that is shown; empty: all.
        box: left, top, right and bottom of the object, in pixels of the slide.

    Examples:
        >>> place_of("t1", "both", "gland", (5, 10, 20, 30))
        'slide=t1&set=both&class=gland&box=5,10,20,30'
    """
    parts = {"slide": slide, "set": ensemble, "class": class_name, "box": ",".join(map(str, box))}
    return urlencode({name: value for name, value in parts.items() if value}, safe=",")
