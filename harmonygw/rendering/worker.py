"""A worker process: `python -m harmonygw.rendering.worker MEMORY_LIMIT RESULT_LIMIT JOB_SECONDS MODULE...`.

Jobs arrive at descriptor 0 and answers leave by descriptor 1, as `wire` says; payloads are in the memory behind
descriptor 3, results go to that behind 4. It does one job at a time, and ends when descriptor 0 does.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

from harmonygw.errors import RenderingFailed
from harmonygw.rendering import memory, wire

PAYLOAD_FD: Final = 3
RESULT_FD: Final = 4

MAX_OPEN_FILES: Final = 64
"""File descriptors: the five that it has, and those that importing a module takes for a moment."""

MAX_PROCESSES: Final = 0
"""Processes and threads that it may add to those of its user (RLIMIT_NPROC): none, no codec needs one. The kernel asks
no such thing of root."""

ALARM_GRACE_SECS: Final = 5.0
"""Seconds beyond its time-out after which a job ends its process by itself: the gateway kills it before, if there still
is a gateway."""

NICENESS: Final = 5
"""How far a worker stands back where processors are scarce: the reactor wakes up in the middle of a decoding."""

Job = Callable[[dict[str, Any], list[bytes]], tuple[dict[str, Any], bytes]]


def find(path: str) -> Job:
    """Return the function at "module:function"."""
    module, _, name = path.partition(":")
    function: Job = getattr(import_module(module), name)
    return function


def answer(message: dict[str, Any], payload_fd: int, room: memory.Room, result_limit: int) -> bytes:
    """Do one job, and return the packed answer; its result, if any, is in the memory then."""
    try:
        payload = memory.take(payload_fd, message["lengths"])
        result, data = find(message["job"])(message["parameters"], payload)
        if len(data) > result_limit:
            raise RenderingFailed(f"A result of {len(data)} bytes exceeds max_payload_bytes, {result_limit}.")
        packed = wire.pack({"id": message["id"], "length": len(data), "result": result})
        room.put(data)
    except Exception as error:  # noqa: BLE001 - whatever a job raises is its answer
        return wire.pack({"id": message["id"], **wire.describe(error)})
    return packed


def serve(requests: int, answers: int, memories: tuple[int, int], result_limit: int, job_secs: float) -> None:
    """Take jobs from one descriptor and answer to the other, until the first one ends.

    `memories` are the descriptors of the payloads' and of the results' memory, `result_limit` is in bytes, `job_secs`
    in seconds: SIGALRM ends the process when a job takes longer.
    """
    payload_fd, room = memories[0], memory.Room(memories[1])
    _write(answers, wire.pack({"ready": True}))
    while (prefix := _read(requests, wire.PREFIX.size)) and (body := _read(requests, wire.length_of(prefix))):
        signal.setitimer(signal.ITIMER_REAL, job_secs)
        done = answer(wire.unpack(body), payload_fd, room, result_limit)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(answers, done)


def confine(memory_limit: int) -> None:
    """Limit what this process can do to the machine when a codec goes wrong."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_NPROC, (MAX_PROCESSES, MAX_PROCESSES))


def main(arguments: Sequence[str]) -> None:
    """Run until the gateway closes the pipe."""
    # Whatever it may start is of its group, and is killed with it.
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.dup(1)
    # What a library prints goes to the log, not between two answers.
    os.dup2(2, 1)
    os.nice(NICENESS)
    for module in arguments[3:]:
        try:
            import_module(module)
        except ImportError:
            # The job says what is missing, to whoever asks for it.
            continue
    confine(int(arguments[0]))
    serve(0, answers, (PAYLOAD_FD, RESULT_FD), int(arguments[1]), float(arguments[2]) + ALARM_GRACE_SECS)


def _read(fd: int, length: int) -> bytes:
    data = b""
    while len(data) < length and (piece := os.read(fd, length - len(data))):
        data += piece
    return data if len(data) == length else b""


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


if __name__ == "__main__":
    main(sys.argv[1:])
