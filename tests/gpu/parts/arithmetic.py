"""What needs little more than PyTorch: each operation gives on the device what it gives on a CPU."""

import math
from copy import deepcopy

import torch
from torch import nn
from torch.nn import functional

from parts.clocks import fastest

CPU = torch.device("cpu")


def device(setting):
    """The device answers, and is what was asked for."""
    if not setting.on_gpu:
        setting.tell("device", "cpu")
        return
    if not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU here; --device cpu tries the parts on the processor")
    torch.zeros(1, device="cuda")
    known = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info(0)
    setting.tell("device", known.name)
    setting.tell("memory, free of all", f"{free / 2**30:.1f} of {total / 2**30:.1f}", "GiB")
    setting.tell("computing capability", f"{known.major}.{known.minor}")
    setting.tell("bfloat16", torch.cuda.is_bf16_supported(including_emulation=False))


def losses(setting):
    """Each loss and its gradient."""
    from tilewright.project.config.training import LOSS_PARAMETERS
    from tilewright.training.losses import WeightedLoss

    torch.manual_seed(0)
    logits, truth = torch.randn(4, 3, 64, 64), (torch.rand(4, 3, 64, 64) < 0.3).float()
    valid = (torch.rand(4, 3, 64, 64) < 0.8).float()

    def found(name, where):
        own = logits.to(where).requires_grad_()
        loss = WeightedLoss({name: {"weight": 1.0, **LOSS_PARAMETERS[name]}}, torch.ones(3)).to(where)
        value = loss(own, truth.to(where), valid.to(where))
        value.backward()
        return value.item(), own.grad.cpu()

    for name in LOSS_PARAMETERS:
        (value, gradient), (expected, right) = found(name, setting.device), found(name, CPU)
        apart = max(abs(value - expected) / abs(expected), float((gradient - right).abs().max() / right.abs().max()))
        setting.tell(f"{name}: distance from the CPU", apart, "", "<= 0.0001", apart <= 1e-4)


def colors(setting):
    """Each change of colours of a batch at once, against sample by sample on a CPU."""
    from tilewright.training.recoloring import Recoloring

    images = _images(8, 64)
    for kind, changes in _changes().items():
        each = Recoloring.of([[*changes] if number % 2 else [] for number in range(len(images))])
        found = each.to(setting.device).together(images.to(setting.device)).cpu()
        apart = float((found - each(images)).abs().max())
        setting.tell(f"{kind}: most a pixel differs", apart, "of 255", "<= 0.05", apart <= 0.05)


def averages(setting):
    """Averages of weights."""
    from tilewright.training.averaging import Average

    def found(where, decay):
        torch.manual_seed(0)
        network, average = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).to(where), Average(decay)
        for step in range(5):
            with torch.no_grad():
                for value in network.state_dict().values():
                    value.add_(step)
            average.update(network)
        return {name: value.cpu().double() for name, value in average.weights.items()}

    for name, decay in (("EMA", 0.9), ("SWA", None)):
        own, right = found(setting.device, decay), found(CPU, decay)
        apart = max(float((own[key] - right[key]).abs().max()) for key in right)
        setting.tell(f"{name}: distance from the CPU", apart, "", "<= 0.00001", apart <= 1e-5)


def norms(setting):
    """Batch norms that devices share give what they gave, with the activation that they hold."""
    from timm.layers import BatchNormAct2d

    from tilewright.training.devices import with_shared_norms

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), BatchNormAct2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    network, images = network.to(setting.device), _images(4, 32).float().to(setting.device)
    for mode in ("train", "eval") if setting.on_gpu else ("eval",):
        converted = with_shared_norms(deepcopy(network)).train(mode == "train")
        with torch.no_grad():
            before = network.train(mode == "train")(images)
            apart = float((converted(images) - before).abs().max() / before.abs().max())
        setting.tell(f"{mode}: change by the conversion", apart, "", "<= 0.0001", apart <= 1e-4)


def blending(setting):
    """Windows cut, seen in views and blended on the device, against the CPU."""
    from tilewright.pixels.grid import grid
    from tilewright.project.config import Inference

    image, network = _Picture(_images(1, 700)[0]), _Convolution()
    corners = grid(image.size, 128, 0.3)
    for blend in ("mean", "pyramid", "hann", "gaussian", "discard", "minimum"):
        inference = Inference(window=128, overlap=0.3, blend=blend, tta="flips")
        with torch.inference_mode():
            found = _blended(image, corners, network.to(setting.device), inference)
            right = _blended(image, corners, network.to(CPU), inference)
        apart = int((found - right).abs().max())
        setting.tell(f"{blend}: most a pixel differs", apart, "of 255", "<= 1", apart <= 1)
    spread = float(right.float().std())
    setting.tell("what was blended is no constant", spread, "of 255", "> 1", spread > 1)


