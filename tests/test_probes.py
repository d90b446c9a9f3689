"""The probes, on staged machines: every trap on the way from "psutil says 64 GB" to what a program may really take.

Faults are staged at the boundary: a tree of files in place of /proc and /sys, and stand-ins for `pynvml`, `psutil` and
`winreg`. The stand-in for NVML raises the real package's errors.
"""

import ctypes
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pynvml
import pytest

from gptoss_lab.facts.chips import BANDWIDTH_GB_S, bandwidth_gb_s
from gptoss_lab.hardware import detect, fit
from gptoss_lab.hardware.machine import Machine
from gptoss_lab.hardware.probes import bandwidth
from gptoss_lab.hardware.probes.host import Host
from gptoss_lab.text import LANGUAGES

GIB = 2**30
HUGE = str(9223372036854771712)


def staged(root: Path, files: dict[str, str | bytes], system: str = "Linux", **more: Any) -> Host:
    """Return a host whose file system holds these files and nothing else."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    options = {"machine": "x86_64", "env": {"HOME": str(root / "home")}, "sysctl": lambda name: "", **more}
    return Host(system=system, root=root, **options)


class Nvml(ModuleType):
    """A stand-in for pynvml: the real errors, and cards as they are described."""

    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM

    def __init__(self, *cards: dict[str, Any], start: Exception | None = None, driver: Any = "570.86") -> None:
        super().__init__("pynvml")
        self.cards, self.start, self.driver, self.open = cards, start, driver, False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("NVMLError"):
            return getattr(pynvml, name)
        if name.startswith("nvmlDeviceGet"):
            return lambda handle, *_: self._told(handle, name.removeprefix("nvmlDeviceGet"))
        raise AttributeError(name)

    @staticmethod
    def _told(card: dict[str, Any], what: str) -> Any:
        value = card.get(what, pynvml.NVMLError_NotSupported())
        if isinstance(value, Exception):
            raise value
        return value

    def nvmlInit(self) -> None:
        if self.start:
            raise self.start
        self.open = True

    def nvmlShutdown(self) -> None:
        self.open = False

    def nvmlSystemGetDriverVersion(self) -> Any:
        return self.driver

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self.cards[index]

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: dict[str, Any], index: int) -> Any:
        return card["instances"][index]


def card(
    name: Any, gib: float, bits: int = 384, mhz: int = 10_501, compute: tuple[int, int] = (8, 9)
) -> dict[str, Any]:
    return {
        "Name": name, "MemoryInfo": SimpleNamespace(total=gib * GIB, free=gib * GIB * 0.9), "MemoryBusWidth": bits,
        "MaxClockInfo": mhz, "CudaComputeCapability": compute,
    }  # fmt: skip


@pytest.fixture
def psutil_says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def say(total: float = 64, free: float = 58, **more: Any) -> None:
        fake = ModuleType("psutil")
        fake.virtual_memory = lambda: SimpleNamespace(total=total * GIB, available=free * GIB)  # type: ignore[attr-defined]
        fake.swap_memory = lambda: SimpleNamespace(total=8 * GIB)  # type: ignore[attr-defined]
        fake.cpu_count = lambda logical: 8  # type: ignore[attr-defined]
        fake.sensors_battery = lambda: None  # type: ignore[attr-defined]
        vars(fake).update(more)
        monkeypatch.setitem(sys.modules, "psutil", fake)

    say()
    return say


@pytest.fixture(autouse=True)
def no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(start=pynvml.NVMLError_LibraryNotFound()))


def with_cards(monkeypatch: pytest.MonkeyPatch, *cards: dict[str, Any], **more: Any) -> Nvml:
    nvml = Nvml(*cards, **more)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


# --- memory and its limits --------------------------------------------------------------------------------------------

V2 = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": str(4 * GIB), "sys/fs/cgroup/memory.current": str(GIB)}
V1 = {
    "proc/self/cgroup": "11:cpu,cpuacct:/x\n5:memory:/docker/abc\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": str(4 * GIB),
    "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB),
}
NESTED = {
    "proc/self/cgroup": "0::/user.slice/course.scope/kernel\n",
    "sys/fs/cgroup/user.slice/memory.max": "max\n",
    "sys/fs/cgroup/user.slice/course.scope/memory.max": str(4 * GIB),
    "sys/fs/cgroup/user.slice/course.scope/memory.current": str(GIB),
    "sys/fs/cgroup/user.slice/course.scope/kernel/memory.max": str(40 * GIB),
}


@pytest.mark.parametrize("files", [V2, V1, NESTED], ids=["v2", "v1", "nested"])
@pytest.mark.usefixtures("psutil_says")
def test_four_gigabytes_of_a_container_on_a_large_machine(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    machine = detect(staged(tmp_path, files))
    assert machine.ram_total_gib == 4 and machine.ram_free_gib == 3
    assert machine.readings["ram_total"].reason and machine.readings["ram_limit"].value == 4
    assert fit(machine, "gpt-oss:20b").placement == "no"


@pytest.mark.usefixtures("psutil_says")
def test_file_cache_counts_as_free(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {**V2, "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {GIB // 2}\n"}
    assert detect(staged(tmp_path, files)).ram_free_gib == 3.5


@pytest.mark.usefixtures("psutil_says")
def test_file_cache_of_inner_groups_counts_with_version_1(tmp_path: Path) -> None:
    stat = f"inactive_file 7\ntotal_inactive_file {GIB // 2}\n"
    assert detect(staged(tmp_path, {**V1, "sys/fs/cgroup/memory/memory.stat": stat})).ram_free_gib == 3.5


@pytest.mark.usefixtures("psutil_says")
def test_a_large_limit_that_others_have_used_up_still_limits(tmp_path: Path) -> None:
    files = {**NESTED, "sys/fs/cgroup/user.slice/memory.max": str(40 * GIB)}
    machine = detect(staged(tmp_path, {**files, "sys/fs/cgroup/user.slice/memory.current": str(39 * GIB)}))
    assert (machine.ram_total_gib, machine.ram_free_gib) == (4, 1)


@pytest.mark.usefixtures("psutil_says")
def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {**V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": HUGE}
    machine = detect(staged(tmp_path, files))
    assert machine.ram_total_gib == 64 and "ram_limit" not in machine.readings


@pytest.mark.usefixtures("psutil_says")
def test_a_larger_limit_than_the_machine_has_changes_nothing(tmp_path: Path) -> None:
    machine = detect(staged(tmp_path, {**V2, "sys/fs/cgroup/memory.max": str(512 * GIB)}))
    assert (machine.ram_total_gib, machine.ram_free_gib) == (64, 58)


@pytest.mark.usefixtures("psutil_says")
def test_jupyterhub_says_and_swap_is_never_counted(tmp_path: Path) -> None:
    machine = detect(staged(tmp_path, {}, env={"MEM_LIMIT": str(2 * GIB), "HOME": str(tmp_path)}))
    assert machine.readings["jupyter_limit"].value == 2 and machine.readings["swap"].value == 8
    assert machine.ram_total_gib == 64


@pytest.mark.parametrize("error", [RuntimeError("host_statistics64"), ValueError("MemFree"), SystemError("x")])
def test_psutil_raises_and_the_kernel_is_asked(tmp_path: Path, psutil_says: Any, error: Exception) -> None:
    boom = raising(error)
    psutil_says(virtual_memory=boom, swap_memory=boom, cpu_count=boom, sensors_battery=boom)
    kernel = "MemTotal:       16777216 kB\nMemFree: 100 kB\nMemAvailable:    8388608 kB\n"
    machine = detect(staged(tmp_path, {"proc/meminfo": kernel}))
    assert (machine.ram_total_gib, machine.ram_free_gib, machine.cores) == (16, 8, None)
    assert str(error) in machine.readings["ram_total"].reason
    blind = detect(staged(tmp_path / "empty", {}))
    assert blind.ram_total_gib is None and blind.readings["ram_total"].reason
    assert fit(blind).placement == "no"


def test_windows_itself_is_asked_where_psutil_raises(
    tmp_path: Path, psutil_says: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(where: Any) -> int:
        struct.pack_into("<IIQQ", where._obj, 0, 64, 50, 32 * GIB, 16 * GIB)
        return 1

    psutil_says(virtual_memory=raising(RuntimeError("PDH")))
    kernel = SimpleNamespace(GlobalMemoryStatusEx=answer)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    machine = detect(staged(tmp_path, {}, "Windows"))
    assert (machine.ram_total_gib, machine.ram_free_gib) == (32, 16)


# --- NVIDIA -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "gib", "bits", "mhz", "gb_s"),
    [
        ("NVIDIA GeForce RTX 4090", 24, 384, 10_501, 1_008),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 8, 128, 8_001, 256),
        ("NVIDIA GeForce RTX 3060", 12, 192, 7_501, 360),
        ("NVIDIA H100 80GB HBM3", 80, 5_120, 2_619, 3_352),
    ],
)
@pytest.mark.usefixtures("psutil_says")
def test_bandwidth_from_bus_and_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, gib: float, bits: int, mhz: int, gb_s: float
) -> None:
    nvml = with_cards(monkeypatch, card(name.encode(), gib, bits, mhz))
    machine = detect(staged(tmp_path, {}))
    (gpu,) = machine.gpus
    assert gpu.name == name and gpu.total_gib == gib and gpu.free_gib == pytest.approx(gib * 0.9)
    assert gpu.bandwidth_gb_s == pytest.approx(gb_s, rel=0.002)
    assert not nvml.open and machine.readings["driver"].value == "570.86"


ERRORS = ("LibraryNotFound", "DriverNotLoaded", "LibRmVersionMismatch", "NoPermission", "Unknown")


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.usefixtures("psutil_says")
def test_each_way_nvml_fails_has_words_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    monkeypatch.setenv("GPTOSS_LAB_LANG", lang)
    reasons = set()
    for name in ERRORS:
        with_cards(monkeypatch, start=getattr(pynvml, f"NVMLError_{name}")())
        machine = detect(staged(tmp_path, {}))
        assert machine.gpus == ()
        reasons.add(machine.readings["gpus"].reason)
    assert len(reasons) == len(ERRORS) and "" not in reasons


@pytest.mark.parametrize("error", [OSError("broken library"), AttributeError("no such function")])
@pytest.mark.usefixtures("psutil_says")
def test_a_broken_nvml_is_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with_cards(monkeypatch, start=error)
    machine = detect(staged(tmp_path, {}))
    assert machine.ram_total_gib == 64 and str(error) in machine.readings["gpus"].reason


@pytest.mark.usefixtures("psutil_says")
def test_an_old_pynvml_without_newer_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = with_cards(monkeypatch, card("NVIDIA GeForce RTX 3060", 12))
    monkeypatch.setattr(Nvml, "_told", raising(AttributeError("nvmlDeviceGetMemoryBusWidth")))
    nvml.nvmlDeviceGetMemoryInfo = lambda handle: handle["MemoryInfo"]  # type: ignore[attr-defined]
    (gpu,) = detect(staged(tmp_path, {})).gpus
    assert gpu.total_gib == 12 and gpu.bandwidth_gb_s is None


@pytest.mark.parametrize("broken", ["nvidia", "cards", "memory", "ram_bandwidth"])
@pytest.mark.usefixtures("psutil_says")
def test_a_probe_that_breaks_takes_nothing_else_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setattr(sys.modules["gptoss_lab.hardware.detect"], broken, raising(KeyError("unforeseen")))
    machine = detect(staged(tmp_path, {}))
    assert machine.cores == 8 and machine.disk_free_gb
    assert any("unforeseen" in reading.reason for reading in machine.readings.values())


@pytest.mark.usefixtures("psutil_says")
def test_a_driver_the_container_does_not_see(tmp_path: Path) -> None:
    plain, hidden = (
        detect(staged(tmp_path / "a", {})),
        detect(staged(tmp_path / "b", {"proc/driver/nvidia/version": "x"})),
    )
    assert "--gpus" in hidden.readings["gpus"].reason and "--gpus" not in plain.readings["gpus"].reason


PARENT = {**card("NVIDIA H100 80GB HBM3", 80, 5_120, 2_619, (9, 0)), "MigMode": (1, 1), "MaxMigDeviceCount": 7}


def instance(profile: str, gib: float, uuid: str = "MIG-0") -> dict[str, Any]:
    memory = SimpleNamespace(total=gib * GIB, free=gib * GIB * 0.98)
    return {"Name": f"NVIDIA H100 80GB HBM3 MIG {profile}", "MemoryInfo": memory, "UUID": uuid}


@pytest.mark.parametrize("parent_mode", [PARENT["MigMode"], pynvml.NVMLError_NoPermission()])
@pytest.mark.parametrize("parent_memory", [PARENT["MemoryInfo"], pynvml.NVMLError_NoPermission()])
@pytest.mark.usefixtures("psutil_says")
def test_a_slice_of_a_card_is_a_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent_memory: Any, parent_mode: Any
) -> None:
    slices = [instance("1g.10gb", 9.75), instance("1g.10gb", 9.75), None, None, None, None, None]
    with_cards(monkeypatch, {**PARENT, "MemoryInfo": parent_memory, "MigMode": parent_mode, "instances": slices})
    machine = detect(staged(tmp_path, {}))
    (gpu,) = machine.gpus
    assert gpu.total_gib == 9.75 and gpu.bandwidth_gb_s == pytest.approx(419, rel=0.002) and "mig" in machine.traits
    assert fit(machine, "gpt-oss:20b").placement == "split"


@pytest.mark.usefixtures("psutil_says")
def test_the_slice_that_cuda_names_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = [instance("1g.10gb", 9.75, "MIG-a"), instance("3g.40gb", 39.5, "MIG-b"), *[None] * 5]
    with_cards(monkeypatch, {**PARENT, "instances": slices})
    env = {"HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": "MIG-b"}
    (gpu,) = detect(staged(tmp_path, {}, env=env)).gpus
    assert gpu.total_gib == 39.5 and gpu.bandwidth_gb_s == pytest.approx(3_352 / 2, rel=0.002)


@pytest.mark.usefixtures("psutil_says")
def test_a_slice_with_twice_the_memory_has_twice_the_bandwidth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cards(monkeypatch, {**PARENT, "instances": [instance("1g.20gb", 19.6), *[None] * 6]})
    assert detect(staged(tmp_path, {})).gpus[0].bandwidth_gb_s == pytest.approx(3_352 / 4, rel=0.002)


@pytest.mark.parametrize(
    ("visible", "used"),
    [("1", ["B"]), ("GPU-b", ["B"]), ("", []), ("-1", []), ("1, 0", ["A", "B"]), (None, ["A", "B"])],
)
@pytest.mark.usefixtures("psutil_says")
def test_cards_hidden_from_cuda_are_listed_but_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, used: str
) -> None:
    with_cards(monkeypatch, {**card("A", 24), "UUID": "GPU-a1"}, {**card("B", 12), "UUID": b"GPU-b2"})
    env = {"HOME": str(tmp_path)} | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    machine = detect(staged(tmp_path, {}, env=env))
    assert [gpu.name for gpu in machine.used_gpus] == list(used) and len(machine.gpus) == 2


BOARD = {"proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0", "etc/nv_tegra_release": "# R36"}


@pytest.mark.usefixtures("psutil_says")
def test_a_jetson_has_driver_numbers_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cards(monkeypatch, {"Name": "Orin (nvgpu)", "CudaComputeCapability": (8, 7)}, driver="540.4.0")
    (gpu,) = detect(staged(tmp_path, BOARD)).used_gpus
    assert gpu.unified and (gpu.free_gib, gpu.bandwidth_gb_s) == (58, 204)


@pytest.mark.usefixtures("psutil_says")
def test_a_jetson_without_nvml(tmp_path: Path) -> None:
    (gpu,) = detect(staged(tmp_path, BOARD)).used_gpus
    assert gpu.unified and (gpu.maker, gpu.total_gib, gpu.bandwidth_gb_s) == ("nvidia", 64, 204)


@pytest.mark.parametrize("name", ["NVIDIA GB10", "NVIDIA Thor", "Orin (nvgpu) AGX Orin"])
def test_a_chip_without_memory_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, psutil_says: Any, name: str
) -> None:
    psutil_says(121.7, 115)
    with_cards(monkeypatch, {"Name": name, "CudaComputeCapability": (12, 1)})
    (gpu,) = detect(staged(tmp_path, {})).gpus
    assert gpu.unified and (gpu.total_gib, gpu.free_gib) == (121.7, 115) and gpu.bandwidth_gb_s
    if name == "NVIDIA GB10":
        assert gpu.bandwidth_gb_s == 273
        assert fit(detect(staged(tmp_path, {})), "gpt-oss:120b").placement == "gpu"


@pytest.mark.usefixtures("psutil_says")
def test_a_card_whose_memory_is_secret_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cards(monkeypatch, {**card("NVIDIA A100", 40), "MemoryInfo": pynvml.NVMLError_NoPermission()})
    assert detect(staged(tmp_path, {})).gpus == ()


@pytest.mark.parametrize(
    ("compute", "driver", "used"),
    [
        ((3, 5), "570.1", False),
        ((8, 9), "535.2", False),
        ((6, 1), "560.1", False),
        ((6, 1), "570.1", True),
        ((8, 9), b"550.1", True),
    ],
)
@pytest.mark.usefixtures("psutil_says")
def test_what_ollama_does_not_support_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compute: tuple[int, int], driver: Any, used: bool
) -> None:
    with_cards(monkeypatch, card("NVIDIA card", 24, compute=compute), driver=driver)
    machine = detect(staged(tmp_path, {}))
    assert bool(machine.used_gpus) == used and bool(machine.gpus[0].unused) != used


@pytest.mark.usefixtures("psutil_says")
def test_the_abandoned_shell_is_silent_but_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    shim = "import warnings\nwarnings.warn('The pynvml package is deprecated', FutureWarning)\n"
    shim += "class NVMLError(Exception): pass\nNVML_CLOCK_MEM = 2\n"
    shim += "def nvmlInit(): pass\ndef nvmlShutdown(): pass\n"
    shim += "def nvmlDeviceGetCount(): return 0\ndef nvmlSystemGetDriverVersion(): return '570.1'\n"
    (folder / "pynvml.py").write_text(shim, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "pynvml")
    monkeypatch.syspath_prepend(str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        machine = detect(staged(tmp_path, {}))
    assert "pip uninstall pynvml" in machine.readings["nvidia"].reason


# --- Apple ------------------------------------------------------------------------------------------------------------


def mac(root: Path, chip: str, **values: str) -> Machine:
    known = {
        "machdep.cpu.brand_string": chip,
        **{name.replace("_limit", ".wired_limit"): v for name, v in values.items()},
    }
    return detect(staged(root, {}, "Darwin", machine="arm64", sysctl=lambda name: known.get(name, "")))


@pytest.mark.parametrize(("ram", "pool"), [(16, 10.67), (32, 21.3), (36, 27), (64, 48), (128, 96)])
def test_a_mac_gives_its_gpu_a_share(tmp_path: Path, psutil_says: Any, ram: float, pool: float) -> None:
    psutil_says(ram, ram - 3)
    machine = mac(tmp_path, "Apple M3")
    (gpu,) = machine.gpus
    assert gpu.unified and gpu.total_gib == pytest.approx(pool, rel=0.01) and gpu.bandwidth_gb_s == 100
    assert machine.readings["apple"].reason


def test_a_limit_set_by_hand_on_a_mac(tmp_path: Path, psutil_says: Any) -> None:
    psutil_says(16, 13)
    machine = mac(tmp_path, "Apple M4 Pro", iogpu_limit_mb="14336")
    assert machine.gpus[0].total_gib == 14 and machine.gpus[0].free_gib == 13


def test_a_small_mac_cannot(tmp_path: Path, psutil_says: Any) -> None:
    psutil_says(8, 5.5)
    assert fit(mac(tmp_path, "Apple M2")).placement == "no"


@pytest.mark.usefixtures("psutil_says")
def test_a_mac_with_an_intel_processor(tmp_path: Path) -> None:
    host = staged(tmp_path, {}, "Darwin", sysctl=lambda name: "Intel(R) Core(TM) i7" if "brand" in name else "")
    machine = detect(host)
    assert machine.gpus == () and machine.readings["gpus"].reason


# --- AMD and Intel ----------------------------------------------------------------------------------------------------


def drm(vendor: str, **files: int | str) -> dict[str, str | bytes]:
    base = "sys/class/drm/card1/device"
    return {f"{base}/vendor": vendor + "\n", **{f"{base}/{name}": str(value) for name, value in files.items()}}


@pytest.mark.usefixtures("psutil_says")
def test_an_amd_card(tmp_path: Path) -> None:
    files = drm("0x1002", mem_info_vram_total=20 * GIB, mem_info_vram_used=GIB, product_name="AMD Radeon RX 7900 XT\n")
    (gpu,) = detect(staged(tmp_path, files)).gpus
    assert (gpu.total_gib, gpu.free_gib, gpu.bandwidth_gb_s, gpu.unused) == (20, 19, 800, "")


@pytest.mark.parametrize(("gib", "name", "gb_s"), [(24, "RX 7900 XTX", 960), (20, "RX 7900 XT", 800), (7, "GPU", None)])
@pytest.mark.usefixtures("psutil_says")
def test_an_amd_card_that_tells_only_its_number(tmp_path: Path, gib: int, name: str, gb_s: float | None) -> None:
    (gpu,) = detect(staged(tmp_path, drm("0x1002", device="0x744c\n", mem_info_vram_total=gib * GIB))).used_gpus
    assert gpu.name.endswith(name) and gpu.bandwidth_gb_s == gb_s


@pytest.mark.parametrize(
    ("number", "cpu", "gib", "used"),
    [
        ("0x164e", "AMD Ryzen 9 7950X 16-Core Processor", 0.5, False),
        ("0x15bf", "AMD Ryzen 7 8700G w/ Radeon 780M Graphics", 16, False),
        ("0x9874", "AMD A10-8700P Radeon R6", 1, False),
        ("0x67df", "AMD Ryzen 5 5600G with Radeon Graphics", 4, True),
    ],
)
@pytest.mark.usefixtures("psutil_says")
def test_the_number_tells_integrated_graphics_from_a_small_card(
    tmp_path: Path, number: str, cpu: str, gib: float, used: bool
) -> None:
    files = drm("0x1002", device=number, mem_info_vram_total=int(gib * GIB))
    machine = detect(staged(tmp_path, {**files, "proc/cpuinfo": f"model name\t: {cpu}\n"}))
    assert len(machine.gpus) == 1 and bool(machine.used_gpus) == used


STRIX = "model name\t: AMD RYZEN AI MAX+ 395 w/ Radeon 8060S\n"


def test_strix_halo_maps_far_more_than_the_carve_out(tmp_path: Path, psutil_says: Any) -> None:
    psutil_says(125, 118)
    files = drm("0x1002", mem_info_vram_total=GIB // 2, mem_info_gtt_total=110 * GIB, mem_info_gtt_used=2 * GIB)
    machine = detect(staged(tmp_path, {**files, "proc/cpuinfo": STRIX}))
    (gpu,) = machine.used_gpus
    assert gpu.unified and gpu.total_gib == 110 and gpu.free_gib == 108 and "strix-halo" in machine.traits
    assert gpu.bandwidth_gb_s == 256 and fit(machine, "gpt-oss:120b").placement == "gpu"


def test_strix_halo_with_memory_set_aside_for_it(tmp_path: Path, psutil_says: Any) -> None:
    psutil_says(31, 26)
    files = drm("0x1002", device="0x1586", mem_info_vram_total=96 * GIB, mem_info_gtt_total=15 * GIB)
    machine = detect(staged(tmp_path, {**files, "proc/cpuinfo": STRIX}))
    assert machine.used_gpus[0].total_gib == 96 and fit(machine, "gpt-oss:120b").placement == "gpu"


def test_strix_halo_on_windows(tmp_path: Path, psutil_says: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    psutil_says(31.6, 25)
    adapter = {"DriverDesc": "AMD Radeon(TM) 8060S Graphics", "HardwareInformation.qwMemorySize": 96 * GIB}
    monkeypatch.setitem(sys.modules, "winreg", Registry(adapter))
    env = {"USERPROFILE": str(tmp_path), "PROCESSOR_IDENTIFIER": "AMD RYZEN AI MAX+ 395 w/ Radeon 8060S"}
    machine = detect(staged(tmp_path, {}, "Windows", env=env))
    assert machine.used_gpus[0].bandwidth_gb_s == 256 and fit(machine, "gpt-oss:120b").placement == "gpu"


@pytest.mark.usefixtures("psutil_says")
def test_integrated_graphics_are_left_alone(tmp_path: Path) -> None:
    files = drm("0x1002", mem_info_vram_total=GIB // 2, mem_info_gtt_total=16 * GIB)
    cpu = "model name\t: AMD Ryzen AI 7 350 w/ Radeon 860M\n"
    machine = detect(staged(tmp_path, {**files, "proc/cpuinfo": cpu}))
    assert machine.gpus and not machine.used_gpus and "OLLAMA_IGPU_ENABLE" in machine.readings["gpus"].reason
    assert fit(machine).placement == "cpu"


@pytest.mark.usefixtures("psutil_says")
def test_intel_graphics_inside_and_outside_the_processor(tmp_path: Path) -> None:
    inside = detect(staged(tmp_path / "a", drm("0x8086", resource="0x0 0xfffffff 0x0\n")))
    outside = detect(staged(tmp_path / "b", drm("0x8086", resource=f"0x0 {12 * GIB - 1:#x} 0x0\n")))
    assert not inside.used_gpus and outside.used_gpus[0].total_gib == 12
    known = detect(staged(tmp_path / "c", drm("0x8086", device="0xe20b", resource=f"0x0 {16 * GIB - 1:#x} 0x0\n")))
    assert (known.used_gpus[0].total_gib, known.used_gpus[0].bandwidth_gb_s) == (12, 456)


class Registry(ModuleType):
    """A stand-in for winreg with display adapters."""

    HKEY_LOCAL_MACHINE = "HKLM"

    def __init__(self, *adapters: dict[str, Any]) -> None:
        super().__init__("winreg")
        self.adapters = adapters

    def OpenKey(self, parent: Any, name: str) -> Any:
        if parent == "HKLM" and "4d36e968" not in name:
            raise FileNotFoundError(name)
        return Key(self.adapters if parent == "HKLM" else self.adapters[int(name)])

    def QueryInfoKey(self, key: "Key") -> tuple[int, int, int]:
        return len(key.content), 0, 0

    def EnumKey(self, key: "Key", index: int) -> str:
        return str(index)

    def QueryValueEx(self, key: "Key", name: str) -> tuple[Any, int]:
        if name not in key.content:
            raise FileNotFoundError(name)
        return key.content[name], 0


class Key:
    def __init__(self, content: Any) -> None:
        self.content = content

    def __enter__(self) -> "Key":
        return self

    def __exit__(self, *_: Any) -> None:
        pass


@pytest.mark.usefixtures("psutil_says")
def test_windows_tells_more_than_four_gigabytes_in_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = "HardwareInformation.qwMemorySize"
    adapters = (
        {"DriverDesc": "AMD Radeon RX 7800 XT", size: 16 * GIB, "HardwareInformation.MemorySize": 4 * GIB - 1},
        {"DriverDesc": "Intel(R) UHD Graphics 770", size: struct.pack("<Q", 128 * 2**20)},
        {"DriverDesc": "NVIDIA GeForce RTX 4070 Ti", size: 12 * GIB},
        {"DriverDesc": "no size"},
        {"DriverDesc": "AMD Radeon RX 580", size: None},
    )
    monkeypatch.setitem(sys.modules, "winreg", Registry(*adapters))
    machine = detect(staged(tmp_path, {}, "Windows"))
    assert [(gpu.name, gpu.total_gib) for gpu in machine.used_gpus] == [("AMD Radeon RX 7800 XT", 16)]
    assert len(machine.gpus) == 2


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("Intel(R) Arc(TM) A770 Graphics", True),
        ("Intel(R) Arc(TM) Pro B50 Graphics", True),
        ("Intel(R) Arc(TM) Graphics", False),
        ("Intel(R) Arc(TM) 140V GPU (16GB)", False),
        ("AMD Radeon(TM) Graphics", False),
        ("AMD Radeon 780M Graphics", False),
        ("AMD Radeon RX 6600", True),
    ],
)
@pytest.mark.usefixtures("psutil_says")
def test_cards_and_integrated_graphics_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, used: bool
) -> None:
    adapter = {"DriverDesc": name, "HardwareInformation.qwMemorySize": 8 * GIB}
    monkeypatch.setitem(sys.modules, "winreg", Registry(adapter))
    machine = detect(staged(tmp_path, {}, "Windows"))
    assert len(machine.gpus) == 1 and bool(machine.used_gpus) == used


@pytest.mark.usefixtures("psutil_says")
def test_names_in_any_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gbk = "显卡 Radeon".encode("gbk")
    adapter = {"DriverDesc": gbk, "HardwareInformation.qwMemorySize": 8 * GIB}
    monkeypatch.setitem(sys.modules, "winreg", Registry(adapter))
    (gpu,) = detect(staged(tmp_path / "w", {}, "Windows")).gpus
    assert "Radeon" in gpu.name
    machine = detect(staged(tmp_path / "l", {"proc/cpuinfo": "model name : 处理器 X\n".encode("gbk")}))
    assert machine.name.endswith("X")


# --- surroundings -----------------------------------------------------------------------------------------------------

WSL = "Linux version 6.6.36.3-microsoft-standard-WSL2\n"


def test_wsl_gets_a_part_of_the_memory(tmp_path: Path, psutil_says: Any) -> None:
    psutil_says(7.8, 7)
    machine = detect(staged(tmp_path, {"proc/version": WSL, "proc/cpuinfo": "flags : hypervisor\n"}))
    assert machine.traits == ("wsl",)
    verdict = fit(machine)
    assert verdict.placement == "no" and any(".wslconfig" in line for line in verdict.advice)


@pytest.mark.parametrize(
    ("files", "env", "trait"),
    [
        ({".dockerenv": ""}, {}, "container"),
        ({"run/.containerenv": ""}, {}, "container"),
        ({"proc/self/cgroup": "5:memory:/kubepods/pod1\n"}, {}, "container"),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "container"),
        ({}, {"WSL_DISTRO_NAME": "Ubuntu"}, "wsl"),
        ({"sys/class/dmi/id/product_name": "VMware Virtual Platform\n"}, {}, "vm"),
        ({"proc/cpuinfo": "flags\t: fpu hypervisor lm\n"}, {}, "vm"),
    ],
)
@pytest.mark.usefixtures("psutil_says")
def test_where_it_runs(tmp_path: Path, files: dict[str, str | bytes], env: dict[str, str], trait: str) -> None:
    assert detect(staged(tmp_path, files, env={"HOME": str(tmp_path), **env})).traits == (trait,)
    assert detect(staged(tmp_path / "plain", {})).traits == ()


def test_a_laptop_is_known_by_its_case_or_battery(tmp_path: Path, psutil_says: Any) -> None:
    assert detect(staged(tmp_path / "a", {"sys/class/dmi/id/chassis_type": "10\n"})).laptop
    assert not detect(staged(tmp_path / "b", {"sys/class/dmi/id/chassis_type": "3\n"})).laptop
    assert detect(staged(tmp_path / "d", {"sys/class/power_supply/BAT0/type": "Battery\n"})).laptop
    psutil_says(sensors_battery=lambda: SimpleNamespace(percent=50))
    assert detect(staged(tmp_path / "c", {})).laptop


@pytest.mark.usefixtures("psutil_says")
def test_the_models_folder_and_its_disk(tmp_path: Path) -> None:
    missing = tmp_path / "disk" / "not" / "there"
    machine = detect(staged(tmp_path, {}, env={"HOME": str(tmp_path), "OLLAMA_MODELS": str(missing)}))
    assert machine.models_folder == str(missing) and machine.disk_free_gb and machine.disk_free_gb > 0
    assert Path(machine.readings["disk"].source) in missing.parents
    service = detect(staged(tmp_path / "s", {"usr/share/ollama/x": ""}))
    assert service.models_folder.endswith("usr/share/ollama/.ollama/models")
    own = detect(staged(tmp_path / "o", {"home/.ollama/models/x": "", "usr/share/ollama/x": ""}))
    assert Path(own.models_folder) == tmp_path / "o" / "home" / ".ollama" / "models"


def module(speed: int, locator: str, bank: str, size: int = 16_384, bits: int = 64) -> bytes:
    """Return an SMBIOS memory device."""
    fields = bytearray(0x28)
    fields[0], fields[1], fields[0x10], fields[0x11] = 17, len(fields), 1, 2
    struct.pack_into("<HHH", fields, 0x08, bits, bits, size)
    struct.pack_into("<H", fields, 0x15, 4_800)
    struct.pack_into("<H", fields, 0x20, speed)
    return bytes(fields) + locator.encode() + b"\0" + bank.encode() + b"\0\0"


@pytest.mark.parametrize(
    ("modules", "gb_s"),
    [
        ([module(5_600, "DIMM 1", "P0 CHANNEL A"), module(5_600, "DIMM 1", "P0 CHANNEL B")], 89.6),
        ([module(3_200, "ChannelA-DIMM0", "BANK 0"), module(3_200, "ChannelB-DIMM0", "BANK 2")], 51.2),
        ([module(3_200, "DIMM_A1", "?"), module(3_200, "DIMM_B1", "?"), module(0, "DIMM_C1", "?", size=0)], 51.2),
        ([module(3_600, f"DIMM {n}", "?") for n in range(4)], 57.6),
        ([module(0, "DIMM 1", "P0 CHANNEL A")], 38.4),
        ([module(7_500, "Motherboard", "BANK 0", bits=32) for _ in range(4)], 120.0),
        ([module(7_500, f"Controller{n // 4}-Channel{'ABCD'[n % 4]}", "?", bits=16) for n in range(8)], 120.0),
        ([module(4_800, f"DIMM_{c}1", f"P0 CHANNEL {c}") for c in "ABCDEFGH"], 307.2),
    ],
)
@pytest.mark.usefixtures("psutil_says")
def test_bandwidth_of_memory_modules(tmp_path: Path, modules: list[bytes], gb_s: float) -> None:
    other = bytes([1, 4, 0, 0]) + b"\0\0"
    machine = detect(staged(tmp_path, {"sys/firmware/dmi/tables/DMI": other + b"".join(modules)}))
    assert machine.ram_bandwidth_gb_s == pytest.approx(gb_s) and machine.readings["ram_bandwidth"].source == "SMBIOS"


@pytest.mark.usefixtures("psutil_says")
def test_a_damaged_table_gives_no_bandwidth(tmp_path: Path) -> None:
    for content in (b"\x11", b"\x11\x00\x00\x00\x00\x00", module(3_200, "A", "B")[:20]):
        assert detect(staged(tmp_path, {"sys/firmware/dmi/tables/DMI": content})).ram_bandwidth_gb_s is None


def test_a_copy_measures_something() -> None:
    found = bandwidth._by_copy(1)
    assert found and 0.5 < found < 2_000


@pytest.mark.parametrize("chip", BANDWIDTH_GB_S)
def test_every_chip_has_a_source(chip: str) -> None:
    gb_s, source = BANDWIDTH_GB_S[chip]
    assert 10 < gb_s < 10_000 and source.startswith("https://") and bandwidth_gb_s(f"{chip}") == gb_s


@pytest.mark.parametrize(("name", "gb_s"), [("Apple M4 Pro", 273), ("AMD Radeon RX 7900 XTX", 960), ("Apple M9", None)])
def test_chips_by_name(name: str, gb_s: float | None) -> None:
    assert bandwidth_gb_s(name) == gb_s


# --- this computer ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac is asked through sysctl")
def test_this_computer_without_a_subprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", raising(AssertionError("a subprocess")))
    machine = detect()
    assert machine.ram_total_gib and machine.ram_free_gib and 0 < machine.ram_free_gib <= machine.ram_total_gib
    assert machine.readings["gpus"].reason or machine.used_gpus
    assert all(
        reading.value is not None or reading.reason or not reading.source for reading in machine.readings.values()
    )
    assert fit(machine).sentence
