"""A driver's library with two cards, in the order opposite to CUDA's, whose state stands in a file.

The file is JSON, named by the environment variable FAKE_NVML: a dictionary for each UUID.
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


def _of(uuid, name):
    if name not in _cards()[uuid]:
        raise NVMLError(name)
    return _cards()[uuid][name]


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
    return uuid


def nvmlDeviceGetUUID(handle):  # noqa: N802
    return handle


def nvmlDeviceGetName(handle):  # noqa: N802
    return "A card"


def nvmlDeviceGetMemoryInfo(handle):  # noqa: N802
    return SimpleNamespace(total=2**30)


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
