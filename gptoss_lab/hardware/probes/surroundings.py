"""What kind of machine this is: processor, laptop or not, container, WSL, virtual machine, and the disk for models."""

import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from gptoss_lab.hardware.machine import Reading
from gptoss_lab.hardware.probes.host import Host
from gptoss_lab.text import text

_PORTABLE = {"8", "9", "10", "11", "14", "30", "31", "32"}  # SMBIOS chassis types
_VIRTUAL = re.compile(r"virtual|vmware|kvm|qemu|xen|bochs|bhyve|parallels|google compute|amazon ec2", re.IGNORECASE)


def cpu(host: Host) -> str:
    """Return the processor's name."""
    if host.system == "Darwin":
        return host.sysctl("machdep.cpu.brand_string")
    if host.system == "Windows":
        return _windows_cpu() or host.env.get("PROCESSOR_IDENTIFIER", "")
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", host.read("proc/cpuinfo"), re.MULTILINE)
    return found.group(1).strip() if found else host.read("proc/device-tree/model").strip("\x00\n ")


def _windows_cpu() -> str:
    try:
        winreg: Any = import_module("winreg")
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    except (ImportError, OSError):
        return ""


def cores(host: Host) -> Reading:
    """Return the number of physical cores; the clock is not asked, psutil's answers are wrong on too many systems."""
    try:
        import psutil

        count = psutil.cpu_count(logical=False)
    except Exception as error:
        return Reading(None, "psutil", str(error))
    return Reading(count, "psutil", "" if count else text("hardware.cores_unknown"))


def traits(host: Host, processor: str) -> Iterator[str]:
    """Yield "container", "wsl", "vm" and "strix-halo" as they apply."""
    if _in_container(host):
        yield "container"
    wsl = bool(host.env.get("WSL_DISTRO_NAME")) or "microsoft" in host.read("proc/version").lower()
    if wsl:
        yield "wsl"
    elif host.system == "Linux" and _in_virtual_machine(host):
        yield "vm"
    if "ryzen ai max" in processor.lower():
        yield "strix-halo"


def _in_container(host: Host) -> bool:
    marks = any(host.exists(name) for name in (".dockerenv", "run/.containerenv"))
    groups = re.search(r"docker|kubepods|containerd|libpod|lxc", host.read("proc/self/cgroup"))
    return host.system == "Linux" and (marks or bool(groups) or "KUBERNETES_SERVICE_HOST" in host.env)


def _in_virtual_machine(host: Host) -> bool:
    named = " ".join(host.read(f"sys/class/dmi/id/{name}") for name in ("product_name", "sys_vendor"))
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", host.read("proc/cpuinfo"), re.MULTILINE)
    return bool(_VIRTUAL.search(named)) or bool(flags)


def is_laptop(host: Host) -> bool:
    """Tell whether this is a portable computer: it has a battery or a laptop's case."""
    battery = any(host.exists(f"sys/class/power_supply/BAT{number}") for number in (0, 1))
    if battery or host.read("sys/class/dmi/id/chassis_type").strip() in _PORTABLE:
        return True
    try:
        import psutil

        return psutil.sensors_battery() is not None
    except Exception:  # not known on this system
        return False


def models_folder(host: Host) -> Path:
    """Return where Ollama keeps its models, as far as this process can know."""
    named = host.env.get("OLLAMA_MODELS", "").strip()
    if named:
        return Path(named).expanduser()
    service = host.root / "usr/share/ollama/.ollama/models"
    own = host.home() / ".ollama" / "models"
    return service if host.system == "Linux" and not own.exists() and host.exists("usr/share/ollama") else own


def disk_free_gb(folder: Path) -> Reading:
    """Return the free space in GB where a folder is or would be."""
    for place in (folder, *folder.parents):
        try:
            return Reading(shutil.disk_usage(place).free / 1e9, str(place))
        except (OSError, ValueError) as error:
            reason = str(error)
    return Reading(None, str(folder), reason)
