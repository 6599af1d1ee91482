"""Messages between the gateway and a worker: a length, and a JSON object. Frames do not pass here, see `memory`.

A message for a worker is a job: `id`, `job` ("module:function"), `parameters` and `lengths`, the bytes of each piece of
its payload, which lie one after the other in the first memory. The answer has the same `id` and either `result` and
`length`, the bytes in the second memory, or `error`, `detail` and `log_detail`. Before the first job a worker says
`ready`.
"""

import struct
import traceback
from typing import Any, Final

import orjson

from harmonygw import errors
from harmonygw.rendering.limits import PIXELS_EXTRA

MAX_MESSAGE: Final = 4 << 20
"""Bytes of a message: parameters may hold a palette of 65536 entries and three colours as numbers."""

PREFIX: Final = struct.Struct(">4sI")
"""A signature, which whatever a library prints has not, and the length of what follows."""

_SIGNATURE: Final = b"HGW1"

MISSING_EXTRA: Final = "MissingExtra"
"""The `error` of a job whose module needs what is not installed."""

_ERRORS: Final[dict[str, type[errors.HarmonyError]]] = {
    kind.__name__: kind
    for kind in (errors.PeerError, errors.NotAcceptable, errors.BadRequest, errors.TooLarge, errors.RenderingFailed)
}


_MAX_TRACEBACK: Final = 2000
"""Characters of a traceback's end that an answer has for the log."""


class Garbled(Exception):
    """What arrived is no message."""


def pack(message: dict[str, Any]) -> bytes:
    """Return a message's bytes.

    Raises:
        Garbled: it is longer than MAX_MESSAGE.
    """
    body = orjson.dumps(message)
    if len(body) > MAX_MESSAGE:
        raise Garbled(f"a message of {len(body)} bytes exceeds {MAX_MESSAGE}")
    return PREFIX.pack(_SIGNATURE, len(body)) + body


def length_of(prefix: bytes) -> int:
    """Return the length of the body that follows a prefix.

    Raises:
        Garbled: it is no prefix, or announces more than MAX_MESSAGE.
    """
    signature, length = PREFIX.unpack(prefix)
    if signature != _SIGNATURE or length > MAX_MESSAGE:
        raise Garbled(f"{prefix!r} begins no message")
    return int(length)


def unpack(body: bytes) -> dict[str, Any]:
    """Return the message in a body.

    Raises:
        Garbled: it is no JSON object.
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Garbled(f"a message is no JSON: {error}") from error
    if not isinstance(message, dict):
        raise Garbled("a message is no JSON object")
    return message


class Unpacker:
    """Takes what a pipe brings, and gives whole messages."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the messages that are whole now.

        Raises:
            Garbled: what arrived is no message; nothing that follows can be trusted.
        """
        self._held += data
        messages = []
        while len(self._held) >= PREFIX.size:
            end = PREFIX.size + length_of(bytes(self._held[: PREFIX.size]))
            if len(self._held) < end:
                break
            messages.append(unpack(bytes(self._held[PREFIX.size : end])))
            del self._held[:end]
        return messages


def describe(error: Exception) -> dict[str, str]:
    """Return an error as a worker's answer has it."""
    if isinstance(error, errors.HarmonyError):
        known = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS), "RenderingFailed")
        return {"error": known, "detail": error.detail, "log_detail": error.log_detail}
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in PIXELS_EXTRA:
        return {"error": MISSING_EXTRA, "detail": str(error), "log_detail": ""}
    if isinstance(error, MemoryError):
        detail = "A frame needs more memory than a worker process may use."
    else:
        detail = "A frame could not be rendered."
    return {"error": "RenderingFailed", "detail": detail, "log_detail": _traceback(error)}


def error_of(answer: dict[str, Any]) -> errors.HarmonyError:
    """Return the error that a worker's answer describes."""
    detail, log_detail = str(answer.get("detail")), str(answer.get("log_detail"))
    if answer["error"] == MISSING_EXTRA:
        return errors.NotAcceptable(
            "This gateway is installed without its pixels extra: pip install harmonygw[pixels]", log_detail=detail
        )
    return _ERRORS.get(str(answer["error"]), errors.RenderingFailed)(detail, log_detail=log_detail)


def _traceback(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-_MAX_TRACEBACK:]
