"""The error a learner meets: what happened, and what to do next.

It knows nothing about where it is raised; IPython shows its two sentences instead of a traceback.
"""


class LabError(Exception):
    """Say what happened and the next step, in words a learner can use."""

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what, next_step)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n{self.next_step}" if self.next_step else self.what

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython prints instead of a traceback."""
        return str(self).splitlines()
