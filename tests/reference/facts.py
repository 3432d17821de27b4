"""What a preset makes: numbers that follow from its values through the code that uses them.

Each fact is a function of a config and of what is asked (a model, a tile set, an ensemble, with a size where one
matters). Lengths are in pixels of the slide.
"""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import albumentations as A  # noqa: N812
import h5py
import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn

from tilewright.inference.views import views as views_of
from tilewright.inference.windows import blend_weights
from tilewright.pixels.grid import Size, grid
from tilewright.pixels.rle import encode_rle
from tilewright.tiles.archive import TileTable
from tilewright.tiles.blank import is_blank
from tilewright.training import architectures, sampling
from tilewright.training.augment import SETS
from tilewright.training.averaging import Average
from tilewright.training.encoders import normalisation
from tilewright.training.losses import WeightedLoss
from tilewright.training.optimizers import check_optimizer, optimizer, peak_rate
from tilewright.training.schedules import lulls, rate_curve
from tilewright.training.segmenter import Segmenter

PROBABILITY = ((0.9, 0.6, 0.4, 0.2), (0.3, 0.3, 0.3, 0.3))
TRUTH = ((1, 1, 0, 0), (1, 0, 0, 0))
"""Of the example that losses are computed for: one tile of four pixels, by class."""
STEPS = 100_000_000
TOLD = (
    "scale", "rotate", "translate_percent", "shear", "alpha", "sigma", "distort_limit", "num_steps", "gamma_limit",
    "brightness_limit", "contrast_limit", "r_shift_limit", "g_shift_limit", "b_shift_limit", "hue_shift_limit",
    "sat_shift_limit", "val_shift_limit", "brightness", "contrast", "saturation", "hue", "radius", "blur_limit",
    "clip_limit", "num_holes_range", "hole_height_range", "hole_width_range",
)  # fmt: skip
"""What is told of transforms."""
MASK = np.array([[1, 0, 1], [1, 1, 0]], bool)


def parameters(config, model):
    """Trainable parameters of a network."""
    return architectures.parameters(config.models[model], len(config.classes))


def statistics(config, model):
    """Running means and variances of a network's batch norms, which Keras counts among its parameters."""
    with torch.device("meta"):
        network = architectures.build_network(config.models[model], len(config.classes), pretrained=False)
    return sum(value.numel() for name, value in network.named_buffers() if name.split(".")[-1].startswith("running_"))


def pretrained(config, model):
    """Where the weights of an encoder come from."""
    network = config.models[model]
    if network.encoder_weights != "imagenet":
        return network.encoder_weights
    if network.encoder.startswith("tu-"):
        return timm.get_pretrained_cfg(network.encoder.removeprefix("tu-")).hf_hub_id
    return smp.encoders.encoders[network.encoder]["pretrained_settings"]["imagenet"]["repo_id"]


def normalised(config, model):
    """What a network sees of a black and of a white pixel."""
    seen = []
    inner = nn.Identity()
    inner.register_forward_hook(lambda _module, given, _out: seen.append(given[0][0, :, 0, 0].tolist()))
    segmenter = Segmenter(inner, *normalisation(config.models[model]))
    for value in (0, 255):
        segmenter(torch.full((1, 3, 1, 1), value, dtype=torch.uint8))
    return seen


def loss(config, model):
    """The loss of the example."""
    return _loss(config, model, PROBABILITY, TRUTH)


def loss_of_nothing(config, model):
    """The loss where nothing is and hardly anything is seen: a probability of a millionth in each of four pixels."""
    return _loss(config, model, ((1e-6,) * 4,) * 2, ((0,) * 4,) * 2)


def _loss(config, model, probability, truth):
    network, classes = config.models[model], list(config.classes)
    weights = torch.tensor([network.class_weights.get(name, 1.0) for name in classes])
    shape = (1, len(classes), 2, 2)
    logits = torch.logit(torch.tensor(probability[: len(classes)])).view(shape)
    expected = torch.tensor(truth[: len(classes)], dtype=torch.float32).view(shape)
    return WeightedLoss(network.loss, weights)(logits, expected, torch.ones(shape)).item()


def optimiser(config, model):
    """Kind and settings of the optimiser."""
    check_optimizer(config.models[model])
    made = optimizer(config.models[model], [nn.Parameter(torch.zeros(1))])
    return {"kind": type(made).__name__, **made.param_groups[0]}


def rate(config, model):
    """Learning rates by the share of the training that is over."""
    network = config.models[model]
    curve = rate_curve(network, STEPS)
    return {share: network.learning_rate * curve(round(share * STEPS)) for share in (0, 0.025, 0.05, 0.2, 0.6, 1)}


def shared(config, model):
    """The learning rate at its peak on four devices."""
    return peak_rate(config.models[model].model_copy(update={"devices": 4}))


