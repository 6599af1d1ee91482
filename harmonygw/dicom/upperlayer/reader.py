"""Cutting what arrives into PDUs (PS3.8 §9.3), without waiting for them.

A P-DATA-TF PDU is not gathered. Its presentation data values come out as slices of what was read, as far as
a read brought them. The other PDUs are small, bounded, and gathered whole. Every length is checked where it
is announced, before anything is kept; what is kept between two reads is at most five bytes of a header, or
the beginning of one bounded PDU.

The headers of a PDU (type, reserved, length) and of a presentation data value (length, context id, message
control header) are both six bytes long, so one place deals with a header that two reads share.
"""

from collections.abc import Container, Iterator, Mapping
from struct import Struct
from typing import Final, NamedTuple

from harmonygw.dicom.upperlayer.events import Fragment
from harmonygw.dicom.upperlayer.pdus import ASSOCIATE_FIXED_LENGTH, HEADER_LENGTH, AbortReason, PDUType
from harmonygw.errors import PeerError

PDU_LENGTH_SLACK: Final = 12
"""Bytes that a P-DATA-TF PDU may be longer than was announced to the peer.

Some peers forget to count the header of the presentation data value, or of the PDU as well.
"""

MAX_ASSOCIATE_PDU_LENGTH: Final = 262144
"""Bytes in an A-ASSOCIATE-RQ or -AC PDU that is received.

128 contexts with every registered transfer syntax each come to 208 KB; anything longer is an attack or
an error.
"""

_PDU_HEADER: Final = Struct(">BxI").unpack_from
_PDV_HEADER: Final = Struct(">IBB").unpack_from

# The constructor of a NamedTuple is Python code, and takes a third of the time of a fragment.
_new: Final = tuple.__new__


class PDU(NamedTuple):
    """A PDU: `body` is what follows its header, empty for the P-DATA-TF that is about to be read."""

    pdu_type: int
    body: bytes


_P_DATA_TF: Final = PDU(PDUType.P_DATA_TF, b"")

_LENGTHS: Final[Mapping[int, tuple[int, int]]] = {
    PDUType.A_ASSOCIATE_RQ: (ASSOCIATE_FIXED_LENGTH, MAX_ASSOCIATE_PDU_LENGTH),
    PDUType.A_ASSOCIATE_AC: (ASSOCIATE_FIXED_LENGTH, MAX_ASSOCIATE_PDU_LENGTH),
    PDUType.A_ASSOCIATE_RJ: (4, 4),
    PDUType.A_RELEASE_RQ: (4, 4),
    PDUType.A_RELEASE_RP: (4, 4),
    PDUType.A_ABORT: (4, 4),
}


