"""What an exchange really did, noted while it goes on: the queries, and by study what flowed.

An account hangs on the exchange's `Record`. An instance costs it two numbers in dictionaries; nothing is copied.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from harmonygw.dicom.audit.events import MAX_CLASSES, AuditedPatient, AuditedStudy
from harmonygw.dicom.audit.message import SOPClass
from harmonygw.dicom.dataset.leading import text_of
from harmonygw.operations import Find, FindWorklist
from harmonygw.streams import Instance

MAX_STUDIES: Final = 1000
"""Studies of one exchange that are told one by one; the instances of further ones are counted together. Default 1000:
more than a patient ever had, at a KB each."""

MAX_WAITING: Final = 20_000
"""Instances that may wait for what the archive says of them, before those beyond are counted without their study: a
backend that answers at the end of everything. Default 20,000, a hundred bytes each."""

MAX_LEADING: Final = 512
"""Characters of a leading attribute that are kept, of each study's first instance: a PN has 3 times 64, and in some
character sets twice as many bytes with escape sequences. What is longer is hostile, or nonsense."""

KEPT: Final = ("SpecificCharacterSet", "AccessionNumber", "PatientName", "PatientID", "IssuerOfPatientID")
"""The leading attributes that are told of."""

FURTHER_STUDIES: Final = "Further studies"
"""Type of the detail that says so."""


@dataclass(slots=True)
class Tally:
    """What flowed of one study of one patient, by SOP class."""

    study_instance_uid: str
    leading: Mapping[str, str] = field(default_factory=dict)
    """`KEPT`, of its first instance."""
    default_character_set: tuple[str, ...] = ("ISO_IR 6",)
    whole: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    under_way: dict[str, int] = field(default_factory=dict)
    """Begun, and not known to have ended."""
    counted: bool = True
    """Whether the numbers are known: not of what is passed on unread, nor of what nobody counts."""
    is_rest: bool = False
    """Whether it stands for all the studies beyond `MAX_STUDIES`."""
    begun: bool = False
    """Whether its beginning has been told."""

    def begins(self, sop_class_uid: str) -> str:
        """Count an instance as under way; return what it is counted under."""
        counts = self.under_way
        if sop_class_uid not in counts and len(counts) >= MAX_CLASSES:
            sop_class_uid = ""
        counts[sop_class_uid] = counts.get(sop_class_uid, 0) + 1
        return sop_class_uid

    def ends(self, sop_class_uid: str, *, whole: bool) -> None:
        """Count one that was under way as whole, or as broken."""
        self.under_way[sop_class_uid] -= 1
        counts = self.whole if whole else self.broken
        counts[sop_class_uid] = counts.get(sop_class_uid, 0) + 1

    def not_taken(self, sop_class_uid: str, number: int) -> None:
        """Count some of those that were whole as broken: their receiver did not take them."""
        if sop_class_uid not in self.whole:
            sop_class_uid = ""
        number = min(number, self.whole.get(sop_class_uid, 0))
        if number:
            self.whole[sop_class_uid] -= number
            self.broken[sop_class_uid] = self.broken.get(sop_class_uid, 0) + number

    def settle(self, *, whole: bool) -> None:
        """Count what is still under way, because the exchange has ended."""
        counts = self.whole if whole else self.broken
        for sop_class_uid, number in self.under_way.items():
            if number:
                counts[sop_class_uid] = counts.get(sop_class_uid, 0) + number
        self.under_way.clear()

    @property
    def patient(self) -> AuditedPatient:
        """Whose it is."""
        patient_id, issuer = (self._decoded(keyword, "LO") for keyword in ("PatientID", "IssuerOfPatientID"))
        return AuditedPatient(patient_id, self._decoded("PatientName", "PN"), issuer)

    def none_went(self) -> None:
        """Count all that was whole as broken: it was read, and nobody got it."""
        for sop_class_uid in tuple(self.whole):
            self.not_taken(sop_class_uid, self.whole[sop_class_uid])

    def study(self, counts: Mapping[str, int]) -> AuditedStudy:
        """Return what is told of it, with these numbers of instances by SOP class."""
        classes = tuple(SOPClass(uid, number) for uid, number in counts.items() if number)
        details = ((FURTHER_STUDIES, str(MAX_STUDIES).encode()),) if self.is_rest else ()
        return AuditedStudy(self.study_instance_uid, classes, self._decoded("AccessionNumber", "SH"), details)

    def _decoded(self, keyword: str, vr: str) -> str:
        return text_of(self.leading, keyword, vr, self.default_character_set)


@dataclass(slots=True)
class Account:
    """What is noted of one exchange."""

    query: Find | FindWorklist | None = None
    """The first; a search of several levels asks more."""
    asked: dict[str, str] = field(default_factory=dict)
    """Studies that were asked for, by UID, at most `MAX_STUDIES`; with the Patient ID if that was asked for too."""
    archive: str = ""
    """Who was said to take part as the archive when the first transfer began: who begins it ends it."""
    is_passed_on: bool = False
    """Whether the request went on as it was, and nobody saw what flowed."""
    is_direct: bool = False
    """Whether the archive sends by itself, to somebody else."""
    tallies: dict[tuple[str, str, str], Tally] = field(default_factory=dict)
    _rest: Tally | None = None
    _waiting: deque[tuple[Tally, str]] = field(default_factory=deque)

    def asks_for(self, study_instance_uid: str, patient_id: str = "") -> None:
        """Note a study that is asked for."""
        if len(self.asked) < MAX_STUDIES:
            self.asked[study_instance_uid] = patient_id

    def tally(self, study_instance_uid: str, leading: Mapping[str, str], character_set: tuple[str, ...]) -> Tally:
        """Return where the instances of a study of a patient are counted."""
        patient_id, issuer = (leading.get(one, "")[:MAX_LEADING] for one in ("PatientID", "IssuerOfPatientID"))
        key = (study_instance_uid, patient_id, issuer)
        found = self.tallies.get(key)
        if found is None:
            if len(self.tallies) < MAX_STUDIES:
                kept = {keyword: leading[keyword][:MAX_LEADING] for keyword in KEPT if keyword in leading}
                found = self.tallies[key] = Tally(study_instance_uid, kept, character_set)
            else:
                found = self._rest = self._rest or Tally("", is_rest=True)
        return found

    def of_instance(self, instance: Instance) -> Tally:
        """Return where an instance is counted."""
        return self.tally(instance.study_instance_uid, instance.leading, instance.default_character_set)

    def waits(self, tally: Tally, counted_under: str) -> None:
        """Note an instance that was given to the archive, which answers for them in their order."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((tally, counted_under))

    def answered(self, *, stored: bool) -> None:
        """Note what the archive says of the first that waits."""
        if self._waiting:
            tally, counted_under = self._waiting.popleft()
            tally.ends(counted_under, whole=stored)

    def settled(self, *, whole: bool, not_taken: Mapping[tuple[str, str], int]) -> list[Tally]:
        """Return all that was counted, now that the exchange has ended, with all that its receiver did not take."""
        tallies = [*self.tallies.values(), *((self._rest,) if self._rest is not None else ())]
        for tally in tallies:
            tally.settle(whole=whole)
            for (study_instance_uid, sop_class_uid), number in not_taken.items():
                if study_instance_uid == tally.study_instance_uid:
                    tally.not_taken(sop_class_uid, number)
        return tallies