def lowered(config, model):
    """Validations without gain until the rate falls, and to what, and until training ends; which gains count."""
    network = config.models[model]
    plateau, stopping = network.plateau, network.stopping

    def waited(rule):
        return next((n for n in range(1, 100) if lulls([0.0] * (n + 1), rule.patience, rule.min_delta)), None)

    def gains(rule, gain):
        return not lulls([0.0, *[gain] * rule.patience], rule.patience, rule.min_delta)

    return {
        "after": waited(plateau) if network.schedule == "plateau" else None,
        "to": plateau.factor,
        "ended after": waited(stopping) if stopping else None,
        "gains": [gain for gain in (0.009, 0.011) if gains(plateau, gain) and (not stopping or gains(stopping, gain))],
        "judged by": network.monitor,
    }


def course(config, model):
    """Steps of the optimiser in a training of a million tiles, epochs, and epochs from one validation to the next."""
    network = config.models[model]
    tiles = network.tiles_per_epoch or 1_000_000
    steps = math.ceil(math.ceil(tiles / network.batch_size) / network.accumulate)
    return {"steps an epoch": steps, "epochs": network.epochs, "validated every": network.validate_every}


def average(config, model):
    """What the average of the weights keeps of the first ones, by updates."""
    network, weight = Average(config.models[model].ema, config.models[model].ema_warmup), nn.BatchNorm1d(1)
    kept = {}
    for update in range(12):
        nn.init.constant_(weight.weight, float(update == 0))
        network.update(weight)
        kept[update] = network.weights["weight"].item()
    return {update: kept[update] for update in (1, 10)}


def crop(config, model):
    """Edge of the tile that is augmented and of what is trained on, of the slide and of the network's input."""
    network = config.models[model]
    tiles = config.tiles[network.tiles]
    factor = config.scales[tiles.scale].factor
    edge = network.crop or tiles.size
    return {"tile": _times(tiles.size, factor), "crop": _times(edge, factor), "input": edge, "at": network.crop_at}


def windows(config, asked):
    """Windows over a slide: how many, their edge, the least overlap, the step."""
    model, size = _sized(asked)
    network = config.models[model]
    factor = config.scales[config.tiles[network.tiles].scale].factor
    return _places(size, network.inference.window, network.inference.overlap, factor)


def tiles(config, asked):
    """Tiles of a grid over a slide, likewise, and whether tiles are centred on objects too."""
    name, size = _sized(asked)
    spec = config.tiles[name]
    return _places(size, spec.size, spec.overlap, config.scales[spec.scale].factor) | {"objects": spec.objects}


def blended(config, model):
    """Weight of a pixel at the corner, in the middle of a side, and in the middle of a window."""
    spec = config.models[model].inference
    edge = spec.window if isinstance(spec.window, int) else min(spec.window)
    weights = blend_weights(spec.blend, edge)
    margin = round(edge * spec.overlap) // 2 if spec.blend == "discard" else 0
    half = edge // 2
    return {"corner": weights[0, 0], "side": weights[0, half], "middle": weights[half, half], "cut off": margin}


def views(config, model):
    """Views of a window that are averaged."""
    spec = config.models[model].inference
    return len(list(views_of(spec.tta, spec.tta_scales, (64, 64))))


def draws(config, model):
    """Shares of the roles, slides and tiles with an empty centre in an epoch's draws.

    One slide of training with a covered pixel, one with three times as many; as many tiles of each role.
    """
    network = config.models[model]
    roles = ["train"] * 40 + ["external"] * 20 + ["pseudo"] * (20 if network.pseudo else 0)
    slide = ["a"] * 20 + ["b"] * 20 + ["x"] * 20 + ["p"] * (20 if network.pseudo else 0)
    coverage = np.repeat([[{"a": 0.1, "b": 0.3}.get(name, 0.2)] for name in slide], len(config.classes), axis=1)
    table = _table(slide, roles, coverage)
    shows = np.arange(len(slide)) % 2 == 0
    with TemporaryDirectory() as folder:
        archives = [_archive(Path(folder) / "t.h5", shows)]
        weights = sampling.draw_weights(table, archives, network, list(config.classes))
    weights = np.full(len(slide), 1 / len(slide)) if weights is None else weights
    share = {name: weights[table.role == name].sum() for name in sorted(set(roles))}
    return share | {
        "b to a": weights[table.slide == "b"].sum() / weights[table.slide == "a"].sum(),
        "empty to full": weights[~shows].sum() / weights[shows].sum(),
    }


def augmented(config, model):
    """The transforms of the augmentation, with what they were given."""
    chosen = SETS[config.models[model].augmentation]()
    return {
        "zoomed": chosen.zoomed,
        "stains": chosen.stains is not None,
        "moves": _told(chosen.moves),
        "colors": _told(chosen.colors),
    }


def drawn(config, _asked):
    """The classes that an outline is drawn for, by its label; "" is an outline without one."""
    classes = config.labels
    known = sorted({label for labels in classes.values() for label in labels})
    found = {label: [name for name, labels in classes.items() if label in labels] for label in known}
    return found | ({"": found.get(config.annotations.unlabelled, [])} if config.annotations.unlabelled else {})


def outlines(config, _asked):
    """How outlines become pixels, the labels that are left out, and the order of their run lengths."""
    spec = config.annotations
    return {"pixels": spec.pixel_rule, "left out": sorted(spec.discard), "order": spec.rle_order}


