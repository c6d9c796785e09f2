"""AMD SMI's Python package with one card, whose state stands in a file: JSON, named by FAKE_AMDSMI.

An answer that is not in the file is the word N/A, or an error where the whole question is missing. `energy` is a list
of ticks, of which each question takes the next and the last stays.
"""

import json
import os
from pathlib import Path
from types import SimpleNamespace

AmdSmiClkType = SimpleNamespace(GFX="gfx", MEM="mem")
AmdSmiTemperatureType = SimpleNamespace(JUNCTION="junction")
AmdSmiTemperatureMetric = SimpleNamespace(CURRENT="current")
AmdSmiMemoryType = SimpleNamespace(VRAM="vram")
asked = 0


class AmdSmiException(Exception):  # noqa: N818 - AMD's name
    """What the library cannot tell."""


def _state():
    return json.loads(Path(os.environ["FAKE_AMDSMI"]).read_text())


def _of(name):
    state = _state()
    if name not in state:
        raise AmdSmiException(name)
    return state[name]


def amdsmi_init():
    if "FAKE_AMDSMI" not in os.environ:
        raise AmdSmiException("no driver")


def amdsmi_shut_down():
    pass


def amdsmi_get_processor_handles():
    return ["card"]


def amdsmi_get_gpu_asic_info(handle):
    return {"market_name": "AMD Instinct MI999", "asic_serial": _state().get("serial", "N/A")}


def amdsmi_get_gpu_memory_total(handle, kind):
    return 16 * 2**30


def amdsmi_get_gpu_driver_info(handle):
    return {"driver_name": "amdgpu", "driver_version": "6.16"}


def amdsmi_get_clock_info(handle, kind):
    return {"clk": _of("clk"), "max_clk": _of("max_clk")}


def amdsmi_get_temp_metric(handle, kind, metric):
    return _of("temperature")


def amdsmi_get_power_cap_info(handle):
    return {"power_cap": _of("cap")}


def amdsmi_get_power_info(handle):
    return {"current_socket_power": "N/A", "average_socket_power": _of("watts")}


def amdsmi_get_gpu_activity(handle):
    return {"gfx_activity": _of("busy")}


def amdsmi_get_gpu_metrics_info(handle):
    return {"indep_throttle_status": _state().get("throttle", "N/A")}


def amdsmi_get_gpu_process_list(handle):
    return [{"pid": pid} for pid in _of("processes")]


def amdsmi_get_energy_count(handle):
    global asked
    ticks = _of("energy")
    asked += 1
    return {"energy_accumulator": ticks[min(asked, len(ticks)) - 1], "counter_resolution": 15.3, "timestamp": asked}
