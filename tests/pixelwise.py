"""Networks whose answers are known."""

import torch
from torch import nn


class Pixelwise(nn.Module):
    """Gives each pixel's mean over the channels as its probability; counts the windows that it sees."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1 / 255))
        self.windows = 0

    def forward(self, images):
        self.windows += len(images)
        return torch.logit(images.float().mean(1, keepdim=True) * self.scale, eps=1e-6)


class Shifted(Pixelwise):
    """As ``Pixelwise``, but what a window's left edge holds changes the whole window, so that blending matters."""

    def forward(self, images):
        return super().forward(images) * images[:, :1, :1, :1].float() / 128