def _blended(image, corners, network, inference):
    """A map of an image, as ``predict`` makes it."""
    from tilewright.inference.bands import Rows, cut
    from tilewright.inference.batches import in_batches
    from tilewright.inference.blending import Band, Blend, blended, on_host
    from tilewright.inference.layers import layers_of
    from tilewright.inference.pieces import covered, read_piece, runs
    from tilewright.inference.views import view_probabilities
    from tilewright.pixels.grid import Window

    def compute(batch):
        windows = torch.stack([pixels for _, pixels in batch])
        seen = list(view_probabilities(network, windows, inference.tta, inference.tta_scales))
        return torch.stack(seen).mean(dim=0)[:, None].unbind()

    where, edge, whole = network.inner.weight.device, inference.window, Window(0, 0, *image.size)
    wanted = runs(covered(corners, edge, image.size), image.size)
    pieces = (read_piece(image, window, pinned=where.type == "cuda") for window in wanted)
    windows = cut(pieces, corners, edge, image.size, Rows(3, whole, edge, torch.uint8, where))
    results = ((corner, values) for (corner, _), values in in_batches(windows, compute, 3))
    blend, result = Blend(inference, layers_of(["fold0"], inference), 1, image.size), torch.zeros_like(image.pixels[:1])
    for part in on_host(blended(results, corners, blend, Band(whole, blend, where))):
        if part.copied:
            part.copied.synchronize()
        rows, columns = Window(part.x, part.y, *reversed(part.values.shape[1:])).slices
        result[:, rows, columns] = part.values
    return result.int()


def step(setting):
    """Steps of a plain U-Net on tensors in memory, and the device's half of the augmentation beside them."""
    from tilewright.training.networks import PlainUnet
    from tilewright.training.recoloring import Recoloring
    from tilewright.training.segmenter import Segmenter

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = setting.on_gpu
    tiles, edge, steps = setting.size(16, 2), setting.size(256, 32), setting.size(20, 1)
    segmenter = Segmenter(PlainUnet(1), [0.5] * 3, [0.5] * 3).to(setting.device)
    made = torch.optim.AdamW(segmenter.parameters())
    images = _images(tiles, edge).to(setting.device)
    truth = (images[:, :1] > 128).float()
    changes = _changes()
    common = [*changes["stains"], *changes["hsv"], *changes["linear"]]
    recoloring = Recoloring.of([common] * tiles).to(setting.device)
    half = torch.bfloat16 if setting.on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else None

    def learn(recolored):
        for _ in range(steps):
            with torch.autocast(setting.device, half, enabled=half is not None):
                logits = segmenter(recoloring(images) if recolored else images)
            functional.binary_cross_entropy_with_logits(logits.float(), truth).backward()
            made.step()
            made.zero_grad()

    bare, whole = (
        fastest(lambda recolored=recolored: learn(recolored), setting.size(3, 1)) for recolored in (False, True)
    )
    setting.tell(f"tiles of {edge} pixels", tiles * steps / bare, "a second")
    setting.tell("time that colours add to a step", whole / bare - 1)
    if not setting.on_gpu:
        return
    setting.tell("memory at most", torch.cuda.max_memory_allocated() / 2**30, "GiB")


def _images(count, edge):
    """Noise with structures, uint8."""
    generator = torch.Generator().manual_seed(0)
    coarse = functional.interpolate(torch.rand(count, 3, 8, 8, generator=generator), (edge, edge), mode="bilinear")
    return (255 * (0.9 * coarse + 0.1 * torch.rand(count, 3, edge, edge, generator=generator))).to(torch.uint8)


def _changes():
    """One change of each kind, as a loader draws them."""
    import numpy as np

    from tilewright.training.recoloring import Change
    from tilewright.training.stains import StainJitter

    values = {
        "linear": (1.1, 4, -3, 2),
        "contrast": (0.8,),
        "matrix": (0.9, 0.1, 0, 0, 0.9, 0.1, 0.1, 0, 0.9, 0, 0, 0),
        "hue": (0.2,),
        "hsv": (0.3, 12, -8),
        "gamma": (1.2,),
        "holes": (4, 4, 20, 12, 30, 30, 31, 60),
        "gaussian": (0.25, 0.5, 0.25),
        "kernel": (0, 0, 0, 0.25, 0.5, 0.25, 0, 0, 0),
        "noise": (6, 1234, 4321),
    }
    made = {kind: [Change(kind, np.array(each, np.float32))] for kind, each in values.items()}
    return {"stains": [StainJitter().change(np.random.default_rng(0))], **made}


class _Picture:
    """Pixels in memory in place of a file."""

    def __init__(self, pixels):
        from tilewright.pixels.grid import Size

        self.pixels, self.size = pixels, Size(pixels.shape[2], pixels.shape[1])

    def read_into(self, out, window):
        rows, columns = window.slices
        out[:] = self.pixels[:, rows, columns].numpy()


class _Convolution(nn.Module):
    """One convolution, whose result depends on the window by its first pixel."""

    gpu_dtype = None

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, images):
        pixels = images.float() / 64 - 2
        return self.inner(pixels) + pixels[:, :1, :1, :1] * math.sqrt(0.5)
