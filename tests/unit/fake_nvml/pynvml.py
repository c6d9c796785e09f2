"""A driver's library with two cards, in the order opposite to CUDA's, whose state stands in a file.

The file is JSON, named by the environment variable FAKE_NVML: a dictionary for each UUID. A card that is divided has
`parts`, a dictionary for each one's UUID.
"""

import json
import os
from pathlib import Path
from types import SimpleNamespace

NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
nvmlClocksThrottleReasonGpuIdle = 1  # noqa: N816 - NVML's names
nvmlClocksThrottleReasonSwPowerCap = 4  # noqa: N816
nvmlClocksThrottleReasonHwSlowdown = 8  # noqa: N816
nvmlClocksThrottleReasonSwThermalSlowdown = 32  # noqa: N816
nvmlClocksThrottleReasonHwThermalSlowdown = 64  # noqa: N816
nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 128  # noqa: N816


class NVMLError(Exception):
    """What a card or a driver cannot tell."""


def _cards():
    return json.loads(Path(os.environ["FAKE_NVML"]).read_text())


def _parts(uuid):
    return _cards().get(uuid, {}).get("parts", {})


def _card_of(part):
    return next((card for card in _cards() if part in _parts(card)), None)


def _of(uuid, name):
    facts = _cards().get(uuid) or _parts(_card_of(uuid))[uuid]
    if name not in facts:
        raise NVMLError(name)
    return facts[name]


def nvmlInit():  # noqa: N802
    if "FAKE_NVML" not in os.environ:
        raise NVMLError("no driver")


def nvmlShutdown():  # noqa: N802
    pass


def nvmlSystemGetDriverVersion():  # noqa: N802
    return "580.1"


def nvmlDeviceGetCount():  # noqa: N802
    return len(_cards())


def nvmlDeviceGetHandleByIndex(index):  # noqa: N802
    return list(_cards())[index]


def nvmlDeviceGetHandleByUUID(uuid):  # noqa: N802
    if uuid not in _cards() and _card_of(uuid) is None:
        raise NVMLError("not found")
    return uuid


def nvmlDeviceGetMigMode(handle):  # noqa: N802
    return [int("parts" in _cards()[handle])] * 2


def nvmlDeviceGetMaxMigDeviceCount(handle):  # noqa: N802
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(handle, index):  # noqa: N802
    if index >= len(_parts(handle)):
        raise NVMLError("not found")
    return list(_parts(handle))[index]


def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle):  # noqa: N802
    if _card_of(handle) is None:
        raise NVMLError("a card")
    return _card_of(handle)


def nvmlDeviceGetAttributes(handle):  # noqa: N802
    return SimpleNamespace(gpuInstanceSliceCount=1, memorySizeMB=9984)


def nvmlDeviceGetUUID(handle):  # noqa: N802
    return handle


def nvmlDeviceGetName(handle):  # noqa: N802
    return "A card" if handle in _cards() else _parts(_card_of(handle))[handle].get("name", "A card")


def nvmlDeviceGetMemoryInfo(handle):  # noqa: N802
    if _cards().get(handle, {}).get("unified"):
        raise NVMLError("not supported")
    return SimpleNamespace(total=2**30 if handle in _cards() else 2**27)


def nvmlDeviceGetClockInfo(handle, kind):  # noqa: N802
    return _of(handle, "clock")


def nvmlDeviceGetMaxClockInfo(handle, kind):  # noqa: N802
    return _of(handle, "most")


def nvmlDeviceGetTemperature(handle, kind):  # noqa: N802
    return _of(handle, "temperature")


def nvmlDeviceGetPowerManagementLimit(handle):  # noqa: N802
    return _of(handle, "limit")


def nvmlDeviceGetPowerUsage(handle):  # noqa: N802
    return _of(handle, "power")


def nvmlDeviceGetCurrentClocksThrottleReasons(handle):  # noqa: N802
    return _of(handle, "reasons")


def nvmlDeviceGetComputeRunningProcesses(handle):  # noqa: N802
    return [SimpleNamespace(pid=pid) for pid in _of(handle, "pids")]


def nvmlDeviceGetTotalEnergyConsumption(handle):  # noqa: N802
    return _of(handle, "energy")


def nvmlDeviceGetViolationStatus(handle, policy):  # noqa: N802
    return SimpleNamespace(violationTime=_of(handle, "violations")[str(policy)])
