"""What is lost when devices are shared, too small, or a training is killed: nothing."""

import json
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest import mock

from parts import demo
from parts.pictures import scaled
from parts.processes import ended, started
from parts.setting import ROOT, LeftOut

FITTING = 3
"""Tiles that fit into the memory that is simulated on a CPU."""
ROOM = 3 * 2**30
"""Bytes that are left to this process on a GPU."""
LIKE, NEAR = 0.999, 0.05


def lock(setting):
    """Two folds that begin together are on the device one after the other."""
    from tilewright.training import fitting as step

    if setting.on_gpu:
        import pynvml  # noqa: F401 - which finds the devices that are locked

        from tilewright.runtime.gpu import visible_gpus

        if not visible_gpus():
            raise LeftOut("the driver's library names no device, so that none is locked")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpus()[0]
    else:
        _pretend_a_gpu(setting)
    begin = time.monotonic()
    work = [partial(_train_noting, setting, step, fold) for fold in (0, 1)]
    processes = [started(each, setting.folder / f"lock{fold}.log") for fold, each in enumerate(work)]
    codes = [ended(process) for process in processes]
    setting.tell("folds that were trained", codes.count(0), "", "2", codes == [0, 0])
    found = [json.loads(path.read_text()) for path in sorted(setting.folder.glob("lock*.json"))]
    (first, last), waited = sorted((each["from"], each["to"]) for each in found), [each["waited"] for each in found]
    setting.tell("seconds of the folds on the device", round(first[1] - first[0] + last[1] - last[0], 2), "s")
    setting.tell("seconds until both had ended", round(last[1] - begin, 2), "s")
    together = round(max(0.0, first[1] - last[0]), 3)
    setting.tell("seconds that both were on it", together, "s", "0", together == 0)
    setting.tell("folds that said that they wait", sum(waited), "", "1", sum(waited) == 1)


def _pretend_a_gpu(setting):
    """One device of a library that stands in for the driver's; locks lie in the folder of the parts."""
    from tilewright.runtime import gpu

    sys.path.insert(0, str(ROOT / "tests" / "fakes"))
    sys.modules.pop("pynvml", None)
    os.environ["FAKE_GPUS"] = json.dumps([{"uuid": "GPU-simulated"}])
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    tempfile.tempdir = str(setting.folder)
    gpu.require_usable = lambda _count: None


def _train_noting(setting, step, fold):
    """Train a fold and write down when it had the device, and whether it said that it waits for it."""
    from tilewright.runtime import gpu

    said, times, usual = [], {}, step.claimed_gpus

    @contextmanager
    def noting(count):
        with usual(count):
            times["from"] = time.monotonic()
            yield
            times["to"] = time.monotonic()

    with mock.patch.object(step, "claimed_gpus", noting), mock.patch.object(gpu, "note", said.append):
        demo.trained(setting, setting.folder / "folds" / str(fold), fold=fold, epochs=1)
    waited = any("waiting" in line for line in said)
    (setting.folder / f"lock{fold}.json").write_text(json.dumps({**times, "waited": waited}))


def memory(setting):
    """Batches that do not fit: a prediction halves them, a training says what would fit, or finds it."""
    _too_many_windows(setting)
    _too_many_tiles(setting)


def _too_many_windows(setting):
    from tilewright.inference import batches
    from tilewright.inference.loading import load_folds

    (segmenter,), _ = load_folds([setting.folder / "models" / "fold0"])
    segmenter.to(setting.device)
    said = []
    with _little_memory(setting, segmenter), mock.patch.object(batches, "note", said.append):
        found = _predicted(setting, segmenter, 100_000)
    fitting = int(said[-1].rpartition(" ")[2]) if said else 0
    setting.tell("prediction: times that a batch was halved", len(said), "", "> 0", bool(said))
    setting.tell("prediction: windows that fitted", fitting)
    right = _predicted(setting, segmenter, max(1, fitting))
    like = demo.dice([found], [right])
    setting.tell("prediction: Dice with batches of that size", like, "", f"> {LIKE}", like > LIKE)
    other = int((found != right).sum())
    setting.tell("prediction: pixels that differ", other, "", "0 on a CPU", None if setting.on_gpu else other == 0)


