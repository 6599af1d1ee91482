"""What one data set may cost whoever reads it."""

from dataclasses import dataclass
from typing import Final

MAX_NESTING_DEPTH: Final = 64
"""Sequences within sequences. Default 64: more than the content tree of any report needs, and readers may recurse."""

MAX_INFLATED_BYTES: Final = 1 << 32
"""Bytes that a deflated data set may inflate to. Default 4 GiB: no native value is longer, its length has 32 bits."""

MAX_INFLATION_RATIO: Final = 500
"""Bytes of output per byte of deflated input. Default 500: half of the most that the algorithm can do, which takes
nothing but zeros.
"""

INFLATION_ALLOWANCE: Final = 1 << 24
"""Bytes of output that pass whatever their ratio. 16 MiB: takes some ms and, as it streams, no memory; a segmentation
of 512 frames of 512 by 512 bits may be blank."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one data set; exceeding one is a `PeerError` that names its constant."""

    max_nesting_depth: int = MAX_NESTING_DEPTH
    """Sequences within sequences, 0 or more."""
    max_inflated_bytes: int = MAX_INFLATED_BYTES
    """Bytes that a deflated data set may inflate to."""
    max_inflation_ratio: int = MAX_INFLATION_RATIO
    """Bytes of output per byte of deflated input, once there is more output than `INFLATION_ALLOWANCE`."""


DEFAULT_LIMITS: Final = Limits()
"""The limits as their constants say."""
