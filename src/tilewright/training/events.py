"""Pictures of validation tiles for TensorBoard."""

import cv2
import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray

from tilewright.training.data import Sample, targets
from tilewright.training.task import RAW, SegmentationTask

TILES = 4
TRUTH, PREDICTION = (0, 255, 0), (255, 255, 0)


class ValidationPictures(lightning.Callback):
    """Shows tiles of the validation with the outlines of truth (green) and probability above one half (yellow).

    The tiles are those of the first batch that shows a class, and stay the same over the training.
    """

    def __init__(self) -> None:
        self._batch: Sample | None = None

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        _module: lightning.LightningModule,
        _outputs: object,
        batch: Sample,
        *_place: int,
    ) -> None:
        """Remember the first batch, or a later one if no class shows in it."""
        if trainer.is_global_zero and (self._batch is None or not _shows(self._batch)) and _shows(batch):
            self._batch = Sample(batch.image[:TILES], batch.bits[:TILES], batch.labelled[:TILES])

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write one picture a class."""
        assert isinstance(pl_module, SegmentationTask)
        if self._batch is None or not isinstance(trainer.logger, TensorBoardLogger):
            return
        probability = torch.sigmoid(pl_module.logits(RAW, self._batch.image).float()).nan_to_num().cpu().numpy()
        truth = targets(self._batch.bits, self._batch.labelled).truth.cpu().numpy()
        images = np.moveaxis(self._batch.image.cpu().numpy(), 1, -1)
        for number, name in enumerate(pl_module.classes):
            picture = panel(images, truth[:, number] > 0, probability[:, number])
            trainer.logger.experiment.add_image(f"validation/{name}", picture, trainer.current_epoch, dataformats="HWC")


def panel(images: NDArray[np.uint8], truth: NDArray[np.bool_], probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Tiles side by side: with outlines of truth and prediction above, their probabilities below.

    Args:
        images: tiles x rows x columns x 3.
        truth: tiles x rows x columns.
        probability: the same shape, 0 to 1.

    Returns:
        2 rows x tiles columns of tiles, RGB.
    """
    above = []
    for image, expected, found in zip(images, truth, probability > 0.5, strict=True):
        drawn = np.ascontiguousarray(image)
        for mask, color in ((expected, TRUTH), (found, PREDICTION)):
            contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(drawn, contours, -1, color, 1)
        above.append(drawn)
    below = [np.repeat((255 * each + 0.5).astype(np.uint8)[..., None], 3, axis=2) for each in probability]
    return np.vstack([np.hstack(above), np.hstack(below)])


def _shows(batch: Sample) -> bool:
    return bool(targets(batch.bits, batch.labelled).truth.any())
