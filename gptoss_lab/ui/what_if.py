"""`what_if`: turn memory, context and cache, and see at once where gpt-oss would run and how fast."""

from dataclasses import replace
from typing import Any

from ipywidgets import HTML, Dropdown, FloatSlider, IntSlider, Layout, SelectionSlider, VBox

from gptoss_lab.facts.fit import constant
from gptoss_lab.hardware import Gpu, Machine, Verdict, detect, fit
from gptoss_lab.hardware.memory import KV_TYPES
from gptoss_lab.hardware.models import KNOWN
from gptoss_lab.hardware.placement import kept_by_system
from gptoss_lab.text import text
from gptoss_lab.ui.hardware_html import what_if_html
from gptoss_lab.ui.hardware_text import heading, verdict_lines

_CONTEXTS = tuple(4_096 * 2**step for step in range(6))
_OLD_VERSION = "0.24.0"
_MOST_VRAM_GIB, _MOST_RAM_GIB = 144.0, 256.0
_PLAIN_GPU = Gpu("GPU", "nvidia", 0.0, 0.0, 448.0, (8, 9))  # bandwidth of a middling card of 2025


class WhatIf(VBox):
    """The controls and the verdict they lead to."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.controls = _controls(machine)
        self.shown = HTML()
        for control in self.controls.values():
            control.observe(self._changed, "value")
        super().__init__([*self.controls.values(), self.shown])
        self.redraw()

    @property
    def verdict(self) -> Verdict:
        """The verdict for the controls as they stand."""
        chosen = {name: control.value for name, control in self.controls.items()}
        machine = _set(self.machine, chosen["vram"], chosen["ram"])
        return fit(machine, chosen["model"], chosen["context"], chosen["kv"], chosen["parallel"], chosen["version"])

    def redraw(self) -> None:
        """Draw the verdict for the controls as they stand."""
        machine = _set(self.machine, self.controls["vram"].value, self.controls["ram"].value)
        self.shown.value = what_if_html(self.verdict, machine)

    def _changed(self, _: Any) -> None:
        self.redraw()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        words = "\n".join([heading(self.verdict), *verdict_lines(self.verdict)])
        data |= {"text/plain": words, "text/html": self.shown.value}
        return bundle


def what_if(machine: Machine | None = None) -> WhatIf:
    """Return sliders for a machine, set to this computer or to the one given, and the verdict they lead to."""
    return WhatIf(machine or detect())


def _controls(machine: Machine) -> dict[str, Any]:
    wide = {"style": {"description_width": "11em"}, "layout": Layout(width="100%", max_width="40em")}
    versions = [(text("card.what_new"), ""), (text("card.what_old"), _OLD_VERSION)]
    vram = sum(gpu.total_gib for gpu in machine.used_gpus)
    return {
        "model": Dropdown(options=list(KNOWN), description=text("card.what_model"), **wide),
        "context": SelectionSlider(
            options=[(f"{tokens:,}", tokens) for tokens in _CONTEXTS], description=text("card.what_context"), **wide
        ),
        "kv": Dropdown(options=KV_TYPES, description=text("card.what_kv"), **wide),
        "vram": _gib(text("card.what_vram"), vram, _MOST_VRAM_GIB, wide),
        "ram": _gib(text("card.what_ram"), machine.ram_total_gib or 16.0, _MOST_RAM_GIB, wide),
        "parallel": IntSlider(1, 1, 8, description=text("card.what_parallel"), **wide),
        "version": Dropdown(options=versions, description=text("card.what_version"), **wide),
    }


def _gib(name: str, value: float, most: float, wide: dict[str, Any]) -> FloatSlider:
    return FloatSlider(min(round(value), most), min=0, max=most, step=1, readout_format=".0f", description=name, **wide)


def _set(machine: Machine, vram_gib: float, ram_gib: float) -> Machine:
    """Return a machine with so much memory, as much of it free as when other programs are closed."""
    first = machine.used_gpus[0] if machine.used_gpus else _PLAIN_GPU
    share = 1.0 if first.unified else constant("closed_gpu")
    gpu = replace(first, total_gib=vram_gib, free_gib=vram_gib * share)
    free = max(ram_gib - kept_by_system(machine.system, ram_gib, first.unified), 0.0)
    gpus = (gpu,) if vram_gib else ()
    return replace(
        machine, name=text("card.what_machine"), ram_total_gib=ram_gib, ram_free_gib=free, gpus=gpus, traits=(),
        disk_free_gb=None,
    )  # fmt: skip
