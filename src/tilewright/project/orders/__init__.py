"""Orders: what each step depends on, hence what runs again after a change.

For each rule the graph writes one file for a job (``ORDERS`` says how it is made), and the step reads nothing else of
what a user wrote: neither the config nor the sheet. So the cost of a job does not grow with the sheet, and a mistake
in one row stops the jobs of its slide alone.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache

from tilewright.project.orders.base import Order, StepRow, read_order, settings_digest, write_named, write_order
from tilewright.project.orders.bundles import PackMember, PackOrder, PackRow, seen_shards
from tilewright.project.orders.data import (
    DownscaleOrder,
    DownscaleRow,
    RasterizeOrder,
    RasterizeRow,
    SplitOrder,
    SplitRow,
    TileOrder,
    TileRow,
    split_rows,
)
from tilewright.project.orders.reporting import ReportBundle, ReportEnsemble, ReportModel, ReportOrder, ReportRow
from tilewright.project.orders.results import (
    AdoptOrder,
    AdoptRow,
    AuditOrder,
    BundledModel,
    CalibrateOrder,
    CalibrateRow,
    EncodeOrder,
    EncodeRow,
    EnsembleOrder,
    EvaluateOrder,
    EvaluateRow,
    MeasureOrder,
    MeasureRow,
    PredictOrder,
    SeamsOrder,
    SegmentOrder,
    SegmentRow,
    WeighOrder,
    saved_file,
)
from tilewright.project.orders.training import Labeller, PseudoOrder, TrainOrder, pseudo_labelled
from tilewright.project.project import Project
from tilewright.runtime.errors import Problem, UserError, did_you_mean, raise_all

ORDERS: Mapping[str, Callable[..., Order]] = {
    "rasterize": RasterizeOrder.of,
    "downscale": DownscaleOrder.of,
    "downscale_in_one_pass": DownscaleOrder.of_one_pass,
    "tile": TileOrder.of,
    "split": SplitOrder.of,
    "pseudo": PseudoOrder.of,
    "train": TrainOrder.of,
    "refit": TrainOrder.of_final,
    "predict": PredictOrder.of,
    "adopt": AdoptOrder.of,
    "seams": SeamsOrder.of,
    "weigh": WeighOrder.of,
    "ensemble": EnsembleOrder.of,
    "calibrate": CalibrateOrder.of,
    "segment": SegmentOrder.of,
    "encode": EncodeOrder.of,
    "measure": MeasureOrder.of,
    "evaluate": EvaluateOrder.of,
    "audit": AuditOrder.of,
    "pack": PackOrder.of,
    "report": ReportOrder.of,
}
"""How the order of each rule is made: of a project and the wildcards that the function names."""


@cache
def wildcards_of(rule: str) -> tuple[str, ...]:
    """The wildcards that the order of a rule depends on."""
    return tuple(name for name in inspect.signature(ORDERS[rule]).parameters if name != "project")


def make_order(project: Project, rule: str, **wildcards: str) -> Order:
    """The order of a job, as the rules hand it to the step.

    Args:
        project: config, sheet and folds.
        rule: its name.
        wildcards: those of the rule's outputs that its order depends on, such as the shard.

    Raises:
        UserError: there is no such rule, or no such shard, model and so on.

    Examples:
        >>> from tilewright import read_project
        >>> project = read_project("config/config.yaml")
        >>> order = make_order(project, "predict", model="unet", shard="test")
        >>> order.slides, order.inference.window
        (['nest_middle', 'stroma'], 256)
    """
    if rule not in ORDERS:
        raise UserError(Problem("order", f'there is no rule "{rule}".', did_you_mean(rule, ORDERS)))
    wanted = wildcards_of(rule)
    if wildcards.keys() != set(wanted):
        what = f"{rule} needs {', '.join(wanted) or 'no wildcard'}; given: {', '.join(wildcards) or 'none'}."
        raise UserError(Problem("order", what, "Give each of them, and no others."))
    unknown = [(name, value) for name, value in wildcards.items() if value not in project.known(name)]
    problems = [
        Problem("order", f'there is no {name} "{value}".', did_you_mean(value, project.known(name)))
        for name, value in unknown
    ]
    raise_all(UserError, problems)
    return ORDERS[rule](project, **wildcards)


__all__ = [
    "ORDERS",
    "AdoptOrder",
    "AdoptRow",
    "AuditOrder",
    "BundledModel",
    "CalibrateOrder",
    "CalibrateRow",
    "DownscaleOrder",
    "DownscaleRow",
    "EncodeOrder",
    "EncodeRow",
    "EnsembleOrder",
    "EvaluateOrder",
    "EvaluateRow",
    "Labeller",
    "MeasureOrder",
    "MeasureRow",
    "Order",
    "PackMember",
    "PackOrder",
    "PackRow",
    "PredictOrder",
    "PseudoOrder",
    "RasterizeOrder",
    "RasterizeRow",
    "ReportBundle",
    "ReportEnsemble",
    "ReportModel",
    "ReportOrder",
    "ReportRow",
    "SeamsOrder",
    "SegmentOrder",
    "SegmentRow",
    "SplitOrder",
    "SplitRow",
    "StepRow",
    "TileOrder",
    "TileRow",
    "TrainOrder",
    "WeighOrder",
    "make_order",
    "pseudo_labelled",
    "read_order",
    "saved_file",
    "seen_shards",
    "settings_digest",
    "split_rows",
    "wildcards_of",
    "write_named",
    "write_order",
]  # fmt: skip
