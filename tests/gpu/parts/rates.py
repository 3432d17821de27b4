"""How much of what the bare network does a second is left when it is fed by all of the project."""

import time
from contextlib import ExitStack

import torch

from parts import demo
from parts.clocks import busy_share, fastest, seconds, settled
from parts.pictures import scaled

GOAL, FIVE = 0.95, 1.1
WINDOWS = {"overlap": 0.25, "blend": "pyramid"}


def training(setting):
    """A training by ``train``, in its second epoch, against steps of its network on one batch in memory."""
    from tilewright.runtime.cores import training_threads

    workers = training_threads("auto", 1, 1) - 1
    setting.tell("workers", workers)
    for edge, tiles, batches in setting.size(((256, 32, 250), (512, 16, 120)), ((64, 4, 3), (128, 2, 3))):
        options = {"batch_size": tiles, "tiles_per_epoch": tiles * batches, "crop": edge, "epochs": 2}
        options |= {"tiles": "large", "encoder_weights": "random"}
        spans, busy = _spans(setting, edge, workers, options)
        network = demo.network(setting, **options)
        bare = fastest(_steps(setting, network, edge, setting.size(30, 2)), setting.size(3, 1)) / setting.size(30, 2)
        whole = spans[-1] / batches
        setting.tell(f"crop {edge}: tiles through everything", tiles / whole, "a second")
        setting.tell(f"crop {edge}: tiles of the bare network", tiles / bare, "a second")
        setting.tell_ratio(f"crop {edge}: rate against the bare network", bare / whole, GOAL)
        _tell_busy(setting, f"crop {edge}", busy)


def _spans(setting, edge, workers, options):
    """Seconds of the batches of each epoch of a training, and how busy the device was in the last one."""
    from tilewright.training import trainer

    spans, busy, open_parts = [], [], ExitStack()

    class Timed(trainer.SegmentationTask):
        def on_train_epoch_start(self):
            if self.current_epoch + 1 == self.spec.epochs:
                busy.append(open_parts.enter_context(busy_share()))
            settled()
            spans.append(-time.perf_counter())

        def on_train_batch_end(self, outputs, batch, index):
            super().on_train_batch_end(outputs, batch, index)
            if index + 1 == self.trainer.num_training_batches:
                settled()
                spans[-1] += time.perf_counter()
                open_parts.close()

    usual, trainer.SegmentationTask = trainer.SegmentationTask, Timed
    try:
        demo.trained(setting, setting.folder / f"rate{edge}", workers=workers, **options)
    finally:
        trainer.SegmentationTask = usual
    return spans, busy[0]


def _steps(setting, network, edge, count):
    """Steps of the network alone: its loss, the way back, the optimiser."""
    from tilewright.training.architectures import build_network
    from tilewright.training.devices import half_type
    from tilewright.training.losses import WeightedLoss
    from tilewright.training.optimizers import optimizer

    where = setting.device
    half = half_type(network.precision) if setting.on_gpu else None
    segmenter = build_network(network, 1, pretrained=False).to(where).train()
    loss, made = WeightedLoss(network.loss, torch.ones(1)).to(where), optimizer(network, segmenter.parameters())
    scaler = torch.amp.GradScaler(where, enabled=half is torch.float16)
    images = torch.randint(0, 256, (network.batch_size, 3, edge, edge), dtype=torch.uint8, device=where)
    truth = (images[:, :1] > 128).float()
    valid = torch.ones_like(truth)

    def steps():
        for _ in range(count):
            with torch.autocast(where, half, enabled=half is not None):
                value = loss(segmenter(images), truth, valid)
            scaler.scale(value).backward()
            scaler.step(made)
            scaler.update()
            made.zero_grad()

    return steps


def prediction(setting):
    """A prediction of an image file to a file, against as many windows of the bare network in memory."""
    bare, whole, busy = _predicted(setting, 1)
    setting.tell("seconds through everything", whole, "s")
    setting.tell("seconds of the bare network", bare, "s")
    setting.tell_ratio("rate against the bare network", bare / whole, GOAL)
    _tell_busy(setting, "prediction", busy)


def folds(setting):
    """A prediction with five folds, against five times one fold of the bare network: the host works once."""
    bare, whole, _ = _predicted(setting, 5)
    setting.tell("seconds with five folds", whole, "s")
    setting.tell("seconds of a fold's bare network", bare / 5, "s")
    judged = setting.on_gpu and not setting.small
    found = whole / bare
    setting.tell("against five times a fold's bare network", found, "", f"< {FIVE}", found < FIVE if judged else None)


def _predicted(setting, count):
    """Seconds of a prediction with some folds: of their bare networks, of everything; and the device's busy share."""
    from tilewright.inference.layers import layers_of
    from tilewright.inference.predict import Map, predict_image
    from tilewright.pixels.grid import grid
    from tilewright.pixels.rasters import create_raster
    from tilewright.project.config import Inference
    from tilewright.training.architectures import build_network

    network = demo.network(setting, encoder_weights="random")
    made = [build_network(network, 1, pretrained=False).eval().to(setting.device) for _ in range(count)]
    window = setting.size(512, 64)
    inference = Inference(window=window, batch_size=setting.size(32, 4), **WINDOWS)
    (layer,) = layers_of([f"fold{place}" for place in range(count)], inference)
    out = setting.folder / f"{setting.part}.tif"

    def everything():
        with create_raster(out, image.size) as raster:
            predict_image(made, image, tissue, inference, [Map(layer, raster)])

    with torch.inference_mode(), scaled(setting, setting.size(16384, 300)) as (image, tissue):
        windows = len(grid(image.size, window, inference.overlap))
        everything()  # finds the ways of the convolutions, and memory
        with busy_share() as busy:
            whole = min(seconds(everything) for _ in range(setting.size(2, 1)))
        bare = fastest(_windows(setting, made, inference, windows), setting.size(2, 1))
    return bare, whole, busy


def _windows(setting, segmenters, inference, count):
    """The networks on windows that lie in the memory of the device."""
    size = inference.batch_size
    batch = torch.randint(
        0, 256, (size, 3, inference.window, inference.window), dtype=torch.uint8, device=setting.device
    )
    half = segmenters[0].gpu_dtype if setting.on_gpu else None

    def work():
        with torch.autocast(setting.device, half, enabled=half is not None):
            for start in range(0, count, size):
                for segmenter in segmenters:
                    torch.sigmoid(segmenter(batch[: count - start]).float())

    return work


def _tell_busy(setting, what, busy):
    if busy:
        setting.tell(f"{what}: share of the time in which the device computed", busy[0])
    elif setting.on_gpu:
        setting.tell(f"{what}: share of the time in which the device computed", "left out: no pynvml, or a part (MIG)")
