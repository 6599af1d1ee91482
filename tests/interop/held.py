"""What a scripted PACS holds: instances that are made up, and what a C-FIND says of them."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harmonygw.dicom.dataset.json_decoding import from_json

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{n}" for n in (1, 2, 3))
WITHOUT_BULK_DATA_GET = "1.2.840.10008.5.1.4.1.2.5.3"

CHUNK = 65_536
"""Bytes of pixel data that are made at a time."""

UNIQUE_KEYS = {"PATIENT": "00100020", "STUDY": "0020000D", "SERIES": "0020000E", "IMAGE": "00080018"}


@dataclass(frozen=True)
class Held:
    """An instance that the PACS holds: `size` bytes of pixel data, and what identifies it."""

    sop: str = "1.2.3.4"
    series: str = "1.2.3"
    study: str = "1.2"
    patient: str = "P1"
    sop_class: str = CT
    size: int = 1000
    syntax: str = EXPLICIT
    character_set: str = "ISO_IR 192"
    more: dict[str, Any] = field(default_factory=dict, hash=False)
    without_bulk_data: bool = False
    """Whether it is sent without its pixels, and without the element that held them."""

    def header(self) -> bytes:
        """The data set up to its pixels."""
        attributes = {
            "00080016": {"vr": "UI", "Value": [self.sop_class]},
            "00080018": {"vr": "UI", "Value": [self.sop]},
            "00080060": {"vr": "CS", "Value": ["CT"]},
            "00100020": {"vr": "LO", "Value": [self.patient]} if self.patient else None,
            "0020000D": {"vr": "UI", "Value": [self.study]},
            "0020000E": {"vr": "UI", "Value": [self.series]},
            **self.more,
        }
        present = {tag: element for tag, element in attributes.items() if element is not None}
        encoded = from_json(present, EXPLICIT, character_set=(self.character_set,))
        if self.without_bulk_data:
            return encoded
        return encoded + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, self.size)

    def data_set(self) -> bytes:
        """All of it."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """All of it, a piece at a time."""
        yield self.header()
        if self.without_bulk_data:
            return
        chunk = bytes(CHUNK)
        for at in range(0, self.size, CHUNK):
            yield chunk[: min(CHUNK, self.size - at)]

    def row(self, level: str, siblings: "Sequence[Held]") -> dict[str, Any]:
        """What a C-FIND says of it, or of what it is in."""
        row: dict[str, Any] = {
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": f"Name^of {self.patient}"}]},
            "00100020": {"vr": "LO", "Value": [self.patient] if self.patient else []},
        }
        study = [one for one in siblings if one.study == self.study]
        if level != "PATIENT":
            row["0020000D"] = {"vr": "UI", "Value": [self.study]}
        if level == "STUDY":
            row["00080061"] = {"vr": "CS", "Value": ["CT"]}
            row["00201208"] = {"vr": "IS", "Value": [len(study)]}
        if level in ("SERIES", "IMAGE"):
            row["0020000E"] = {"vr": "UI", "Value": [self.series]}
            row["00080060"] = {"vr": "CS", "Value": ["CT"]}
        if level == "SERIES":
            row["00201209"] = {"vr": "IS", "Value": [sum(one.series == self.series for one in study)]}
        if level == "IMAGE":
            row["00080018"] = {"vr": "UI", "Value": [self.sop]}
            row["00080016"] = {"vr": "UI", "Value": [self.sop_class]}
        return row


def study_of(count: int, **attributes: Any) -> list[Held]:
    """Some instances of one series."""
    return [Held(sop=f"1.2.3.{number}", **attributes) for number in range(4, 4 + count)]
