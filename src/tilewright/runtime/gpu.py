"""Choice of devices: each process has GPUs of its own, of those that CUDA would see.

Devices are known by their UUIDs: numbers of device files, of the driver's library and of CUDA may differ, in containers
above all.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.locks import kept_from_children, take
from tilewright.runtime.progress import note

KFD = Path("/sys/class/kfd/kfd/topology/nodes")
"""Where the driver of AMD describes processors and GPUs."""
CUDA, ROCM = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
NONE = ("", "-1", "NoDevFiles")
"""What the variables hold where no GPU is to be seen."""
SPARE = 0.25
"""Share of its memory that must be free where other programs use a GPU too."""
PAUSE, PATIENCE = 2, 15
"""Seconds between two looks at the devices; looks after which other programs are taken to stay."""
OUT_OF_MEMORY = re.compile("out of memory|ALLOC_FAILED|ALLOCATION_FAILED|can't allocate memory|not enough memory")
"""What PyTorch, CUDA, cuDNN and cuBLAS say where they get no memory."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch could not get memory, on a GPU or a processor."""
    return type(error).__name__ == "OutOfMemoryError" or bool(OUT_OF_MEMORY.search(str(error)))


@dataclass(frozen=True)
class Gpu:
    """A device, or a part of one (MIG).

    Attributes:
        uuid: what it is known by.
        shown: what the variable must hold for it to be seen.
        variable: of the environment, which tells a process what to see.
        free: share of its memory that is free; not known: 1.
    """

    uuid: str
    shown: str
    variable: str = CUDA
    free: float = 1.0

    @property
    def is_part(self) -> bool:
        """Whether it is a part of a device; a process sees at most one."""
        return self.uuid.startswith("MIG-")


@cache
def visible_gpus() -> list[str]:
    """Names of the GPUs that a step may claim here."""
    return [gpu.shown for gpu in _gpus()]


@contextmanager
def claimed_gpus(count: int = 1) -> Iterator[None]:
    """Hold GPUs and show them alone to CUDA or ROCm; do nothing where there is none, or none is to be seen.

    Of what CUDA_VISIBLE_DEVICES or ROCR_VISIBLE_DEVICES hold already, it takes no others. The locks are the system's,
    so that those of a dead process are free at once. All are taken or none, so that two processes never wait for each
    other.

    Raises:
        UserError: there are fewer, other programs fill them, or PyTorch cannot use them.
    """
    gpus = _gpus()
    if not gpus:
        if not _hidden():
            require_usable(count)
        yield
        return
    looks = 0
    while True:
        _check_number(gpus, count)
        with ExitStack() as held:
            free, full = _free(gpus, count, held)
            if len(free) == count:
                held.enter_context(_shown(free))
                note(f"on GPU {', '.join(gpu.shown for gpu in free)}")
                require_usable(count)
                yield
                return
        looks += 1
        if looks > PATIENCE and len(gpus) - len(full) < count:
            raise UserError(_filled(full, count))
        if looks == 1:
            note(f"of {len(gpus)} GPUs fewer than {count} are free; waiting")
        time.sleep(PAUSE)
        gpus = _gpus()


def require_usable(count: int) -> None:
    """Make sure that PyTorch computes on the GPUs that are shown to it.

    Raises:
        UserError: it does not; says for what it was built, and the driver.
    """
    import torch

    try:
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        reason = f"it sees {found} of {count}"
        if found >= count:
            torch.zeros(1, device="cuda")
            return
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
    built = torch.version.cuda or torch.version.hip
    given = f" with {CUDA}={os.environ[CUDA]}" if CUDA in os.environ else ""
    what = f"PyTorch {torch.__version__} cannot use the claimed GPUs{given} ({reason})."
    remedy = (
        f"It is built for {'CUDA or ROCm ' + built if built else 'processors alone'}; the driver is {_driver()}. "
        f"Install a PyTorch that goes with it, or set {CUDA}= to compute on the CPU."
    )
    raise UserError(Problem("GPU", what, remedy))


def _gpus() -> list[Gpu]:
    """The GPUs that CUDA or ROCm would see, in their order."""
    devices = _of_nvidia()
    given = os.environ.get(CUDA)
    if not devices:
        return _of_amd()
    if given is None:
        return [part for device in devices for part in device]
    named: list[Gpu] = []
    for name in map(str.strip, given.split(",")):
        gpu = _named(devices, name)
        if gpu is None or gpu.uuid in [each.uuid for each in named]:  # CUDA ignores what follows
            break
        named.append(gpu)
    return named


def _named(devices: Sequence[Sequence[Gpu]], name: str) -> Gpu | None:
    """The device, or part, of a number or of the beginning of a UUID."""
    if name.isdigit():
        found = [devices[int(name)][0]] if int(name) < len(devices) else []
    else:
        found = [part for device in devices for part in device if name and part.uuid.startswith(name)]
    return Gpu(found[0].uuid, name, free=found[0].free) if len(found) == 1 else None


