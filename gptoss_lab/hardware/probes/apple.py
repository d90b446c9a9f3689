"""Apple silicon: the chip, and how much of the memory its GPU may take.

Metal says the limit itself; where it cannot be asked, a limit set by hand, else the share seen on such machines.
"""

import ctypes
import re

from gptoss_lab.facts.chips import bandwidth_gb_s
from gptoss_lab.hardware.machine import Gpu, Reading
from gptoss_lab.hardware.probes.host import Host
from gptoss_lab.text import text

GIB = 2**30
_SMALL_SHARE, _LARGE_SHARE, _LARGE_FROM_GIB = 2 / 3, 3 / 4, 36  # default limits seen on 16 to 128 GB machines


def apple(host: Host, ram_total_gib: float | None, ram_free_gib: float | None) -> tuple[list[Gpu], dict[str, Reading]]:
    """Return the GPU of an Apple chip and the reading `apple`; an Intel Mac has none that Ollama uses."""
    chip = host.sysctl("machdep.cpu.brand_string")
    if host.machine != "arm64" and not chip.startswith("Apple"):
        return [], {"apple": Reading(None, "sysctl", text("hardware.intel_mac"))}
    limit = _limit(host, ram_total_gib or 0.0)
    free = min(limit.value, ram_free_gib if ram_free_gib is not None else limit.value)
    gpu = Gpu(chip or "Apple silicon", "apple", limit.value, free, bandwidth_gb_s(chip), unified=True)
    return [gpu], {"apple": limit}


def _limit(host: Host, total_gib: float) -> Reading:
    """Return how many GiB the GPU may take."""
    said = _metal_bytes() if host.root.as_posix() == "/" and host.system == "Darwin" else 0
    if said:
        return Reading(said / GIB, "Metal recommendedMaxWorkingSetSize")
    by_hand = re.match(r"[1-9]\d*", host.sysctl("iogpu.wired_limit_mb"))
    if by_hand:
        return Reading(int(by_hand.group()) / 1024, "sysctl iogpu.wired_limit_mb")
    share = _LARGE_SHARE if total_gib >= _LARGE_FROM_GIB else _SMALL_SHARE
    return Reading(total_gib * share, text("hardware.estimate"), text("hardware.metal_unknown"))


def _metal_bytes() -> int:
    """Ask Metal through the Objective-C runtime; 0 when it cannot be asked."""
    try:
        ctypes.CDLL("/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics")  # else Metal names no device
        metal = ctypes.CDLL("/System/Library/Frameworks/Metal.framework/Metal")
        objc = ctypes.CDLL("/usr/lib/libobjc.A.dylib")
        metal.MTLCreateSystemDefaultDevice.restype = ctypes.c_void_p
        device = metal.MTLCreateSystemDefaultDevice()
        objc.sel_registerName.restype = ctypes.c_void_p
        name = objc.sel_registerName(b"recommendedMaxWorkingSetSize")
        ask = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)(("objc_msgSend", objc))
        return int(ask(device, name)) if device else 0
    except Exception:  # no Metal, an older system, or a sandbox
        return 0