class PDUReader:
    """The receiving side of one transport connection.

    `max_pdu_length` is the largest P-DATA-TF in bytes of variable field, without `PDU_LENGTH_SLACK`;
    `contexts` holds the ids of the accepted presentation contexts. Both may be set anew between two PDUs.
    """

    __slots__ = (
        "_body",
        "_body_left",
        "_context_id",
        "_header",
        "_is_command",
        "_is_last",
        "_pdu_left",
        "_pdu_type",
        "_pdv_left",
        "_skip_left",
        "contexts",
        "max_pdu_length",
    )

    def __init__(self, max_pdu_length: int) -> None:
        self.max_pdu_length = max_pdu_length
        self.contexts: Container[int] = ()
        self._header = b""
        self._pdu_left = 0
        self._pdv_left = 0
        self._skip_left = 0
        self._context_id = 0
        self._is_command = False
        self._is_last = False
        self._pdu_type = 0
        self._body = bytearray()
        self._body_left = 0

    def skip(self) -> None:
        """Drop what is left of the P-DATA-TF PDU that is being read, if one is."""
        if self._pdu_left:
            self._skip_left = self._pdu_left - len(self._header)
            self._header = b""
            self._pdu_left = self._pdv_left = 0

    def read(self, data: bytes | memoryview) -> Iterator[Fragment | PDU]:
        """Yield what `data` brings, in order: P-DATA-TF PDUs as a PDU without body followed by its fragments.

        One iterator is finished before the next begins; after one was given up or raised, there is no next.
        `skip` may be called when a P-DATA-TF begins, and between two reads.

        Raises PeerError with the reason of the A-ABORT for a PDU of unknown type or wrong length, and for a
        presentation data value that is malformed or on a context that was not accepted.
        """
        view = memoryview(data)
        end = len(view)
        at = 0
        pdu_left = self._pdu_left
        pdv_left = self._pdv_left
        context_id, is_command, is_last = self._context_id, self._is_command, self._is_last
        contexts = self.contexts
        while at < end:
            if pdv_left:
                stop = at + pdv_left
                if stop > end:
                    stop = end
                pdv_left -= stop - at
                pdu_left -= stop - at
                yield _new(Fragment, (context_id, is_command, is_last and not pdv_left, view[at:stop]))
                at = stop
                continue
            if self._skip_left:
                skipped = min(self._skip_left, end - at)
                self._skip_left -= skipped
                at += skipped
                continue
            if self._body_left:
                gathered = view[at : at + self._body_left]
                self._body += gathered
                self._body_left -= len(gathered)
                at += len(gathered)
                if not self._body_left:
                    yield PDU(self._pdu_type, bytes(self._body))
                    self._body = bytearray()
                    contexts = self.contexts
                continue
            if self._header or end - at < HEADER_LENGTH:
                part = view[at : at + HEADER_LENGTH - len(self._header)]
                self._header += part
                at += len(part)
                if len(self._header) < HEADER_LENGTH:
                    break
                header, header_at = memoryview(self._header), 0
                self._header = b""
            else:
                header, header_at = view, at
                at += HEADER_LENGTH
            if pdu_left:
                length, context_id, control = _PDV_HEADER(header, header_at)
                pdu_left -= HEADER_LENGTH
                pdv_left = length - 2
                if pdv_left < 0 or pdv_left > pdu_left or 0 < pdu_left - pdv_left < HEADER_LENGTH:
                    raise _invalid(f"a presentation data value of {length} bytes does not fit its PDU")
                if context_id not in contexts:
                    raise _invalid(f"presentation context {context_id} was not accepted")
                is_command = control & 1 == 1
                is_last = control & 2 == 2
                if not pdv_left:
                    yield Fragment(context_id, is_command, is_last, view[at:at])
                continue
            pdu_type, length = _PDU_HEADER(header, header_at)
            if pdu_type == 4:
                if length > self.max_pdu_length + PDU_LENGTH_SLACK:
                    raise _invalid(f"a P-DATA-TF PDU of {length} bytes exceeds {self.max_pdu_length}")
                if length < HEADER_LENGTH:
                    raise _invalid(f"a P-DATA-TF PDU of {length} bytes holds no presentation data value")
                self._pdu_left = length
                yield _P_DATA_TF
                pdu_left = self._pdu_left
            else:
                self._begin(pdu_type, length)
        self._pdu_left = pdu_left
        self._pdv_left = pdv_left
        self._context_id, self._is_command, self._is_last = context_id, is_command, is_last

    def _begin(self, pdu_type: int, length: int) -> None:
        """Begin to gather a PDU other than P-DATA-TF."""
        limits = _LENGTHS.get(pdu_type)
        if limits is None:
            raise PeerError(f"unrecognized PDU type {pdu_type:02X}H", reason=AbortReason.UNRECOGNIZED_PDU)
        least, most = limits
        if not least <= length <= most:
            raise _invalid(f"a PDU of type {pdu_type:02X}H cannot have {length} bytes")
        self._pdu_type = pdu_type
        self._body_left = length


def _invalid(detail: str) -> PeerError:
    return PeerError(detail, reason=AbortReason.INVALID_PDU_PARAMETER_VALUE)
