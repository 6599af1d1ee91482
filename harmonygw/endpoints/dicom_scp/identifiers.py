"""Identifiers of C-FIND, C-GET and C-MOVE: requests into operations, matches into responses (PS3.4 §C.4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.part10 import encode_uid
from harmonygw.dicom.web.attributes import (
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    SPECIFIC_CHARACTER_SET,
    UNIQUE_KEYS,
)
from harmonygw.endpoints.dicom_scp.offer import InformationModel
from harmonygw.errors import BadRequest, Incomplete, PeerError
from harmonygw.operations import DataSet, Find, FindWorklist, Level, Retrieve
from harmonygw.streams import Match

QUERY_RETRIEVE_VIEW: Final = "00080053"
FAILED_SOP_INSTANCE_UID_LIST: Final = "00080058"
UTF_8: Final = ("ISO_IR 192",)

MAX_FAILED_UIDS: Final = 1000
"""SOP Instance UIDs that a final response lists as failed: a value of VR UI has 65,534 bytes in Explicit VR, and a
UID with its delimiter up to 65. The counters count them all."""

_NO_KEYS: Final = frozenset({SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, QUERY_RETRIEVE_VIEW, RETRIEVE_AE_TITLE})
"""What speaks of the request or of the response, and not of what is looked for."""


def decode_identifier(data: memoryview, transfer_syntax_uid: str) -> DataSet:
    """Return an identifier in the DICOM JSON model; raises `BadRequest` when it cannot be read."""
    try:
        return to_json(data, transfer_syntax_uid)
    except PeerError as error:
        raise BadRequest(f"the identifier cannot be read: {error.detail}") from error


def level_of(identifier: DataSet, model: InformationModel) -> Level:
    """Return the Query/Retrieve Level (0008,0052); raises `BadRequest` for none, or one that the model lacks."""
    values = _texts(identifier, QUERY_RETRIEVE_LEVEL)
    level = next((one for one in model.levels if values == [one.value]), None)
    if level is None:
        named = ", ".join(model.levels)
        raise BadRequest(f"Query/Retrieve Level (0008,0052) is not one of {named}")
    return level


def find_of(identifier: DataSet, model: InformationModel) -> Find:
    """Return the query of a C-FIND identifier; without the unique keys of all upper levels it is relational.

    The Patient ID is not missed: patients' attributes are those of a study too, as in Study Root (PS3.4 §C.6.2.1), so
    that any archive can answer without it.
    """
    level = level_of(identifier, model)
    keys: dict[str, Any] = {}
    return_keys: dict[str, Any] = {}
    for tag, attribute in identifier.items():
        if tag not in _NO_KEYS:
            wanted = keys if "Value" in attribute or "InlineBinary" in attribute else return_keys
            wanted[tag] = attribute
    upper = model.levels[: model.levels.index(level)]
    relational = any(one is not Level.PATIENT and not _is_single(_texts(identifier, UNIQUE_KEYS[one])) for one in upper)
    return Find(level, keys, return_keys, relational=relational)


def worklist_of(identifier: DataSet) -> FindWorklist:
    """Return the query of a worklist C-FIND identifier (PS3.4 §K.4.1)."""
    return FindWorklist({tag: attribute for tag, attribute in identifier.items() if tag not in _NO_KEYS})


class Matches:
    """Encodes matches as the identifiers of pending responses: what was asked for, and where to retrieve it.

    Text is in the request's character set as long as that has the characters, else in UTF-8: the response says
    so itself (PS3.4 §C.4.1.1.3.2).
    """

    def __init__(self, identifier: DataSet, transfer_syntax_uid: str, retrieve_ae_title: str) -> None:
        self._transfer_syntax_uid = transfer_syntax_uid
        asked = tuple(_texts(identifier, SPECIFIC_CHARACTER_SET))
        self._character_sets = (asked,) if asked == UTF_8 else (asked, UTF_8)
        self._blank: dict[str, Any] = {
            tag: {"vr": attribute["vr"]} for tag, attribute in identifier.items() if tag not in _NO_KEYS
        }
        self._fixed: dict[str, Any] = {tag: level for tag, level in identifier.items() if tag == QUERY_RETRIEVE_LEVEL}
        if retrieve_ae_title:
            self._fixed[RETRIEVE_AE_TITLE] = {"vr": "AE", "Value": [retrieve_ae_title]}

    def encode(self, match: Match) -> bytes:
        """Return the identifier of a match; raises `Incomplete` when it holds what no data set can."""
        found = {tag: match.get(tag, blank) for tag, blank in self._blank.items()} | self._fixed
        for terms in self._character_sets:
            try:
                return from_json(found, self._transfer_syntax_uid, character_set=terms)
            except BadRequest as error:
                problem = error.detail
        raise Incomplete(f"a match cannot be encoded: {problem}")


@dataclass(frozen=True, slots=True)
class Selection:
    """What a C-GET or C-MOVE asks for: unique keys down to a level, several at that level (PS3.4 §C.4.2.1.4)."""

    level: Level
    patient_id: str
    studies: tuple[str, ...]
    series: tuple[str, ...]
    instances: tuple[str, ...]

    @classmethod
    def of(cls, identifier: DataSet, model: InformationModel) -> "Selection":
        """Read an identifier; raises `BadRequest` for a key that is missing, or several where one belongs."""
        level = level_of(identifier, model)
        above = model.levels[: model.levels.index(level)]
        found: dict[Level, tuple[str, ...]] = dict.fromkeys(Level, ())
        for one in (*above, level):
            values = _texts(identifier, UNIQUE_KEYS[one])
            several = one is level and one is not Level.PATIENT
            if not all(values) or not ((several and values) or _is_single(values)):
                raise BadRequest(f"a {level} retrieval needs ({_shown(UNIQUE_KEYS[one])})")
            if one is not Level.PATIENT:
                for uid in values:
                    encode_uid(uid)
            found[one] = tuple(dict.fromkeys(values))
        return cls(
            level,
            "".join(found[Level.PATIENT]),
            found[Level.STUDY],
            found[Level.SERIES],
            found[Level.IMAGE],
        )

    def operations(self, studies: tuple[str, ...], transfer_syntaxes: tuple[str, ...]) -> Iterator[Retrieve]:
        """Yield what retrieves it; `studies` are its own, or those of its patient."""
        level = Level.STUDY if self.level is Level.PATIENT else self.level
        for study in studies:
            for series in self.series or ("",):
                yield Retrieve(level, study, series, self.instances, transfer_syntaxes, patient_id=self.patient_id)


def failed_list(uids: list[str], transfer_syntax_uid: str) -> bytes:
    """Return the identifier that lists the instances which failed (PS3.4 §C.4.2.1.4.2)."""
    listed = {"vr": "UI", "Value": uids[:MAX_FAILED_UIDS]}
    return from_json({FAILED_SOP_INSTANCE_UID_LIST: listed}, transfer_syntax_uid, character_set=())


def _texts(identifier: DataSet, tag: str) -> list[str]:
    """Return the values of a key, `""` for one that is empty or no text."""
    values = identifier.get(tag, {}).get("Value") or ()
    return [value if isinstance(value, str) else "" for value in values]


def _is_single(values: list[str]) -> bool:
    return len(values) == 1 and values[0] != "" and not set(values[0]) & set("*?")


def _shown(tag: str) -> str:
    return f"{tag[:4]},{tag[4:]}"