def _predicted(setting, segmenter, size):
    """A map by batches of a size, as an array."""
    import torch

    from tilewright.inference.layers import layers_of
    from tilewright.inference.predict import Map, predict_image
    from tilewright.pixels.rasters import create_raster, open_raster
    from tilewright.project.config import Inference

    inference, out = Inference(window=setting.size(512, 64), batch_size=size), setting.folder / "memory.tif"
    (layer,) = layers_of(["fold0"], inference)
    with torch.inference_mode(), scaled(setting, setting.size(4096, 300)) as (image, tissue):
        with create_raster(out, image.size) as raster:
            predict_image([segmenter], image, tissue, inference, [Map(layer, raster)])
        with open_raster(out) as raster:
            return raster.read()


def _too_many_tiles(setting):
    from tilewright.runtime.errors import UserError
    from tilewright.training import trainer

    usual, chosen = trainer.build_network, trainer.chosen_batch
    options = {"tiles": "large", "crop": setting.size(512, 64), "epochs": 1, "tiles_per_epoch": setting.size(32, 8)}

    def limited(*given, **named):
        segmenter = usual(*given, **named)
        _limit(segmenter)
        return segmenter

    def tried(network, crop, fits):
        """What a GPU would: a CPU has no trials of its own."""
        from tilewright.training.memory import trial

        cpu = trainer.torch.device("cpu")
        return chosen(
            network, crop, fits or trial(limited(network, 1, pretrained=False), network, demo.NAMES, crop, cpu)
        )

    limits = {} if setting.on_gpu else {"build_network": limited, "chosen_batch": tried}
    with _little_memory(setting), ExitStack() as stack:
        for name, function in limits.items():
            stack.enter_context(mock.patch.object(trainer, name, function))
        card = demo.trained(setting, setting.folder / "auto", batch_size="auto", **options)
        size = card["network"]["batch_size"]
        setting.tell("training: batch_size auto chose", size, "tiles", "< 32", size < 32)
        said = ""
        try:
            demo.trained(setting, setting.folder / "too-many", batch_size=32, **options)
        except UserError as error:
            said = str(error)
        wanted = "What would fit: batch_size" if setting.on_gpu else "auto finds what fits"
        setting.tell("training: a batch of 32 says", said or "nothing", "", wanted, wanted in said)


@contextmanager
def _little_memory(setting, segmenter=None):
    """Leave little memory: on a GPU by PyTorch's own limit, on a CPU a network fails that sees too many tiles."""
    import torch

    if setting.on_gpu:
        torch.cuda.empty_cache()
        _, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + ROOM) / total))
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    handle = _limit(segmenter) if segmenter else None
    yield
    if handle:
        handle.remove()


def _limit(segmenter):
    """Let a network fail where a batch has more tiles than fit."""
    import torch

    def check(_module, inputs):
        if len(inputs[0]) > FITTING:
            raise torch.OutOfMemoryError("out of memory, simulated")

    return segmenter.network.register_forward_pre_hook(check)


def killed(setting):
    """A training that is killed after its first checkpoint ends as a whole one does."""
    from tilewright.training import trainer

    out, whole = setting.folder / "killed", setting.folder / "whole"
    options = {"epochs": setting.size(6, 3), "workers": 2, "ema": 0.9}
    process = started(partial(demo.trained, setting, out, **options), setting.folder / "killed-first.log")
    while not list((out / "state").glob("epoch*.ckpt")) and os.waitid(os.P_PID, process, LOOK) is None:
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    code = ended(process)
    setting.tell("killed by signal", -code, "", str(int(signal.SIGKILL)), code == -signal.SIGKILL)
    said = []
    with mock.patch.object(trainer, "note", said.append):
        resumed = demo.trained(setting, out, **options)
    went_on = any("going on from" in line for line in said)
    setting.tell("it went on from its state", went_on, "", "True", went_on)
    expected = demo.trained(setting, whole, **options)
    epochs = len((out / "history.csv").read_text().splitlines()) - 1
    setting.tell("epochs of its history", epochs, "", str(options["epochs"]), epochs == options["epochs"])
    apart = abs(resumed["best_dice"] - expected["best_dice"])
    setting.tell("distance of the best Dice from a whole one's", apart, "", f"<= {NEAR}", apart <= NEAR)
    same = all((out / name).read_bytes() == (whole / name).read_bytes() for name in SAME)
    setting.tell("same bytes as a whole one", same, "", "True on a CPU", None if setting.on_gpu else same)


LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT
"""Whether a process has ended, without taking its exit code."""
SAME = ("model.safetensors", "model.json", "history.csv")
