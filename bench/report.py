"""Figures and their targets: medians of five runs, and whether each is met."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

RUNS = 5
"""Runs of each measurement; its figure is their median."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure, with all its runs."""

    name: str
    runs: Sequence[float]
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    """At most one of the two; with neither, the figure is for comparison."""
    note: str = ""

    @property
    def value(self) -> float:
        return median(self.runs)

    @property
    def met(self) -> bool:
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.at_most is None or self.value <= self.at_most

    def line(self) -> str:
        """Return the figure, its target, the verdict and the runs."""
        if self.at_least is not None:
            target = f"at least {self.at_least:g}"
        elif self.at_most is not None:
            target = f"at most {self.at_most:g}"
        else:
            target = ""
        verdict = "" if not target else "met" if self.met else "MISSED"
        runs = " ".join(f"{one:.4g}" for one in self.runs)
        line = f"{self.name:<58} {self.value:>8.4g} {self.unit:<5} {target:<14} {verdict:<6} [{runs}]"
        return f"{line}\n    {self.note}" if self.note else line
