"""Lightning's trainer as this project uses it."""

import logging
import warnings
from pathlib import Path

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.loggers import TensorBoardLogger

from tilewright.project.config.base import width_and_height
from tilewright.project.config.training import AUTO, Network
from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.gpu import is_out_of_memory
from tilewright.runtime.progress import note
from tilewright.training.architectures import build_network
from tilewright.training.devices import has_bf16, strategy, with_shared_norms
from tilewright.training.events import ValidationPictures
from tilewright.training.loaders import Tiles, device_number, loaders, tile_edge
from tilewright.training.memory import Step, chosen_batch, does_not_fit, trial
from tilewright.training.segmenter import Segmenter
from tilewright.training.start import load_start
from tilewright.training.state import TrainingState, epoch_after
from tilewright.training.task import SegmentationTask
from tilewright.training.tryout import try_batch


def run_training(tiles: Tiles, network: Network, classes: list[str], state: TrainingState, out: Path) -> int:
    """Train from the beginning, or from where an interrupted training stopped.

    Args:
        tiles: what to train and validate on.
        network: the network and how it is trained.
        classes: names of the classes.
        state: keeps the best weights and what a later run needs to go on.
        out: folder for the events of TensorBoard.

    Returns:
        The tiles of a batch.

    Raises:
        UserError: the network cannot be used so, or a step does not fit into memory; says what would.
    """
    resumed = state.checkpoint()
    torch.manual_seed(network.seed)
    segmenter = build_network(network, len(classes), pretrained=resumed is None and network.start is None)
    if resumed is None and network.start is not None:
        said = load_start(segmenter, network)
        if device_number() == 0:
            note("\n".join(said))
    edge = tile_edge(tiles.archives)
    crop, device = network.crop or edge, torch.device("cuda", device_number())
    try_batch(network, len(classes), *width_and_height(crop))
    fits = trial(segmenter, network, classes, edge, device) if torch.cuda.is_available() else None
    if network.batch_size == AUTO:
        size = state.batch_size(lambda: chosen_batch(network, crop, fits))
        network = network.model_copy(update={"batch_size": size})
    shared = "auto"
    if network.devices > 1:
        shared = strategy(segmenter, crop)
        segmenter = with_shared_norms(segmenter) if torch.cuda.is_available() else segmenter
    if not _fit(segmenter, tiles, network, classes, state, out, shared, resumed):
        step = Step(network.batch_size // network.devices, crop, network.precision)
        raise UserError(does_not_fit(network, step, fits if network.devices == 1 else None))
    return network.batch_size


def _fit(
    segmenter: Segmenter,
    tiles: Tiles,
    network: Network,
    classes: list[str],
    state: TrainingState,
    out: Path,
    shared: str,
    resumed: Path | None,
) -> bool:
    """Train; False: a step did not fit into memory, which is free again."""
    if torch.cuda.is_available():
        # TF32 for what mixed precision leaves in 32 bits; who asks for 32 gets them
        torch.set_float32_matmul_precision("highest" if network.precision == "32" else "high")
        torch.backends.cudnn.allow_tf32 = network.precision != "32"
    if network.compile:
        segmenter.network.compile()
    training, validation = loaders(tiles, network, classes, epoch_after(resumed) if resumed else 0)
    steps = -(-len(training) // network.accumulate) * network.epochs
    task = SegmentationTask(segmenter, network, classes, steps)
    if device_number() == 0:
        if resumed is None:
            for path in (out / "events").glob("*tfevents*"):
                path.unlink()
        else:
            note("going on from the state of an interrupted training")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning|torch")
        try:
            _trainer(network, state, len(training), out, shared).fit(
                task, training, None if state.course else validation, ckpt_path=resumed, weights_only=True
            )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
    return True


def _trainer(network: Network, state: TrainingState, batches: int, out: Path, shared: str) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=state.course.epochs if state.course else network.epochs,
        accelerator="auto",
        devices=network.devices,
        strategy=shared,
        use_distributed_sampler=False,
        precision=precision(network.precision),  # type: ignore[arg-type]
        benchmark=torch.cuda.is_available() or None,  # tries the ways of a convolution, as all batches have one size
        accumulate_grad_batches=network.accumulate,
        gradient_clip_val=network.clip,
        check_val_every_n_epoch=network.validate_every,
        callbacks=[ValidationPictures(), state],
        logger=TensorBoardLogger(out, name="events", version=""),
        plugins=[LightningEnvironment()],  # under SLURM, Snakemake requeues jobs; Lightning must not
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=max(1, batches),
    )


def precision(name: str) -> str:
    """Lightning's name of an arithmetic of the config.

    Raises:
        UserError: 16-bit floating point without a GPU.
    """
    if name == "16" and not torch.cuda.is_available():
        raise UserError(Problem("config, models", "precision 16 needs a GPU.", "Use auto, bf16 or 32."))
    if name == "auto":
        half = "bf16-mixed" if has_bf16() else "16-mixed"
        return half if torch.cuda.is_available() else "32-true"
    return {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}[name]
