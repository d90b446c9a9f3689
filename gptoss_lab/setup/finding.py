"""What an examination says: one finding per step of the road, and a diagnosis that sums them up."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gptoss_lab.text import text

# Every step with a letter, and what can be found there with a number: the code a class reads aloud.
STEPS = ("python", "server", "version", "disk", "model", "memory", "load", "answer", "gpu", "context")
CODES: Mapping[str, tuple[str, ...]] = {
    "python": ("old_python", "missing_package", "old_client", "shim"),
    "server": (
        "no_server", "stopped_server", "other_program", "wrong_host", "proxy", "bad_host", "bad_key", "silent_host",
    ),
    "version": ("too_old", "before_new_engine", "unknown_version"),
    "disk": ("disk_small", "disk_nearly_full", "disk_unknown"),
    "model": ("model_missing", "no_model", "other_model", "pull_running", "pull_stalled", "pull_failed"),
    "memory": ("memory_small", "memory_tight", "memory_unknown"),
    "load": ("load_failed", "busy"),
    "answer": ("no_answer", "empty_answer"),
    "gpu": ("half_on_cpu", "not_on_gpu"),
    "context": ("context_small", "prompt_too_long"),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One step: what was found, what it means, and the one thing to do."""

    step: str
    state: str  # "ok", "warning", "fault" or "skipped"
    name: str  # "ok", "skipped", or one of CODES[step]
    found: str
    means: str = ""
    do: str = ""
    command: str = ""  # to copy into a terminal
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """The step's letter and the number of what was found: B1 means that no server was found."""
        letter = "ABCDEFGHIJ"[STEPS.index(self.step)]
        known = CODES[self.step]
        return f"{letter}{known.index(self.name) + 1}" if self.name in known else ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings of one examination."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way; warnings do not."""
        return all(finding.state != "fault" for finding in self.findings)

    @property
    def code(self) -> str:
        """The first fault, or OK with the warnings: "B2", "OK", "OK-I1"."""
        faults = [finding.code for finding in self.findings if finding.state == "fault"]
        warnings = [finding.code for finding in self.findings if finding.state == "warning"]
        return faults[0] if faults else "-".join(["OK", *warnings])

    def __str__(self) -> str:
        lines = [line for finding in self.findings for line in told(finding)]
        return "\n".join([*lines, text("doctor.code", code=self.code)])

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        found = [{**asdict(finding), "code": finding.code} for finding in self.findings]
        return {"schema": 1, "ok": self.ok, "code": self.code, "findings": found}


MARKS = {"ok": "+", "warning": "!", "fault": "x", "skipped": "-"}


def told(finding: Finding) -> list[str]:
    """Return a finding as lines for a terminal."""
    code = f" [{finding.code}]" if finding.code else ""
    lines = [f"{MARKS[finding.state]} {text(f'doctor.step_{finding.step}')}: {finding.found}{code}"]
    if finding.state in ("warning", "fault"):
        lines += [f"    {words}" for words in (finding.means, finding.do) if words]
        lines += [f"    > {finding.command}"] if finding.command else []
    return lines
