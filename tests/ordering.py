"""Orders of the slides of a sheet, for tests that call steps."""

from typing import get_args

from tilewright.project.orders import StepRow
from tilewright.project.sheetfile import read_sheet


def order_of(kind, sheet, shard="", classes=(), roles=(), **settings):
    """An order of a step as the graph would write it.

    Args:
        kind: the class of the order.
        sheet: the slide sheet; files are looked for beside it.
        shard: whose slides are told; all of the sheet where none is named.
        classes: names of the classes, if the sheet's column labelled is asked for.
        roles: of the slides that are told; all where none is named.
        settings: the other parts of the order.
    """
    rows = read_sheet(sheet, [sheet.parent], classes or None).rows
    rows = [row for row in rows if shard in ("", row.shard) and (not roles or row.role in roles)]
    if "slides" in kind.model_fields and "rows" not in kind.model_fields:
        return kind(slides=[row.slide for row in rows], **settings)
    (told,) = get_args(kind.model_fields["rows"].annotation)
    assert issubclass(told, StepRow)
    return kind(rows=[told.of(row) for row in rows], **({"classes": classes} if classes else {}), **settings)
