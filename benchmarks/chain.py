"""From prediction to submission on the slide of a project, with a network of one convolution.

Measured functions give generators as ``child.py`` wants them.
"""

import os
from pathlib import Path

import ours

from tilewright.inference.ensemble import ensemble
from tilewright.project.config import Inference
from tilewright.project.orders import EncodeOrder, EnsembleOrder, PredictOrder
from tilewright.runtime.documents import write_document
from tilewright.segments.encode import encode
from tilewright.segments.segment import segment

CHAIN = ("predict", "ensemble", "segment", "encode")


def run_chain(project, step):
    """Run a step from prediction to submission on the slide of a project, with a network that finds what is dark."""
    return ours.stages(_chain(Path(project), step))


def ensure_chain(project, before):
    """Run the steps of the chain before ``before`` whose results are missing."""
    missing = [step for step in CHAIN[: CHAIN.index(before)] if not (Path(project) / "chain" / step).exists()]
    return ours.stages(*(_chain(Path(project), step) for step in missing))


def _chain(project, step):
    """A step as a function without arguments; it writes below ``chain`` in the project."""
    study, chain = ours.study_of(project), project / "chain"
    member = chain / "predict" / "model" / ours.SLIDE
    if step == "predict":
        # only this step loads a network: the memory of the others is theirs
        import prediction
        import torch

        from tilewright.inference import predict as steps

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        steps.load_folds = lambda _: ([prediction.finder_of_dark()], ["nucleus"])
        inference = Inference(window=512, overlap=0.25, batch_size=prediction.BATCH)
        order = PredictOrder(slides=[ours.SLIDE], parts=["fold0"], averaged=["fold0"], inference=inference)
        return lambda: steps.predict(order, models=[project], scaled=project / "downscale", out=member)
    if step == "ensemble":
        order = EnsembleOrder(slides=[ours.SLIDE], members=["model", "other"], weights={"model": 1, "other": 1})
        return lambda: ensemble(order, members=[member, member], weights=project, out=chain / "ensemble")
    if step == "segment":
        limits = project / "calibration.json"
        write_document(limits, {"thresholds": {"nucleus": 0.5}, "min_area": {"nucleus": 20}})
        given = {"probabilities": chain / "ensemble", "calibration": limits}
        order = ours.segment_order(study)
        return lambda: segment(order, **given, out=chain / "segment" / ours.SLIDE)
    return lambda: encode(EncodeOrder.of(study), segments=chain / "segment", out=chain / "encode")