def _hidden() -> bool:
    """Whether a process without GPUs is as it should be: none is here, or none is to be seen."""
    given = [os.environ[name] for name in (CUDA, ROCM, "HIP_VISIBLE_DEVICES") if name in os.environ]
    if given:
        return all(each in NONE for each in given)
    return not any(Path("/dev").glob("nvidia[0-9]*"))


def _check_number(gpus: Sequence[Gpu], count: int) -> None:
    parts = [gpu for gpu in gpus if gpu.is_part]
    usable = len(gpus) - len(parts) if count > 1 else len(gpus)
    if usable >= count:
        return
    what = f"devices: {count}, but there are {usable} GPUs for it."
    if given := os.environ.get(CUDA):
        what = f"devices: {count}, but there are {usable} GPUs for it in {CUDA}={given}."
    remedy = "Lower it, or ask the scheduler for more."
    if parts:
        remedy = "A process sees one part (MIG) of a device at most: set devices: 1."
    raise UserError(Problem("config, models", what, remedy))


def _filled(full: Sequence[Gpu], count: int) -> Problem:
    names = ", ".join(f"{gpu.shown} ({100 * gpu.free:.0f} % free)" for gpu in full)
    what = f"other programs fill the memory of {names}, so that fewer than {count} GPUs are left."
    return Problem("GPU", what, f"End them (nvidia-smi shows which), or set {CUDA} to other devices.")


@contextmanager
def _shown(gpus: Sequence[Gpu]) -> Iterator[None]:
    """Show these GPUs alone to this process and those that it starts."""
    name = gpus[0].variable
    before = os.environ.get(name)
    os.environ[name] = ",".join(gpu.shown for gpu in gpus)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _of_nvidia() -> list[list[Gpu]]:
    """The devices of NVIDIA that can be opened, each as its parts, or whole."""
    with _nvml() as library:
        found = []
        for place in range(library.nvmlDeviceGetCount() if library else 0):
            with suppress(library.NVMLError):  # those of other containers and jobs are counted too
                found.append(_parts(library, library.nvmlDeviceGetHandleByIndex(place)))
        return [parts for parts in found if parts]


def _parts(library: Any, device: Any) -> list[Gpu]:
    handles = [device]
    with suppress(library.NVMLError):  # most devices cannot be divided
        if library.nvmlDeviceGetMigMode(device)[0]:
            handles = []
            for place in range(library.nvmlDeviceGetMaxMigDeviceCount(device)):
                with suppress(library.NVMLError):  # places may be empty
                    handles.append(library.nvmlDeviceGetMigDeviceHandleByIndex(device, place))
    gpus = []
    for handle in handles:
        uuid, free = library.nvmlDeviceGetUUID(handle), 1.0
        with suppress(library.NVMLError):  # a device may share the memory of the processor
            memory = library.nvmlDeviceGetMemoryInfo(handle)
            free = memory.free / memory.total
        gpus.append(Gpu(uuid, uuid, free=free))
    return gpus


def _driver() -> str:
    with _nvml() as library:
        return f"NVIDIA {library.nvmlSystemGetDriverVersion()}" if library else "not found, or not NVIDIA's"


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVIDIA's library of devices; None without it or its driver."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _of_amd() -> list[Gpu]:
    """The devices of AMD that can be opened; none where a variable says already which are to be seen."""
    if any(name in os.environ for name in (CUDA, ROCM, "HIP_VISIBLE_DEVICES")):
        return []
    found: list[Gpu] = []
    for node in sorted(KFD.glob("[0-9]*"), key=lambda path: int(path.name)):
        with suppress(OSError, ValueError):  # those of other containers cannot be read
            lines = (line.split() for line in (node / "properties").read_text().splitlines())
            values = {name: int(value) for name, value in lines}
            if values.get("simd_count"):
                known = values.get("unique_id", 0)
                name = f"GPU-{known:016x}" if known else str(len(found))
                found.append(Gpu(name, name, ROCM))
    return found


def _free(gpus: Sequence[Gpu], count: int, held: ExitStack) -> tuple[list[Gpu], list[Gpu]]:
    """Lock at most ``count`` GPUs, those first that are used least; also gives those that only other programs fill."""
    free: list[Gpu] = []
    full: list[Gpu] = []
    whole = [gpu for gpu in gpus if count == 1 or not gpu.is_part]
    for gpu in sorted(whole, key=lambda gpu: -round(gpu.free, 1)):
        name = gpu.uuid.replace("/", "_")
        handle = _opened(Path(tempfile.gettempdir()) / f"tilewright-gpu-{name}.lock")
        held.callback(os.close, handle)
        held.enter_context(kept_from_children(handle))
        try:
            take(handle)
        except BlockingIOError:
            continue
        except OSError as error:
            note(f"{tempfile.gettempdir()} gives no locks ({error.strerror}): other processes may use GPU {gpu.shown}")
        (full if gpu.free < SPARE else free).append(gpu)
        if len(free) == count:
            break
    return free, full


def _opened(path: Path) -> int:
    """Open a lock file for reading, which suffices: it may belong to another user, who may not let it be written."""
    while True:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            with suppress(FileExistsError), path.open("x"):
                path.chmod(0o644)
