"""The upper layer, and the messages on it: whatever a peer sends, in whatever reads it comes (PS3.8, PS3.7).

What must hold: nothing is raised; what is sent back is a run of whole PDUs, and after an A-ABORT come only those of
AA-7; how a stream is cut into reads changes nothing; an A-ASSOCIATE that is understood can be written, and is then
understood alike; and a fragment belongs to a command, to a data set, or is a `PeerError` with a reason of PS3.8 Table
9-26.

The first byte of an input is the state in which it arrives, the second how it is cut; the rest is what arrives.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from struct import pack, unpack_from
from typing import Final

from harmonygw.dicom.dimse.commands import CEchoRQ, CFindRQ, CGetRSP, CStoreRQ, encode_command
from harmonygw.dicom.dimse.messages import MessageReader, pdvs
from harmonygw.dicom.upperlayer import pdus
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    ProposedContext,
    UserIdentity,
)
from harmonygw.dicom.upperlayer.provider import (
    Aborted,
    AssociateConfirm,
    AssociateIndication,
    Event,
    Fragment,
    UpperLayer,
)
from harmonygw.errors import PeerError

NAME: Final = "upper_layer"

LONGEST_INPUT: Final = 4096
"""Bytes of an input: room for an A-ASSOCIATE-RQ and some messages, and quick to try."""

_NOW: Final = 5.0
_VERIFICATION: Final = "1.2.840.10008.1.1"
_CT: Final = "1.2.840.10008.5.1.4.1.1.2"
_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_IMPLICIT: Final = "1.2.840.10008.1.2"

_RQ: Final = AssociateRQ(
    "ARCHIVE",
    "GATEWAY",
    (ProposedContext(1, _VERIFICATION, (_IMPLICIT,)), ProposedContext(3, _CT, (_IMPLICIT,), True, True)),
    extended_negotiation={_GET: b"\1"},
    user_identity=UserIdentity(2, b"user", b"secret"),
)
_AC: Final = AssociateAC("ARCHIVE", "GATEWAY", (ContextResult(1, 0, _IMPLICIT), ContextResult(3, 0, _IMPLICIT)))
_RQ_PDU: Final = pdus.encode_associate_rq(_RQ)
_AC_PDU: Final = pdus.encode_associate_ac(_AC)


def _awaiting_request() -> UpperLayer:
    layer = UpperLayer(requestor=False)
    layer.connected(0.0)
    return layer


def _awaiting_answer() -> UpperLayer:
    layer = UpperLayer(requestor=True)
    layer.associate(_RQ, 0.0)
    layer.connected(0.0)
    return layer


def _requested() -> UpperLayer:
    layer = _awaiting_request()
    layer.receive(_RQ_PDU, 0.0)
    return layer


def _accepted() -> UpperLayer:
    layer = _requested()
    layer.accept(_AC, 0.0)
    return layer


def _established() -> UpperLayer:
    layer = _awaiting_answer()
    layer.receive(_AC_PDU, 0.0)
    return layer


def _releasing() -> UpperLayer:
    layer = _established()
    layer.release(0.0)
    return layer


def _colliding() -> UpperLayer:
    layer = _releasing()
    layer.receive(pdus.A_RELEASE_RQ, 0.0)
    return layer


def _aborted() -> UpperLayer:
    layer = _established()
    layer.abort(0.0)
    return layer


STATES: Final[tuple[Callable[[], UpperLayer], ...]] = (
    *(_awaiting_request, _awaiting_answer, _requested, _accepted, _established, _releasing, _colliding, _aborted),
)


@dataclass
class _Course:
    """What became of one stream."""

    events: list[Event] = field(default_factory=list)
    """Those of one value are one fragment, however it was read."""
    answer: bytes = b""


def one_input(data: bytes) -> None:
    """Try one input; whatever is raised has been found."""
    if len(data) < 3:
        return
    begin, stream = STATES[data[0] % len(STATES)], data[2:]
    whole = _course(begin(), stream, len(stream))
    in_reads = _course(begin(), stream, data[1] % 61 + 1)
    assert whole == in_reads, "how it is cut into reads changes what it says"
    _check_messages(whole.events)
    for event in whole.events:
        if isinstance(event, AssociateIndication) and all(context.abstract_syntax for context in event.rq.contexts):
            rq = replace(event.rq, implementation_class_uid=_RQ.implementation_class_uid)
            again = pdus.decode_associate_rq(pdus.encode_associate_rq(rq)[6:])
            assert again == rq, "what is understood of an A-ASSOCIATE-RQ cannot be said again"
        elif isinstance(event, AssociateConfirm):
            ac = replace(event.ac, implementation_class_uid=_RQ.implementation_class_uid)
            pdus.decode_associate_ac(pdus.encode_associate_ac(ac)[6:])


def _course(layer: UpperLayer, stream: bytes, size: int) -> _Course:
    layer.take()
    course = _Course()
    for start in range(0, len(stream), size):
        for event in layer.receive(stream[start : start + size], _NOW):
            _add(course.events, event)
    _check(layer, course)
    return course


def _add(events: list[Event], event: Event) -> None:
    """Add an event; a fragment goes on with the one before unless that was the last of its value."""
    before = events[-1] if events else None
    if isinstance(event, Fragment) and isinstance(before, Fragment) and before[:2] == event[:2] and not before.is_last:
        joined = memoryview(bytes(before.data) + bytes(event.data))
        events[-1] = Fragment(event.context_id, event.is_command, event.is_last, joined)
    else:
        events.append(event)


def _check(layer: UpperLayer, course: _Course) -> None:
    """Look at what a layer has sent, and let it end in whatever way is open."""
    course.answer = b"".join(layer.take())
    types = [pdu_type for pdu_type, _ in _pdus(course.answer)]
    aborted = types.index(pdus.PDUType.A_ABORT) if pdus.PDUType.A_ABORT in types else len(types)
    assert set(types[aborted:]) <= {pdus.PDUType.A_ABORT}, "something but AA-7 follows an A-ABORT"
    aborts = [event for event in course.events if isinstance(event, Aborted)]
    assert len(aborts) < 2, "an association is aborted once"
    if types and types[-1] == pdus.PDUType.A_ABORT:
        assert course.answer[-2] in (0, 2), "the source of an A-ABORT"
        assert course.answer[-1] in (0, 1, 2, 4, 5, 6), "the reason of an A-ABORT"
    if layer.may_abort:
        layer.abort(_NOW)
    assert [pdu_type for pdu_type, _ in _pdus(b"".join(layer.take()))] in ([], [pdus.PDUType.A_ABORT])
    deadline = layer.get_timer()
    if deadline is not None:
        layer.timer_expired(deadline)
    layer.closed(_NOW)
    assert layer.get_timer() is None, "a timer is left"


def _pdus(sent: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of what was sent; raises AssertionError when it is no run of whole PDUs."""
    while sent:
        assert len(sent) >= 6, "a PDU is cut short"
        pdu_type, length = unpack_from(">BxI", sent)
        assert len(sent) >= 6 + length, "a PDU is cut short"
        yield pdu_type, sent[6 : 6 + length]
        sent = sent[6 + length :]