def folds(config, _asked):
    """Trainings of a model, and the share of the shards that each is validated on."""
    spec = config.folds
    return {"trainings": len(spec.selected or range(spec.count)), "held out": 1 / spec.count}


def ensemble(config, name):
    """Shares of its models, and its thresholds."""
    spec = config.ensembles[name]
    total = sum(spec.models.values())
    calibration = spec.calibration
    return {
        "models": {model: weight / total for model, weight in spec.models.items()},
        "threshold": calibration.threshold,
        "least": calibration.min_area,
    }


def objects(config, _asked):
    """How confident an object is, and how large one must be to count by its centre."""
    return {"confidence": config.segmentation.confidence, "by centres": config.evaluation.center_min_area}


def blank(config, name):
    """Which of some tiles are blank: each lies right beyond or right before one of the rule's bounds."""
    halves = np.repeat([[0], [1]], [32, 32], axis=0) * np.ones(64)
    grey = {
        "dark": np.full((64, 64), 9),
        "hardly dark": np.full((64, 64), 10),
        "bright and flat": 206 + 19 * (2 * halves - 1),
        "bright": 206 + 21 * (2 * halves - 1),
        "hardly bright": np.full((64, 64), 205),
        "a tenth is black": np.where(np.arange(4096).reshape(64, 64) < 410, 9, 100),
        "hardly a tenth": np.where(np.arange(4096).reshape(64, 64) < 409, 9, 100),
    }
    rule = config.tiles[name].blank
    tiles_of = {each: np.repeat(pixels[None], 3, axis=0).astype(np.uint8) for each, pixels in grey.items()}
    red = np.array([27, 0, 0])[:, None, None]  # its mean over the channels is 9
    tiles_of["a tenth is dark red"] = np.where(grey["a tenth is black"] == 9, red, 100).astype(np.uint8)
    return [each for each, pixels in tiles_of.items() if is_blank(pixels, rule)]


def submission(config, _asked):
    """The code of a mask of two rows and three columns, what is a row, and the classes that are written."""
    spec = config.submission
    return {"code": encode_rle(MASK, spec.dialect), "row": spec.rows, "classes": spec.classes or list(config.classes)}


def pseudo(config, model):
    """What a model learns from that was labelled by models: by which, how often, and how certain."""
    spec = config.models[model].pseudo
    return spec and {"by": spec.source, "share": spec.rate, "certain": spec.min_confidence}


FACTS = {
    each.__name__: each
    for each in (
        parameters, statistics, pretrained, normalised, loss, loss_of_nothing, optimiser, rate, shared, lowered, course,
        average, crop, windows, tiles, blended, views, draws, augmented, drawn, outlines, folds, ensemble, objects,
        submission, pseudo, blank,
    )
}  # fmt: skip


def _sized(asked):
    """A name, and the size behind it: ``unet 5000x5000``."""
    name, size = asked.split()
    return name, Size(*map(int, size.split("x")))


def _times(length, factor):
    return [factor * each for each in length] if isinstance(length, list | tuple) else factor * length


def _places(size, edge, overlap, factor):
    """Where windows lie, in pixels of the slide."""
    scaled = Size(*(math.ceil(length / factor) for length in size))
    corners = grid(scaled, tuple(edge) if isinstance(edge, list) else edge, overlap)
    columns = sorted({corner.x for corner in corners})
    steps = np.diff(columns)
    width = edge if isinstance(edge, int) else edge[0]
    return {
        "count": len(corners),
        "edge": _times(edge, factor),
        "overlap": factor * (width - steps.max()) if len(steps) else None,
        "step": factor * steps.max() if len(steps) else None,
    }


def _table(slide, roles, coverage):
    count = len(slide)
    named = {name: np.array(["-"] * count) for name in ("source", "group", "kind")}
    return TileTable(
        archive=np.zeros(count, np.int64),
        index=np.arange(count),
        slide=np.array(slide),
        role=np.array(roles),
        **named,
        x=np.arange(count),
        y=np.zeros(count, np.int64),
        mpp=np.ones(count, np.float32),
        coverage=coverage.astype(np.float32),
        labelled=np.ones_like(coverage, bool),
    )


def _archive(path, shows):
    """Tiles of 64 pixels; some show a class in the corner of the central 20 x 20 pixels, others right beside it."""
    masks = np.zeros((len(shows), 64, 64), np.uint8)
    first = (64 - 20) // 2
    masks[shows, first, first] = 1
    masks[~shows, first - 1, first] = 1
    with h5py.File(path, "w") as archive:
        archive["masks"] = masks
    return path


def _told(transforms):
    """Names of transforms, with what was given to them and how often they happen."""
    return [
        {
            type(each).__name__: {
                "p": each.p,
                **({"of": _told(each.transforms)} if isinstance(each, A.BaseCompose) else {}),
                **{key: _plain(getattr(each, key)) for key in TOLD if hasattr(each, key)},
            }
        }
        for each in transforms
    ]


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
