"""The log: one structured line at the end of each exchange, and how every line is written.

A line never holds a patient's name, identifier or birth date, nor the query of a request: those belong to the audit
trail. What it holds: who asked for what, of which target, how it ended, how much and how long.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import orjson
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.failure import Failure
from zope.interface import provider

from harmonygw.exchange import HTTPOrigin, Request

log = Logger(namespace="harmonygw.exchange")

LEVELS = {
    "trace": LogLevel.debug,
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}
"""`logging.log_level` to Twisted's levels, which have no trace."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an exchange ended."""

    outcome: str
    """`complete`, `refused`, `failed`, `aborted` (after its first byte) or `client_gone`."""
    status: int | None
    """The HTTP status that went out, if any."""
    size: int
    """Bytes of the body that went out."""
    started: float
    """When the request was there, in seconds of the reactor's clock."""
    first_byte: float | None
    ended: float
    reason: str = ""
    """Why it did not complete."""


def write(request: Request, ending: Ending) -> None:
    """Write the line of an exchange that has ended."""
    record = request.record
    origin = request.origin
    fields: dict[str, Any] = {
        "correlation_id": request.correlation_id,
        "peer": request.peer,
        "principal": request.principal,
        "operation": record.operation,
        "target": record.target,
        "outcome": ending.outcome,
        "status": ending.status,
        "dimse_status": None if record.dimse_status is None else f"{record.dimse_status:04X}H",
        "instances": record.instances,
        "matches": record.matches,
        "bytes": ending.size,
        "first_byte_ms": _milliseconds(ending.started, ending.first_byte),
        "duration_ms": _milliseconds(ending.started, ending.ended),
        "reason": ending.reason,
        "notes": record.notes,
    }
    if isinstance(origin, HTTPOrigin):
        fields["method"] = origin.method
        fields["path"] = "/" + "/".join(origin.path)
    else:
        fields["calling_ae_title"] = origin.calling_ae_title
    level = LogLevel.info if ending.outcome in ("complete", "refused", "client_gone") else LogLevel.warn
    log.emit(
        level, "{operation} {outcome}", exchange=fields, operation=record.operation, outcome=ending.outcome
    )


def _milliseconds(start: float, end: float | None) -> float | None:
    return None if end is None else round((end - start) * 1000, 1)


def observer(settings: Any) -> ILogObserver:
    """Return the log observer that the `logging` table asks for: a level, text or JSON, a file or standard output."""
    stream: IO[bytes]
    if settings.log_to_file:
        folder = os.path.dirname(settings.log_file_path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        stream = open(settings.log_file_path, "ab", buffering=0)  # noqa: SIM115 (open for the process's life)
    else:
        stream = sys.stdout.buffer
    line = _json_line if settings.format == "json" else _text_line

    @provider(ILogObserver)
    def write_line(event: Mapping[str, Any]) -> None:
        stream.write(line(event))
        stream.flush()

    predicate = LogLevelFilterPredicate(defaultLogLevel=LEVELS[settings.log_level])
    return FilteringLogObserver(write_line, [predicate])


def _json_line(event: Mapping[str, Any]) -> bytes:
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": event["log_level"].name,
        "namespace": event.get("log_namespace", ""),
    }
    if "exchange" in event:
        fields.update((key, value) for key, value in event["exchange"].items() if value not in (None, "", []))
    else:
        fields["message"] = formatEvent(dict(event))
        fields.update(_extras(event))
    return orjson.dumps(fields, default=str, option=orjson.OPT_APPEND_NEWLINE)


def _text_line(event: Mapping[str, Any]) -> bytes:
    time = datetime.fromtimestamp(event["log_time"], UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    extras = event["exchange"] if "exchange" in event else _extras(event)
    message = "" if "exchange" in event else formatEvent(dict(event)) + " "
    pairs = " ".join(
        f"{key}={_quoted(value)}" for key, value in extras.items() if value not in (None, "", [])
    )
    return f"{time} {event['log_level'].name:5} {message}{pairs}".rstrip().encode("utf-8", "replace") + b"\n"


def _quoted(value: Any) -> str:
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    if text and all(character.isprintable() and character not in ' "=' for character in text):
        return text
    return orjson.dumps(text).decode()


def _extras(event: Mapping[str, Any]) -> dict[str, Any]:
    failure = event.get("log_failure")
    return {"traceback": failure.getTraceback()} if isinstance(failure, Failure) else {}
