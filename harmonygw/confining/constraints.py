"""What has to hold of a match or an instance, attribute by attribute, and at which level each is known.

Values are compared as they stand: an archive may compare loosely what it matches, who guards images may not. Of an
attribute with several values, or with one that is no text, nothing is known, and what is not known does not comply.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final
from unicodedata import normalize

from harmonygw.dicom.dataset.character_sets import LONGEST_TERM, MAX_TERMS, character_set
from harmonygw.dicom.dataset.dictionary import keyword_of
from harmonygw.dicom.web.attributes import MODALITIES_IN_STUDY, UNIQUE_KEYS, Level, level_of, vr_of_tag
from harmonygw.exchange import Restriction
from harmonygw.operations import DataSet
from harmonygw.streams import Instance, Match

STUDY: Final = UNIQUE_KEYS[Level.STUDY]
SERIES: Final = UNIQUE_KEYS[Level.SERIES]
INSTANCE: Final = UNIQUE_KEYS[Level.IMAGE]
MODALITY: Final = "00080060"
PIXELS: Final = "7FE00000"

ORDER: Final = {None: 0, Level.PATIENT: 0, Level.STUDY: 0, Level.SERIES: 1, Level.IMAGE: 2}
"""How far down the levels of the Study Root model are; what describes a match and no entity is at the top."""

ISSUER_OF_PATIENT_ID: Final = "00100021"

MAY_BE_ADDED: Final = frozenset({ISSUER_OF_PATIENT_ID})
"""IssuerOfPatientID: modalities leave it out, and archives know it of a study without writing it into the objects. An
object that lacks it is the study's, of which the archive has said it; one that has another is not."""

COUNTS_OF_PATIENTS: Final = frozenset({"00201200", "00201202", "00201204"})
"""Numbers of Patient Related Studies, Series and Instances: they count what is hidden."""

TOLD_BY_PARTS: Final = {
    Level.STUDY: frozenset({"00080062", "00080063", "00201206", "00201208"}),
    Level.SERIES: frozenset({"00201209"}),
}
"""What a study or a series says of its parts, hidden ones included: SOP Classes in Study, Anatomic Regions in Study,
Numbers of Study and of Series Related Series and Instances."""


class Judgement(Enum):
    """What can be said of a match or an instance."""

    COMPLIES = "complies"
    LACKS = "lacks"
    """Nothing speaks against it, but something that is demanded is not there."""
    FAILS = "fails"


class Constraints:
    """Restrictions, all of which hold."""

    def __init__(self, restrictions: Iterable[Restriction]) -> None:
        self.allowed: dict[str, frozenset[str]] = {}
        """Tag to the values allowed."""
        restrictions = tuple(restrictions)
        for restriction in restrictions:
            for tag, values in restriction.keys.items():
                some = frozenset(comparable(value, vr_of_tag(tag)) for value in values) - {""}
                self.allowed[tag] = self.allowed.get(tag, some) & some
        self.reasons = ", ".join(dict.fromkeys(one.reason for one in restrictions))
        by_level: dict[int, list[str]] = {0: [], 1: [], 2: []}
        for tag in self.allowed:
            level = level_of(tag)
            by_level[ORDER[Level.IMAGE if level is None else level]].append(tag)
        self.study, self.series, self.image = map(tuple, by_level.values())
        """The tags of what is known of a study (its patient included), of a series, and of an instance."""
        self.key = tuple(sorted((tag, tuple(sorted(values))) for tag, values in self.allowed.items()))
        """What tells them from others."""
        self.numbers = frozenset(int(tag, 16) for tag in self.allowed if tag < PIXELS)
        """The tags, as a scan of an object wants them. What would stand behind the pixels is never found."""

    def __bool__(self) -> bool:
        return bool(self.allowed)

    @property
    def below_study(self) -> bool:
        """Whether a study can be shown that has parts which are not."""
        return bool(self.series or self.image)

    def by_parts(self, level: Level) -> bool:
        """Whether what complies at a level can have parts below that do not."""
        return level is not Level.IMAGE and bool(self.image or (level is Level.STUDY and self.series))

    @property
    def by_modality(self) -> bool:
        """Whether a study's modalities decide alone which of its series comply."""
        return self.series == (MODALITY,) and not self.image

    def telling(self, level: Level) -> frozenset[str]:
        """Return the tags of what would tell, in a match of a level, of what is hidden; ModalitiesInStudy aside, which
        is reduced at STUDY."""
        tags = COUNTS_OF_PATIENTS
        for one in (Level.STUDY, Level.SERIES):
            if ORDER[one] <= ORDER[level] and self.by_parts(one):
                tags |= TOLD_BY_PARTS[one]
                if level is not Level.STUDY:
                    tags |= {MODALITIES_IN_STUDY}
        return tags

    def at(self, level: Level) -> tuple[str, ...]:
        """Return the tags of what is known at a level of the Study Root model."""
        return (self.study, self.series, self.image)[ORDER[level]]

    def judge(self, row: Mapping[str, Any], tags: Iterable[str]) -> Judgement:
        """Judge a match by some of the attributes."""
        found = Judgement.COMPLIES
        for tag in tags:
            value = value_of(row, tag)
            if not value:
                found = Judgement.LACKS
            elif value not in self.allowed[tag]:
                return Judgement.FAILS
        return found

    def lacking(self, row: Mapping[str, Any], tags: Iterable[str]) -> tuple[str, ...]:
        """Return those of the attributes of which a match says nothing."""
        return tuple(tag for tag in tags if not value_of(row, tag))

    def returned(self, tags: Iterable[str]) -> dict[str, Any]:
        """Return the return keys by which matches can be judged."""
        return {tag: {"vr": vr_of_tag(tag)} for tag in tags}

    def matching(self, tags: Iterable[str]) -> dict[str, Any]:
        """Return matching keys that narrow a query down, of attributes with one value allowed."""
        keys: dict[str, Any] = {}
        for tag in tags:
            if len(self.allowed[tag]) == 1:
                (value,) = self.allowed[tag]
                vr = vr_of_tag(tag)
                keys[tag] = {"vr": vr, "Value": [_written(value, vr)]}
        return keys

    def fails_as_instance(self, values: Mapping[str, str], tags: Iterable[str]) -> bool:
        """Whether an object does not comply: by another value, or by none where one has to be."""
        for tag in tags:
            value = values.get(tag, "")
            if value not in self.allowed[tag] and (value or tag not in MAY_BE_ADDED):
                return True
        return False

    def modalities(self, row: Match) -> frozenset[str]:
        """Return the modalities that a study says it has, reduced to those allowed; empty if it does not say."""
        return frozenset(_texts(row, MODALITIES_IN_STUDY)) & self.allowed[MODALITY]


