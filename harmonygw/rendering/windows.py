"""Windows: which values of interest are shown from black to white (PS3.3 §C.11.2.1.2, PS3.18 §8.3.5.1.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harmonygw.errors import BadRequest

LINEAR: Final = "linear"
LINEAR_EXACT: Final = "linear-exact"
SIGMOID: Final = "sigmoid"

FUNCTIONS: Final = {"LINEAR": LINEAR, "LINEAR_EXACT": LINEAR_EXACT, "SIGMOID": SIGMOID}
"""The functions by their defined terms in VOI LUT Function (0028,1056)."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window; its units are those of what comes out of the Modality LUT."""

    centre: float
    width: float
    function: str = LINEAR

    @property
    def usable(self) -> bool:
        """Whether its width is allowed: 1 or more for LINEAR, greater than 0 for the others."""
        return self.width >= 1 if self.function == LINEAR else self.width > 0

    def apply(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return what is shown for `values`, from 0.0 to 1.0."""
        x = np.asarray(values, np.float64)
        if self.function == SIGMOID:
            # Beyond 700, exp would overflow; the sigmoid is 0 or 1 long before.
            return 1 / (1 + np.exp(np.clip(-4 * (x - self.centre) / self.width, -700, 700)))
        if self.function == LINEAR_EXACT:
            return np.clip((x - self.centre) / self.width + 0.5, 0, 1)
        middle, extent = self.centre - 0.5, self.width - 1
        if extent == 0:
            return (x > middle).astype(np.float64)
        return np.clip((x - middle) / extent + 0.5, 0, 1)


def requested(window: Sequence[Any]) -> Window:
    """Make a window of the request's three values; raises `BadRequest` when they are no window."""
    centre, width, function = window
    if function not in FUNCTIONS.values():
        raise BadRequest(f"window has the function {function!r}; allowed are {', '.join(FUNCTIONS.values())}")
    chosen = Window(float(centre), float(width), function)
    if not (chosen.usable and np.isfinite(chosen.centre) and np.isfinite(chosen.width)):
        least = "1 or more" if function == LINEAR else "greater than 0"
        raise BadRequest(f"window has the width {width}; it must be {least}")
    return chosen


def spanning(lowest: float, highest: float) -> Window:
    """Return the window that shows `lowest` black and `highest` white."""
    if highest <= lowest:
        return Window(lowest + 0.5, 1)
    return Window((lowest + highest) / 2, highest - lowest, LINEAR_EXACT)
