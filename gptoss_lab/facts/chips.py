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
    "RX 6800 XT": (512, _AMD), "RX 6800": (512, _AMD), "RX 6700 XT": (384, _AMD), "RX 6600": (224, _AMD),
    "W7900": (864, _AMD), "W7800": (576, _AMD),
    "MI50": (1024, _AMD), "MI100": (1229, _AMD), "MI210": (1638, _AMD), "MI300X": (5300, _AMD),
    "B580": (456, _INTEL), "B570": (380, _INTEL), "A770": (560, _INTEL), "A750": (512, _INTEL), "B50": (224, _INTEL),
}  # fmt: skip

# Linux names a card by its PCI number alone (https://pci-ids.ucw.cz); memory in GiB tells those apart that share one.
AMD_CARDS = {
    ("0x744c", 24): "AMD Radeon RX 7900 XTX", ("0x744c", 20): "AMD Radeon RX 7900 XT",
    ("0x744c", 16): "AMD Radeon RX 7900 GRE", ("0x747e", 16): "AMD Radeon RX 7800 XT",
    ("0x747e", 12): "AMD Radeon RX 7700 XT", ("0x7480", 16): "AMD Radeon RX 7600 XT",
    ("0x7480", 8): "AMD Radeon RX 7600", ("0x73bf", 16): "AMD Radeon RX 6800", ("0x73df", 12): "AMD Radeon RX 6700 XT",
    ("0x73ff", 8): "AMD Radeon RX 6600", ("0x7550", 16): "AMD Radeon RX 9070", ("0x7590", 16): "AMD Radeon RX 9060 XT",
    ("0x7590", 8): "AMD Radeon RX 9060 XT", ("0x7551", 32): "AMD Radeon AI PRO R9700",
    ("0x7448", 48): "AMD Radeon PRO W7900", ("0x66a1", 32): "AMD Instinct MI50", ("0x738c", 32): "AMD Instinct MI100",
    ("0x740f", 64): "AMD Instinct MI210", ("0x74a1", 192): "AMD Instinct MI300X",
}  # fmt: skip
INTEL_CARDS = {  # with their memory in GiB, which the driver tells only in part
    "0x56a0": ("Intel Arc A770", 16), "0x56a1": ("Intel Arc A750", 8), "0xe20b": ("Intel Arc B580", 12),
    "0xe20c": ("Intel Arc B570", 10), "0xe212": ("Intel Arc Pro B50", 16),
}  # fmt: skip


def bandwidth_gb_s(name: str) -> float | None:
    """Return a chip's memory bandwidth by its name; None for one that is not listed."""
    listed = (chip for chip in BANDWIDTH_GB_S if re.search(rf"{re.escape(chip)}(?![A-Za-z0-9])", name))
    longest = max(listed, key=len, default=None)
    return float(BANDWIDTH_GB_S[longest][0]) if longest else None