def _check_messages(events: list[Event]) -> None:
    reader = MessageReader()
    for event in events:
        if not isinstance(event, Fragment):
            continue
        try:
            reader.feed(*event)
        except PeerError as error:
            assert error.reason in (0, 1, 2, 4, 5, 6), "the reason of an A-ABORT"
            return


def seeds() -> Iterator[bytes]:
    """Yield inputs to begin with: what a well-behaved peer sends, in each state."""
    commands = (
        CEchoRQ(1, _VERIFICATION),
        CFindRQ(2, _GET, 0),
        CStoreRQ(3, _CT, "1.2.3", 0),
        CGetRSP(2, _GET, 0xFF00, False, 1, 0, 0, 0),
    )
    streams = [
        _RQ_PDU,
        _AC_PDU,
        pdus.encode_associate_rj(AssociateRJ(1, 1, 7)),
        pdus.A_RELEASE_RQ,
        pdus.A_RELEASE_RP,
        pdus.encode_abort(2, 6),
    ]
    for command in commands:
        values = pdvs(3, encode_command(command), is_command=True, max_length=60)
        streams.append(b"".join(pdus.encode_p_data_tf(values, 60)))
    values = pdvs(3, bytes(range(200)), is_command=False, max_length=90)
    streams.append(streams[-2] + b"".join(pdus.encode_p_data_tf(values, 90)) + pdus.A_RELEASE_RQ)
    for state in range(len(STATES)):
        for stream in streams:
            yield pack("BB", state, 7) + stream
