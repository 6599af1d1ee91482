"""The log: one structured line at the end of each exchange, and how every line is written.

A line never holds a patient's name, identifier or birth date, nor the query of a request: those belong to the audit
trail. What it holds: who asked for what, of which target, how it ended, how much and how long.
"""

import json
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.failure import Failure
from zope.interface import provider

from harmonygw.alerts import Alert as Alert
from harmonygw.alerts import alert as alert
from harmonygw.config.model import Logging
from harmonygw.errors import HarmonyError
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

CHATTY = "twisted.web.client._HTTP11ClientFactory"
"""The namespace in which Twisted's web client says of each connection that it begins and ends: below info, for us."""

_SPECIAL = frozenset(' "=\\')

_PLAIN = re.compile(r"[!#-<>-\[\]-~]*").fullmatch
"""What nearly every value is: ASCII, and nothing special in it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an exchange ended."""

    outcome: str
    """`complete`, `not_modified` (304), `refused`, `failed`, `aborted` (after its first byte) or `client_gone`."""
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
        "principal": record.principal or request.principal,
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
    level = LogLevel.warn if ending.outcome in ("failed", "aborted") else LogLevel.info
    log.emit(level, "{operation} {outcome}", exchange=fields, operation=record.operation, outcome=ending.outcome)


def describe(error: BaseException) -> str:
    """Return what a line says of an error: its kind, its sentence, and what only the operator may read."""
    more = f" ({error.log_detail})" if isinstance(error, HarmonyError) and error.log_detail else ""
    return f"{type(error).__name__}: {error}{more}"


def _milliseconds(start: float, end: float | None) -> float | None:
    return None if end is None else round((end - start) * 1000, 1)


def observer(settings: Logging) -> ILogObserver:
    """Return the log observer that the `logging` table asks for: a level, text or JSON, and a file besides stdout.

    The file's folder is made, and the file is opened for each line: one that was moved away is begun anew. Raises
    `OSError` when that cannot be done.
    """
    stdout = sys.stdout.buffer
    path = Path(settings.log_file_path) if settings.log_to_file else None
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    line = json_line if settings.format == "json" else text_line

    @provider(ILogObserver)
    def write_line(event: LogEvent) -> None:
        encoded = line(event)
        stdout.write(encoded)
        stdout.flush()
        if path is not None:
            with path.open("ab") as file:
                file.write(encoded)

    level = LEVELS[settings.log_level]
    predicate = LogLevelFilterPredicate(defaultLogLevel=level)
    if level is LogLevel.info:
        predicate.setLogLevelForNamespace(CHATTY, LogLevel.warn)
    return FilteringLogObserver(write_line, [predicate])


def json_line(event: LogEvent) -> bytes:
    """Return an event as one JSON object in ASCII, ended by a line feed; nothing else in it can end a line."""
    fields = {
        "time": _time(event),
        "level": event["log_level"].name,
        "namespace": event.get("log_namespace", ""),
        **_fields(event),
    }
    return json.dumps(fields, default=str).encode("ascii") + b"\n"


def text_line(event: LogEvent) -> bytes:
    """Return an event as one line of UTF-8: time, level, message, then `name=value`.

    Whatever a value holds, it cannot end the line or look like another name: what is not printable is escaped, and
    what holds a space, a quote or `=` is quoted.
    """
    fields = _fields(event)
    words = [_time(event), f"{event['log_level'].name:5}"]
    if message := fields.pop("message", ""):
        words.append(_printable(message))
    words.extend([f"{name}={_quoted(value)}" for name, value in fields.items()])
    return (" ".join(words) + "\n").encode()


def _time(event: LogEvent) -> str:
    return datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds")


def _fields(event: LogEvent) -> dict[str, Any]:
    """Return what an event tells: the fields of an exchange, at its end or on its way, else message and traceback."""
    told = event.get("exchange") or event.get("dump")
    if told is not None:
        return {name: value for name, value in told.items() if value or value == 0}
    fields = {"message": formatEvent(event)}
    if isinstance(alerted := event.get("alert"), Alert):
        rest = {"alert": alerted.kind, "peer": alerted.peer, "correlation_id": alerted.correlation_id}
        fields.update((name, value) for name, value in rest.items() if value)
    if isinstance(failure := event.get("log_failure"), Failure):
        fields["traceback"] = failure.getTraceback()
    return fields


def _quoted(value: Any) -> str:
    text = "; ".join(map(str, value)) if isinstance(value, list) else _text(value)
    if _PLAIN(text):
        return text
    if text.isprintable() and not _SPECIAL.intersection(text):
        return text
    return '"' + _printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _text(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
