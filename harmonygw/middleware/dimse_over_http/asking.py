"""What a JSON body asks of a DIMSE service: the operation, its level, its identifier, and where to.

The identifier is given in the DICOM JSON model, bare or under `identifier`; with keywords under `query`; or by plain
names beside the rest. A body may mix these; it may not say anything twice.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from harmonygw.dicom.dataset.part10 import encode_ae_title
from harmonygw.dicom.web.attributes import (
    QUERY_RETRIEVE_LEVEL,
    REQUIRED,
    SPECIFIC_CHARACTER_SET,
    UNIQUE_KEYS,
    Level,
    vr_of_tag,
)
from harmonygw.dicom.web.resources import check_uid
from harmonygw.errors import BadRequest, TooLarge
from harmonygw.middleware.dimse_over_http.names import Identifier
from harmonygw.operations import DataSet, Find, Move, Retrieve
from harmonygw.streams import Body, Piece

MAX_JSON_BYTES: Final = 1024 * 1024
"""Bytes of a request in JSON: a list of 10,000 UIDs has 670 KB. What is longer would hold the reactor up."""

MAX_MATCHES: Final = 5000
"""Matches of one answer: a C-FIND without keys lists the whole archive. The same as `max_results` of a Search."""

OPERATIONS: Final = {"C-ECHO": "echo", "C-FIND": "find", "C-GET": "get", "C-MOVE": "move"}
"""What `operation` may be, and the path's word for it."""

LEVELS: Final = (Level.STUDY, Level.SERIES, Level.IMAGE)

UNIQUE_KEY_NAMES: Final = {
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}

_PATIENT: Final = ("00100010", "00100020", "00100030", "00100040")
"""Name, ID, birth date and sex: what is returned of a patient unless something else is asked for."""


async def read_json(body: Body | None) -> Any:
    """Return what a request's body says, an empty object when there is none.

    Raises `TooLarge` beyond `MAX_JSON_BYTES`, `BadRequest` for what is no JSON, and what reading raises.
    """
    held: list[Piece] = []
    async for pieces in body or Body.of():
        held += pieces
        if body is not None and body.size > MAX_JSON_BYTES:
            await body.aclose()
            raise TooLarge(f"A request in JSON has at most {MAX_JSON_BYTES} bytes (MAX_JSON_BYTES).")
    text = b"".join(held)
    if not text.strip():
        return {}
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks."""

    operation: str
    """Of the values of `OPERATIONS`."""
    level: Level
    identifier: DataSet
    """Without the level and the character set, which say how something is asked, not what."""
    destination: str = ""
    """The AE title to move to; empty for the gateway itself."""
    limit: int | None = None
    """Matches wanted."""
    names_returned: bool = False
    """Whether the identifier names what is to be returned."""

    @classmethod
    def of(cls, body: Any, word: str, own_titles: Collection[str] = ()) -> "Asked":
        """Read a body that came to the path's `word`, "" for a path without one; raises `BadRequest`.

        A move to one of our own AE titles is one to the gateway itself, as if no destination were given.
        """
        if not isinstance(body, Mapping):
            raise BadRequest("The body is a JSON object.")
        operation = _operation(body.get("operation"), word)
        identifier = Identifier()
        for name, value in _named(body):
            identifier.add(name, value)
        data_set = identifier.data_set
        data_set.pop(SPECIFIC_CHARACTER_SET, None)
        level = _level(body, data_set.pop(QUERY_RETRIEVE_LEVEL, None)) or _lowest(data_set)
        return cls(
            operation,
            level,
            data_set,
            "" if (destination := _destination(body, operation)) in own_titles else destination,
            _limit(body, operation),
            identifier.names_returned,
        )

    def find(self) -> Find:
        """Return the query; who names nothing to be returned gets what a Search of the level returns."""
        keys = {tag: element for tag, element in self.identifier.items() if len(element) > 1}
        return_keys = {tag: element for tag, element in self.identifier.items() if len(element) == 1}
        if not self.names_returned:
            tags = _PATIENT if self.level is Level.PATIENT else REQUIRED[self.level]
            return_keys.update({tag: {"vr": vr_of_tag(tag)} for tag in tags if tag not in keys})
        upper = LEVELS[: LEVELS.index(self.level)] if self.level in LEVELS else ()
        relational = any(not _is_single(_values(self.identifier, one)) for one in upper)
        return Find(self.level, keys, return_keys, self.bound, relational=relational)

    @property
    def bound(self) -> int:
        """Matches that are read: one more than an answer has, to know whether it has all."""
        return MAX_MATCHES + 1 if self.limit is None else min(self.limit, MAX_MATCHES + 1)

    def patient_id(self) -> str:
        """Return the Patient ID, empty when none is given; raises `BadRequest` for several or a pattern."""
        values = _values(self.identifier, Level.PATIENT)
        if values and not _is_single(values):
            raise BadRequest("PatientID: a retrieval names one patient, without wildcards.")
        return values[0] if values else ""

    @property
    def studies(self) -> tuple[str, ...]:
        """The studies that a retrieval names, of which only a STUDY level takes several; raises `BadRequest`."""
        return self._uids(Level.STUDY) if self.level is not Level.PATIENT else ()

    def retrievals(self, studies: tuple[str, ...]) -> list[Retrieve | Move]:
        """Return what retrieves or moves it from these studies: its own, or those of its patient.

        Raises `BadRequest` for a unique key that is missing, several where one belongs, and keys that would select
        and do not (PS3.4 §C.4.2.2.1).
        """
        self._check_keys()
        level = Level.STUDY if self.level is Level.PATIENT else self.level
        all_series = self._uids(Level.SERIES) if level in (Level.SERIES, Level.IMAGE) else ("",)
        instances = self._uids(Level.IMAGE) if level is Level.IMAGE else ()
        patient_id = self.patient_id()
        if self.destination:
            return [
                Move(level, study, self.destination, series, instances, patient_id)
                for study in studies
                for series in all_series
            ]
        service: Literal["get", "move"] = "move" if self.operation == "move" else "get"
        return [
            Retrieve(level, study, series, instances, patient_id=patient_id, service=service)
            for study in studies
            for series in all_series
        ]

    def _uids(self, level: Level) -> tuple[str, ...]:
        name = UNIQUE_KEY_NAMES[level]
        values = _values(self.identifier, level)
        if not values:
            raise BadRequest(f"{name} is missing, which a retrieval at {self.level} level needs.")
        if len(values) > 1 and level is not self.level:
            raise BadRequest(f"{name} has several values; a retrieval at {self.level} level takes one.")
        return tuple(dict.fromkeys(check_uid(value, name) for value in values))

    def _check_keys(self) -> None:
        levels = (Level.PATIENT, *LEVELS[: LEVELS.index(self.level) + 1 if self.level in LEVELS else 0])
        allowed = {UNIQUE_KEYS[one] for one in levels}
        for tag, element in self.identifier.items():
            if len(element) > 1 and tag not in allowed:
                raise BadRequest(
                    f"({tag[:4]},{tag[4:]}) selects nothing: a retrieval at {self.level} level has the unique keys "
                    "down to it, and no others."
                )


def _named(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a body says of the identifier, in whichever form."""
    for name, value in body.items():
        if name in ("identifier", "query"):
            if not isinstance(value, Mapping):
                raise BadRequest(f'"{name}" is a JSON object.')
            yield from value.items()
        elif name not in ("operation", "level", "query_level", "destination", "limit"):
            yield name, value