def comparable(value: str, vr: str) -> str:
    """Return a value as it is compared: without the padding around it, and composed; a name without empty groups."""
    text = normalize("NFC", value.strip(" \0"))
    return text.rstrip("=") if vr == "PN" else text


def value_of(row: Mapping[str, Any], tag: str) -> str:
    """Return the one value of an attribute as it is compared; empty when there is none, several, or no text."""
    texts = _texts(row, tag)
    return comparable(texts[0], vr_of_tag(tag)) if len(texts) == 1 and "\\" not in texts[0] else ""


def uid_of(row: Mapping[str, Any], tag: str, only: Iterable[str] = ()) -> str:
    """Return a match's UID; if it has none the one that was asked for, if that was one."""
    found = value_of(row, tag)
    asked = tuple(only)
    return asked[0] if not found and tag not in row and len(asked) == 1 else found


def asked_uids(keys: DataSet, tag: str) -> tuple[str, ...]:
    """Return the UIDs that a query names."""
    return tuple(dict.fromkeys(filter(None, (text.strip(" \0") for text in _texts(keys, tag)))))


def values_of_instance(values: Mapping[str, str], instance: Instance, tags: Iterable[str]) -> dict[str, str]:
    """Return what a scan has found of an object as it is compared, by tag.

    It stands there as Latin-1, a character for each byte, and is decoded by the object's own SpecificCharacterSet
    (0008,0005), or by the instance's `default_character_set`. Several values stay as they are, with backslashes: they
    are none that is allowed, and not as if there were none (`MAY_BE_ADDED`).
    """
    stated = tuple(term[:LONGEST_TERM] for term in values.get("SpecificCharacterSet", "").split("\\"))
    terms = stated[:MAX_TERMS] if any(stated) else instance.default_character_set
    found: dict[str, str] = {}
    for tag in tags:
        text = values.get(keyword_of(int(tag, 16)), "") or values.get(tag, "")
        vr = vr_of_tag(tag)
        if not text.isascii() or "\x1b" in text:
            text = character_set(terms).decode(text.encode("latin-1"), vr)
        found[tag] = comparable(text, vr)
    return found


def _texts(row: Mapping[str, Any], tag: str) -> list[str]:
    """Return the values that are not empty; of a person's name the groups, as they stand in a data set."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    found: list[str] = []
    for value in values if isinstance(values, list | tuple) else ():
        if isinstance(value, Mapping):
            groups = [value.get(name, "") for name in ("Alphabetic", "Ideographic", "Phonetic")]
            value = "=".join(map(str, groups)).rstrip("=")
        if value is not None and value != "":
            found.append(str(value))
    return found


def _written(value: str, vr: str) -> Any:
    """Return a value in the DICOM JSON model (PS3.18 §F.2.2)."""
    if vr != "PN":
        return value
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False)
    return {name: text for name, text in groups if text}
