"""Memory bandwidth of chips that do not tell it themselves, in GB/s, as their makers state it."""

import re

_APPLE = "https://support.apple.com/specs"
_NVIDIA = "https://www.nvidia.com/en-us/products/workstations/dgx-spark/"
_JETSON = "https://developer.nvidia.com/embedded/jetson-modules"
_AMD = "https://www.amd.com/en/products/specifications/graphics.html"
_INTEL = "https://www.intel.com/content/www/us/en/products/details/discrete-gpus/arc.html"
AS_OF = "2026-11-23"

# Where a chip was sold with two memories, the slower one.
BANDWIDTH_GB_S = {
    "Apple M1 Ultra": (800, _APPLE), "Apple M1 Max": (400, _APPLE), "Apple M1 Pro": (200, _APPLE),
    "Apple M1": (68, _APPLE), "Apple M2 Ultra": (800, _APPLE), "Apple M2 Max": (400, _APPLE),
    "Apple M2 Pro": (200, _APPLE), "Apple M2": (100, _APPLE), "Apple M3 Ultra": (819, _APPLE),
    "Apple M3 Max": (300, _APPLE), "Apple M3 Pro": (150, _APPLE), "Apple M3": (100, _APPLE),
    "Apple M4 Max": (410, _APPLE), "Apple M4 Pro": (273, _APPLE), "Apple M4": (120, _APPLE),
    "Apple M5 Max": (460, _APPLE), "Apple M5 Pro": (307, _APPLE), "Apple M5": (153, _APPLE),
    "GB10": (273, _NVIDIA), "Thor": (273, _JETSON), "AGX Orin": (204, _JETSON), "Orin NX": (102, _JETSON),
    "Orin Nano": (68, _JETSON), "Ryzen AI Max": (256, _AMD), "8060S": (256, _AMD),
    "RX 9070 XT": (640, _AMD), "RX 9070": (640, _AMD), "RX 9060 XT": (320, _AMD), "R9700": (640, _AMD),
    "RX 7900 XTX": (960, _AMD), "RX 7900 XT": (800, _AMD), "RX 7900 GRE": (576, _AMD), "RX 7800 XT": (624, _AMD),
    "RX 7700 XT": (432, _AMD), "RX 7600 XT": (288, _AMD), "RX 7600": (288, _AMD), "RX 6900 XT": (512, _AMD),
    "RX 6800": (512, _AMD), "RX 6700 XT": (384, _AMD), "W7900": (864, _AMD), "W7800": (576, _AMD),
    "MI50": (1024, _AMD), "MI100": (1229, _AMD), "MI210": (1638, _AMD), "MI300X": (5300, _AMD),
    "B580": (456, _INTEL), "B570": (380, _INTEL), "A770": (560, _INTEL), "A750": (512, _INTEL), "B50": (224, _INTEL),
}  # fmt: skip


def bandwidth_gb_s(name: str) -> float | None:
    """Return a chip's memory bandwidth by its name; None for one that is not listed."""
    listed = (chip for chip in BANDWIDTH_GB_S if re.search(rf"{re.escape(chip)}(?![A-Za-z0-9])", name))
    longest = max(listed, key=len, default=None)
    return float(BANDWIDTH_GB_S[longest][0]) if longest else None
