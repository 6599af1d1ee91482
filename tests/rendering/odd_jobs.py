"""Jobs that do to a worker process what codecs do."""

import contextlib
import os
import signal
import time
from typing import Any

Result = tuple[dict[str, Any], bytes]


def reverse(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """Return the payload's bytes backwards."""
    return parameters, b"".join(payload)[::-1]


def hang(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """Never return."""
    while True:
        time.sleep(3600)


def crash(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """End as a codec ends that writes where it must not."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return hang(parameters, payload)


def breed(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """Start a process that holds every descriptor of this one, and end, or hang, or answer."""
    child = os.fork()
    if not child:
        hang(parameters, payload)
    if parameters["then"] == "crash":
        return crash(parameters, payload)
    if parameters["then"] == "hang":
        return hang(parameters, payload)
    return {"child": child}, b""


def open_files(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """Open files until there are no more to be had."""
    opened = []
    try:
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return {"highest": opened[-1]}, b""
    finally:
        for fd in opened:
            os.close(fd)


def fill(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """Take this many bytes of memory."""
    return {"took": len(bytearray(parameters["bytes"]))}, b""


def talk(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """Print, as libraries do."""
    os.write(1, b"Corrupt JPEG data: premature end of data segment\n" * 100)
    return {}, b"said"


def scribble(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """Write garbage where answers are expected, wherever that is."""
    for fd in range(5, 64):
        with contextlib.suppress(OSError):
            os.write(fd, b"garbage, and more of it")
    return hang(parameters, payload)


def inspect(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """Say who this is, and what it may do."""
    try:
        with open(parameters["file"], "wb", buffering=0) as file:
            written = file.write(b"a frame")
    except OSError:
        written = 0
    os.kill(os.getpid(), signal.SIGINT)
    return {"pid": os.getpid(), "environment": sorted(os.environ), "written": written}, b""


def overflow(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """Return more than is allowed."""
    return {}, bytes(parameters["bytes"])


def need_numpy(parameters: dict[str, Any], payload: list[bytes]) -> Result:
    """Be without what the extra installs."""
    raise ModuleNotFoundError("No module named 'numpy'", name="numpy")
