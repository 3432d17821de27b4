"""What the jobs of networks take of a machine: processor threads, GPUs and memory, by what the config says of them.

Memory is that of the host, in megabytes. With a GPU, what networks compute lies there, and the host holds libraries and
batches on their way. Where an estimate was too low, a job that was killed gets twice as much in its next attempt.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilewright.project.config import Inference, Model, width_and_height
from tilewright.project.project import Project
from tilewright.runtime.cores import loading_workers, training_threads
from tilewright.runtime.gpu import visible_gpus

PROCESS, GPU_PROCESS = 1500, 4000
"""Of a process with PyTorch and a network; with CUDA's libraries, not measured on a GPU yet."""
WORKER = 400
"""Of a process that loads tiles."""
TRAINED, PREDICTED = 7.0, 1.5
"""Kilobytes for each pixel of a batch: U-Nets held 1.9 (resnet34) to 6.4 (efficientnet-b4) in training and 0.4 to 1.3
in prediction, with efficientnet-b7 16 and 0.7."""
NETWORK = 100
"""Of the weights of a network, without those of a file for its encoder."""
KEPT, LEARNT = 3, 3
"""How often a training holds what a file of weights holds: itself, what is read, a checkpoint; without a GPU also the
gradient and two moments of what is trained."""
BANDS = 1200
"""Of rows of pixels and sums, at most, and of what waits to be written."""
LARGE_SHARD = 50_000_000
"""Bytes of images from which on decoding takes longer than starting the step."""
BATCH, WINDOWS = 8, 4
"""Tiles of a batch, and windows that are predicted together, where the config leaves them to a CPU."""


@dataclass(frozen=True)
class Demands:
    """What jobs ask for.

    Attributes:
        project: the project.
        gpu: whether jobs of networks get GPUs, here or from a scheduler.
    """

    project: Project
    gpu: bool

    def reading_threads(self, wildcards: Any) -> int:
        """Threads that decode a shard: two where it is large; small shards are faster side by side."""
        files = self.project.sheet.files(self.project.shard(wildcards.shard), "image")
        return 2 if sum(Path(file).stat().st_size for file in files if Path(file).is_file()) > LARGE_SHARD else 1

    def training_threads(self, wildcards: Any) -> int:
        """Threads that a training keeps busy: those of the network and the processes that load tiles."""
        model = self._model(wildcards)
        return training_threads(model.workers, model.threads, model.devices)

    def loading_workers(self, wildcards: Any, threads: int) -> int:
        """Processes that load tiles, for each device of a job of so many threads."""
        model = self._model(wildcards)
        return loading_workers(model.workers, model.threads, model.devices, threads)

    def training_gpus(self, wildcards: Any) -> int:
        """GPUs that a training needs, where there are any."""
        return self._model(wildcards).devices if visible_gpus() else 0

    def training_memory(self, wildcards: Any, threads: int) -> int:
        """Megabytes of a training: its processes, and without GPUs what the networks compute."""
        model = self._model(wildcards)
        process, copies = GPU_PROCESS, KEPT
        if not self.gpu:
            tiles = model.batch_size or BATCH
            pixels = math.prod(width_and_height(model.crop or self.project.config.tiles[model.tiles].size))
            process = PROCESS + round(-(-tiles // model.devices) * pixels * TRAINED / 1000)
            copies += LEARNT if model.encoder_rate else 0
        process += copies * _megabytes(model.encoder_weights)
        return model.devices * (process + WORKER * self.loading_workers(wildcards, threads))

    def prediction_threads(self, wildcards: Any) -> int:
        """Threads that a prediction keeps busy; one with the models of a bundle, as sums depend on it."""
        model = self.project.config.models.get(wildcards.model)
        return model.inference.threads if model else 1

    def prediction_gpus(self, _wildcards: Any) -> int:
        """GPUs that a prediction needs, where there are any."""
        return 1 if visible_gpus() else 0

    def prediction_memory(self, wildcards: Any) -> int:
        """Megabytes of a prediction by all parts of a model: networks, rows of the slide, without a GPU a batch."""
        inference, parts = self._predicting(wildcards.model)
        model = self.project.config.models.get(wildcards.model)
        # one of them twice while it is read
        shared = BANDS + NETWORK * parts + (_megabytes(model.encoder_weights) * (parts + 1) if model else 0)
        if self.gpu:
            return GPU_PROCESS + shared
        pixels = math.prod(each * max(inference.tta_scales) for each in width_and_height(inference.window))
        return PROCESS + shared + round((inference.batch_size or WINDOWS) * pixels * PREDICTED / 1000)

    def _model(self, wildcards: Any) -> Model:
        return self.project.config.models[wildcards.model]

    def _predicting(self, name: str) -> tuple[Inference, int]:
        if name in self.project.bundled.members:
            spec = self.project.bundled.members[name].spec
            return Inference(**spec.inference.model_dump()), len(spec.parts)
        return self.project.config.models[name].inference, len(self.project.trained_parts(name))


def _megabytes(weights: str) -> int:
    """Of a file of weights; 0: of none."""
    path = Path(weights)
    return -(-path.stat().st_size // 1_000_000) if path.is_file() else 0
