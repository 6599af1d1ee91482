"""Limits of what is decoded and rendered; nothing here imports numpy."""

import os
from dataclasses import dataclass, field
from typing import Final

PIXELS_EXTRA: Final = ("numpy", "imagecodecs", "PIL")
"""What the `pixels` extra installs, by the names under which it is imported."""

MAX_FRAME_PIXELS: Final = 1 << 27
"""Rows times columns of a frame, 134 million: a mammogram has a tenth of it, and a small file that claims more is made
to fill the memory."""

MAX_FRAME_BYTES: Final = 1 << 29
"""Bytes of one decoded frame, 512 MiB: a quarter of a worker's default memory, as decoders hold it three times."""

MAX_SAMPLES_PER_PIXEL: Final = 4
"""Samples of a pixel: three are a colour, retired photometric interpretations have a fourth (PS3.3 §C.7.6.3.1.2)."""


def _processes() -> int:
    return min(2, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What the worker processes may use, and how long they may take."""

    processes: int = field(default_factory=_processes)
    """Worker processes: two, or one where there is one processor. The gateway itself needs a processor too."""
    max_queued: int = 256
    """Jobs that wait for a process, beyond those at work; a viewer asks for some dozens of frames at a time."""
    job_timeout_secs: float = 20.0
    """Seconds that one job may take, without its wait; the largest mammogram in JPEG 2000 takes about three."""
    memory_limit_bytes: int = 2 << 30
    """Address space of each process, in bytes (RLIMIT_AS): 0.2 GiB are libraries, the rest is for one frame."""
    max_payload_bytes: int = 1 << 29
    """Bytes of all that a job is given, and of what it returns: MAX_FRAME_BYTES, the largest frame."""
    start_timeout_secs: float = 30.0
    """Seconds that a process may take until it is ready; on an idle machine it is less than one."""
    cancel_grace_secs: float = 1.0
    """Seconds that a job goes on which nobody waits for: to end soon is cheaper than a new process."""
