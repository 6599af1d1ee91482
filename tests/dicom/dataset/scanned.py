"""What the tests in `test_header_scan.py` and beside it share: data sets in every encoding, and a scan of them."""

import zlib
from struct import pack

from harmonygw.dicom.dataset.header_scan import HEADER_SCAN_LIMIT, HeaderScan
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, IMPLICIT, UNDEFINED

LONG_VRS = {"OB", "OW", "SQ", "UN", "UT", "ZZ"}


class Encoder:
    """Writes elements in one encoding."""

    def __init__(self, transfer_syntax_uid: str) -> None:
        self.uid = transfer_syntax_uid
        self.order = ">" if transfer_syntax_uid == BIG_ENDIAN else "<"
        self.explicit = transfer_syntax_uid != IMPLICIT

    def element(self, tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
        length = len(value) if length is None else length
        start = pack(f"{self.order}HH", tag >> 16, tag & 0xFFFF)
        if not self.explicit:
            return start + pack(f"{self.order}I", length) + value
        if vr in LONG_VRS:
            return start + vr.encode() + pack(f"{self.order}HI", 0, length) + value
        return start + vr.encode() + pack(f"{self.order}H", length) + value

    def delimiter(self, tag: int, length: int = 0) -> bytes:
        return pack(f"{self.order}HHI", tag >> 16, tag & 0xFFFF, length)

    def item(self, content: bytes, *, defined: bool) -> bytes:
        if defined:
            return self.delimiter(0xFFFEE000, len(content)) + content
        return self.delimiter(0xFFFEE000, UNDEFINED) + content + self.delimiter(0xFFFEE00D)

    def sequence(self, tag: int, items: bytes, *, defined: bool, vr: str = "SQ") -> bytes:
        if defined:
            return self.element(tag, vr, items)
        return self.element(tag, vr, items, UNDEFINED) + self.delimiter(0xFFFEE0DD)


def identity(encoder: Encoder) -> dict[str, bytes]:
    return {
        "SpecificCharacterSet": encoder.element(0x00080005, "CS", b"ISO_IR 100"),
        "SOPClassUID": encoder.element(0x00080016, "UI", b"1.2.3\0"),
        "SOPInstanceUID": encoder.element(0x00080018, "UI", b"1.2.4 "),
        "StudyDate": encoder.element(0x00080020, "DA", b"20250102"),
        "AccessionNumber": encoder.element(0x00080050, "SH", b"A1"),
        "Modality": encoder.element(0x00080060, "CS", b"CT"),
        "PatientName": encoder.element(0x00100010, "PN", b"M\xfcller^Ida "),
        "PatientID": encoder.element(0x00100020, "LO", b" M\xfcller-7 "),
        "IssuerOfPatientID": encoder.element(0x00100021, "LO", b"HOSP"),
        "StudyInstanceUID": encoder.element(0x0020000D, "UI", b"1.2.5\0"),
        "SeriesInstanceUID": encoder.element(0x0020000E, "UI", b"1.2.6\0"),
    }


VALUES = {
    "SpecificCharacterSet": "ISO_IR 100",
    "SOPClassUID": "1.2.3",
    "SOPInstanceUID": "1.2.4",
    "StudyDate": "20250102",
    "AccessionNumber": "A1",
    "Modality": "CT",
    "PatientName": "M\xfcller^Ida",
    "PatientID": "M\xfcller-7",
    "IssuerOfPatientID": "HOSP",
    "StudyInstanceUID": "1.2.5",
    "SeriesInstanceUID": "1.2.6",
}


def rich(encoder: Encoder) -> bytes:
    """Return a data set with everything in it that could lead a scan astray."""
    decoy = encoder.element(0x0020000D, "UI", b"9.9.9\0") + encoder.element(0x00080060, "CS", b"XX")
    inner = encoder.sequence(0x00081199, encoder.item(decoy, defined=False), defined=False)
    items = encoder.item(decoy + inner, defined=False) + encoder.item(decoy, defined=True)
    elements = identity(encoder)
    parts = [
        elements["SpecificCharacterSet"],
        elements["SOPClassUID"],
        elements["SOPInstanceUID"],
        elements["StudyDate"],
        elements["AccessionNumber"],
        elements["Modality"],
        encoder.sequence(0x00081140, items, defined=False),
        encoder.sequence(0x00081150, items, defined=True),
        encoder.sequence(0x00081160, b"", defined=False),
        encoder.element(0x00090010, "LO", b"MAKER "),
        encoder.element(0x00091001, "OB", bytes(300)),
        encoder.element(0x00091002, "ZZ", decoy),
        encoder.element(0x00091003, "UT", decoy),
    ]
    if encoder.explicit:
        implicit = Encoder(IMPLICIT)
        unknown = implicit.item(implicit.element(0x0020000D, "UI", b"9.9.9\0"), defined=False)
        unknown += implicit.item(implicit.sequence(0x00091005, b"", defined=False), defined=False)
        unknown += implicit.delimiter(0xFFFEE0DD)
        parts.append(encoder.element(0x00091004, "UN", unknown, UNDEFINED))
    last = ("PatientName", "PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID")
    parts += [elements[keyword] for keyword in last]
    parts += [encoder.element(0x00200011, "IS", b"1 "), decoy * 5]
    return b"".join(parts)


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def arrival(transfer_syntax_uid: str) -> bytes:
    data = rich(Encoder(transfer_syntax_uid))
    return deflate(data) if transfer_syntax_uid == DEFLATED else data


def scan(transfer_syntax_uid: str, data: bytes, size: int = 1 << 16, limit: int = HEADER_SCAN_LIMIT) -> HeaderScan:
    result = HeaderScan(transfer_syntax_uid, limit=limit)
    for offset in range(0, len(data), size):
        if result.feed(memoryview(data)[offset : offset + size]):
            return result
    result.end()
    return result