def _operation(given: Any, word: str) -> str:
    if given is None and word:
        return word
    named = OPERATIONS.get(given.upper()) if isinstance(given, str) else None
    if named is None:
        raise BadRequest(f'"operation" is one of {", ".join(OPERATIONS)}; an instance is stored by a POST to /store.')
    if word and named != word:
        raise BadRequest(f'"operation" {given[:10]} contradicts the path, which says {word}.')
    return named


def _level(body: Mapping[str, Any], element: DataSet | None) -> Level | None:
    """Return the level that is given, the same one wherever it is."""
    given = [*(element or {}).get("Value", ()), *(body[name] for name in ("level", "query_level") if name in body)]
    levels = {Level.__members__.get(one.strip().upper()) if isinstance(one, str) else None for one in given}
    if None in levels or len(levels) > 1:
        raise BadRequest(f"The level is one of {', '.join(Level)}, and the same wherever it is given.")
    return levels.pop() if levels else None


def _lowest(identifier: DataSet) -> Level:
    return next((one for one in reversed(LEVELS) if _values(identifier, one)), Level.STUDY)


def _destination(body: Mapping[str, Any], operation: str) -> str:
    destination = body.get("destination")
    if destination in (None, ""):
        return ""
    if operation != "move" or not isinstance(destination, str):
        raise BadRequest('"destination" is the AE title of a C-MOVE; nothing else has one.')
    encode_ae_title(destination)
    return destination


def _limit(body: Mapping[str, Any], operation: str) -> int | None:
    limit = body.get("limit")
    if limit is None:
        return None
    if operation != "find" or isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise BadRequest('"limit" is the number of matches that a C-FIND is asked for, 1 or more.')
    return limit


def _values(identifier: DataSet, level: Level) -> list[str]:
    """Return the values of a level's unique key; raises `BadRequest` for what is no text."""
    values = identifier.get(UNIQUE_KEYS[level], {}).get("Value", ())
    if not all(isinstance(value, str) for value in values):
        raise BadRequest(f"The unique key of the level {level} is text.")
    return [value for value in values if value]


def _is_single(values: list[str]) -> bool:
    return len(values) == 1 and not set(values[0]) & set("*?\\")
