"""A library of devices that are not there: FAKE_GPUS is a list of their uuid, free, mig and closed, in JSON."""

import json
import os
from types import SimpleNamespace


class NVMLError(Exception):
    pass


def nvmlInit():  # noqa: N802
    if "FAKE_GPUS" not in os.environ:
        raise NVMLError("Driver Not Loaded")


def nvmlShutdown():  # noqa: N802
    pass


def nvmlSystemGetDriverVersion():  # noqa: N802
    return "575.57"


def nvmlDeviceGetCount():  # noqa: N802
    return len(devices())


def nvmlDeviceGetHandleByIndex(place):  # noqa: N802
    device = devices()[place]
    if device.get("closed"):
        raise NVMLError("Insufficient Permissions")
    return device


def nvmlDeviceGetUUID(device):  # noqa: N802
    return device["uuid"]


def nvmlDeviceGetMigMode(device):  # noqa: N802
    if "mig" not in device:
        raise NVMLError("Not Supported")
    return [bool(device["mig"]), bool(device["mig"])]


def nvmlDeviceGetMaxMigDeviceCount(device):  # noqa: N802
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(device, place):  # noqa: N802
    if place >= len(device["mig"]):
        raise NVMLError("Not Found")
    return {"uuid": device["mig"][place]}


def nvmlDeviceGetMemoryInfo(device):  # noqa: N802
    if device.get("free") == "shared":
        raise NVMLError("Not Supported")
    return SimpleNamespace(free=int(80e9 * device.get("free", 1)), total=int(80e9))


def devices():
    return json.loads(os.environ["FAKE_GPUS"])
