"""The card that a framework computes on, as CUDA's driver tells of it; asking takes none of its memory."""

import ctypes
import uuid

from epochbench.timing.devices.drivers import nvidia
from epochbench.timing.record import Gpu

LIBRARY = "libcuda.so.1"


def first() -> Gpu | None:
    """Return the first card of CUDA's own order, which frameworks take; None where there is no driver or no card."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    device, size = ctypes.c_int(), ctypes.c_size_t()
    name, identity = ctypes.create_string_buffer(256), ctypes.create_string_buffer(16)
    # cuda.h: each returns 0 where all went well. Of a part of a card the second version tells its own identity.
    asked = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetName(name, len(name), device)
        or driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        or driver.cuDeviceGetUuid_v2(identity, device)
    )
    if asked:
        return None
    return nvidia.found_as(name.value.decode(), str(uuid.UUID(bytes=identity.raw)), size.value)
