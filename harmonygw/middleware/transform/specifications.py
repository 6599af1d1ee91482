"""A JOLT specification: read from its file when the gateway is built, and applied without holding the reactor up."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import orjson
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from harmonygw.errors import ConfigurationError, TooMuchWork
from harmonygw.jolt import Specification, Work
from harmonygw.middleware.json_bodies import in_thread
from harmonygw.middleware.redaction import Redaction, secret_patterns
from harmonygw.pipeline import Context

log = Logger(namespace="harmonygw.transform")

MAX_SPECIFICATION_BYTES: Final = 1024 * 1024
"""Bytes of a specification's file. Default 1 MiB: a hundred times the longest that people write."""

INLINE_STEPS: Final = 10_000
"""Steps that a transformation may take in the reactor's own turn. Default ten thousand, some 10 ms; what takes more is
begun again in a thread, one at a time."""

MAX_LOGGED: Final = 65_536
"""Characters of a document that `debug` logs."""


class Applied:
    """A specification with what applying it needs."""

    def __init__(self, context: Context) -> None:
        """Raises `ConfigurationError` that names the file, and the place in it, of all that is wrong."""
        self._reactor = context.reactor
        self._name = context.name
        self._specification = _read(context)
        self._turn = DeferredSemaphore(1)
        self._debug: Redaction | None = None
        if context.options.debug:
            shown = SimpleNamespace(
                redact_headers=(), redact_metadata=(), redact_data_fields=(), show_patient_identifiers=True
            )
            self._debug = Redaction(shown, secret_patterns(context.configuration))

    async def apply(self, document: Any, context: Any, correlation_id: str) -> Any:
        """Return what the specification makes of a document; raises `Untransformable`."""
        try:
            result = self._specification.apply(document, context, Work(INLINE_STEPS))
        except TooMuchWork:
            result = await self._turn.run(
                in_thread, self._reactor, self._specification.apply, document, context, Work()
            )
        if self._debug is not None:
            log.info(
                "{name} made {result} of {document} ({correlation_id})",
                name=self._name,
                result=self._shown(self._debug, result),
                document=self._shown(self._debug, document),
                correlation_id=correlation_id,
            )
        return result

    def _shown(self, redaction: Redaction, document: Any) -> str:
        return orjson.dumps(redaction.data(document)).decode()[:MAX_LOGGED]


def _read(context: Context) -> Specification:
    configuration = context.configuration
    named = context.options.spec_path
    places = (configuration.folder / configuration.proxy.transforms_path / named, configuration.folder / named)
    path = next((place for place in places if place.is_file()), places[0])
    where = f"middleware.{context.name}.options.spec_path"
    try:
        raw = _bytes_of(path)
    except OSError as error:
        raise ConfigurationError((f"{where}: cannot read {path}: {error.strerror or error}",)) from None
    if len(raw) > MAX_SPECIFICATION_BYTES:
        raise ConfigurationError((f"{where}: {path} has more than {MAX_SPECIFICATION_BYTES} bytes",))
    try:
        return Specification(orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        raise ConfigurationError((f"{where}: {path} is no JSON: {error}",)) from None
    except ConfigurationError as error:
        raise ConfigurationError(tuple(f"{where}: {path}: {problem}" for problem in error.problems)) from None


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_SPECIFICATION_BYTES + 1)
