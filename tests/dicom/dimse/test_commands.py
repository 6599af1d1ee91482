"""Command sets, byte for byte as pynetdicom writes them, and as peers bend them."""

from io import BytesIO
from struct import pack

import pynetdicom.dimse_messages as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import dimse_primitives
from pynetdicom.dsutils import encode

from harmonygw.dicom.dimse.commands import (
    CCancelRQ,
    CEchoRQ,
    CEchoRSP,
    CFindRQ,
    CFindRSP,
    CGetRQ,
    CGetRSP,
    CMoveRQ,
    CMoveRSP,
    Command,
    CStoreRQ,
    CStoreRSP,
    NActionRQ,
    NActionRSP,
    NEventReportRQ,
    NEventReportRSP,
    UnknownCommand,
    decode_command,
    encode_command,
)
from harmonygw.errors import BadRequest, PeerError

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
INSTANCE = "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
SOME = True


def by_pynetdicom(message: str, data_set: str = "", **parameters: object) -> bytes:
    """Return the command set that pynetdicom makes of a message."""
    primitive = getattr(dimse_primitives, message[: message.rindex("_R")])()
    for keyword, value in parameters.items():
        setattr(primitive, keyword, value)
    if data_set:
        setattr(primitive, data_set, BytesIO(b"\0\0"))
    encoder = getattr(reference, message)()
    encoder.primitive_to_message(primitive)
    encoded = encode(encoder.command_set, True, True)
    assert encoded is not None
    return encoded


RQ = {"MessageID": 7, "Priority": 2}
RSP = {"MessageIDBeingRespondedTo": 7}
COUNTS = {
    "NumberOfRemainingSuboperations": 1,
    "NumberOfCompletedSuboperations": 2,
    "NumberOfFailedSuboperations": 3,
    "NumberOfWarningSuboperations": 4,
}

CASES: list[tuple[Command, bytes]] = [
    (CEchoRQ(7, VERIFICATION), by_pynetdicom("C_ECHO_RQ", MessageID=7, AffectedSOPClassUID=VERIFICATION)),
    (
        CEchoRSP(7, VERIFICATION, 0),
        by_pynetdicom("C_ECHO_RSP", **RSP, AffectedSOPClassUID=VERIFICATION, Status=0),
    ),
    (
        CStoreRQ(7, CT, INSTANCE, 2),
        by_pynetdicom("C_STORE_RQ", "DataSet", **RQ, AffectedSOPClassUID=CT, AffectedSOPInstanceUID=INSTANCE),
    ),
    (
        CStoreRQ(65535, CT, "1.2.34", 0, "MOVER", 0),
        by_pynetdicom(
            "C_STORE_RQ",
            "DataSet",
            MessageID=65535,
            Priority=0,
            AffectedSOPClassUID=CT,
            AffectedSOPInstanceUID="1.2.34",
            MoveOriginatorApplicationEntityTitle="MOVER",
            MoveOriginatorMessageID=0,
        ),
    ),
    (
        CStoreRSP(7, CT, INSTANCE, 0),
        by_pynetdicom("C_STORE_RSP", **RSP, AffectedSOPClassUID=CT, AffectedSOPInstanceUID=INSTANCE, Status=0),
    ),
    (
        CStoreRSP(7, CT, INSTANCE, 0xA700, "disk full", (0x7FE00010, 0x00100010)),
        by_pynetdicom(
            "C_STORE_RSP",
            **RSP,
            AffectedSOPClassUID=CT,
            AffectedSOPInstanceUID=INSTANCE,
            Status=0xA700,
            ErrorComment="disk full",
            OffendingElement=[0x7FE00010, 0x00100010],
        ),
    ),
    (
        CFindRQ(7, STUDY_ROOT_FIND, 2),
        by_pynetdicom("C_FIND_RQ", "Identifier", **RQ, AffectedSOPClassUID=STUDY_ROOT_FIND),
    ),
    (
        CFindRSP(7, STUDY_ROOT_FIND, 0xFF00, SOME),
        by_pynetdicom("C_FIND_RSP", "Identifier", **RSP, AffectedSOPClassUID=STUDY_ROOT_FIND, Status=0xFF00),
    ),
    (
        CFindRSP(7, STUDY_ROOT_FIND, 0xC001, False, "no such key", (0x00080061,)),
        by_pynetdicom(
            "C_FIND_RSP",
            **RSP,
            AffectedSOPClassUID=STUDY_ROOT_FIND,
            Status=0xC001,
            ErrorComment="no such key",
            OffendingElement=[0x00080061],
        ),
    ),
    (CGetRQ(7, CT, 2), by_pynetdicom("C_GET_RQ", "Identifier", **RQ, AffectedSOPClassUID=CT)),
    (
        CGetRSP(7, CT, 0xFF00, False, 1, 2, 3, 4),
        by_pynetdicom("C_GET_RSP", **RSP, **COUNTS, AffectedSOPClassUID=CT, Status=0xFF00),
    ),
    (
        CGetRSP(7, CT, 0xB000, SOME, None, 2, 3, 4, "three failed", (0x00080018,)),
        by_pynetdicom(
            "C_GET_RSP",
            "Identifier",
            **RSP,
            **{**COUNTS, "NumberOfRemainingSuboperations": None},
            AffectedSOPClassUID=CT,
            Status=0xB000,
            ErrorComment="three failed",
            OffendingElement=[0x00080018],
        ),
    ),
    (
        CMoveRQ(7, CT, "HARMONY", 2),
        by_pynetdicom("C_MOVE_RQ", "Identifier", **RQ, AffectedSOPClassUID=CT, MoveDestination="HARMONY"),
    ),
    (CMoveRSP(7, CT, 0xA801), by_pynetdicom("C_MOVE_RSP", **RSP, AffectedSOPClassUID=CT, Status=0xA801)),
    (
        CMoveRSP(7, CT, 0, False, 0, 2, 0, 0),
        by_pynetdicom(
            "C_MOVE_RSP",
            **RSP,
            AffectedSOPClassUID=CT,
            Status=0,
            NumberOfRemainingSuboperations=0,
            NumberOfCompletedSuboperations=2,
            NumberOfFailedSuboperations=0,
            NumberOfWarningSuboperations=0,
        ),
    ),
    (CCancelRQ(7), by_pynetdicom("C_CANCEL_RQ", **RSP)),
    (
        NActionRQ(7, COMMITMENT, COMMITMENT_INSTANCE, 1),
        by_pynetdicom(
            "N_ACTION_RQ",
            "ActionInformation",
            MessageID=7,
            RequestedSOPClassUID=COMMITMENT,
            RequestedSOPInstanceUID=COMMITMENT_INSTANCE,
            ActionTypeID=1,
        ),
    ),
    (
        NActionRSP(7, COMMITMENT, COMMITMENT_INSTANCE, 0, 1),
        by_pynetdicom(
            "N_ACTION_RSP",
            **RSP,
            AffectedSOPClassUID=COMMITMENT,
            AffectedSOPInstanceUID=COMMITMENT_INSTANCE,
            ActionTypeID=1,
            Status=0,
        ),
    ),
    (
        NActionRSP(7, "", "", 0x0213, None, False, "too many"),
        by_pynetdicom("N_ACTION_RSP", **RSP, Status=0x0213, ErrorComment="too many"),
    ),
    (
        NEventReportRQ(9, COMMITMENT, COMMITMENT_INSTANCE, 2),
        by_pynetdicom(
            "N_EVENT_REPORT_RQ",
            "EventInformation",
            MessageID=9,
            AffectedSOPClassUID=COMMITMENT,
            AffectedSOPInstanceUID=COMMITMENT_INSTANCE,
            EventTypeID=2,
        ),
    ),
    (
        NEventReportRQ(9, COMMITMENT, COMMITMENT_INSTANCE, 2, False),
        by_pynetdicom(
            "N_EVENT_REPORT_RQ",
            MessageID=9,
            AffectedSOPClassUID=COMMITMENT,
            AffectedSOPInstanceUID=COMMITMENT_INSTANCE,
            EventTypeID=2,
        ),
    ),
    (
        NEventReportRSP(7, COMMITMENT, COMMITMENT_INSTANCE, 0, 2),
        by_pynetdicom(
            "N_EVENT_REPORT_RSP",
            **RSP,
            AffectedSOPClassUID=COMMITMENT,
            AffectedSOPInstanceUID=COMMITMENT_INSTANCE,
            EventTypeID=2,
            Status=0,
        ),
    ),
]
NAMES = [f"{type(command).__name__}-{number}" for number, (command, _) in enumerate(CASES)]


@pytest.mark.parametrize(("command", "encoded"), CASES, ids=NAMES)
def test_a_command_is_encoded_as_pynetdicom_encodes_it(command: Command, encoded: bytes) -> None:
    assert encode_command(command) == encoded


@pytest.mark.parametrize(("command", "encoded"), CASES, ids=NAMES)
def test_a_command_set_of_pynetdicom_is_decoded(command: Command, encoded: bytes) -> None:
    assert decode_command(memoryview(encoded)) == command
    assert decode_command(bytearray(encoded)).has_data_set is command.has_data_set


def us(element: int, value: int) -> bytes:
    return pack("<HHIH", 0, element, 2, value)


def other(element: int, value: bytes) -> bytes:
    return pack("<HHI", 0, element, len(value)) + value


ECHO_RQ = us(0x0100, 0x0030) + us(0x0110, 1) + us(0x0800, 0x0101) + other(0x0002, b"1.2.840.10008.1.1\0")


@pytest.mark.parametrize("group_length", [b"", pack("<HHII", 0, 0, 4, 0), pack("<HHII", 0, 0, 4, 0xFFFFFFFF)])
def test_the_group_length_is_not_relied_upon(group_length: bytes) -> None:
    assert decode_command(group_length + ECHO_RQ) == CEchoRQ(1, VERIFICATION)


def test_unknown_elements_are_passed_over() -> None:
    assert decode_command(other(0x5678, b"abcd") + ECHO_RQ + us(0x9999, 1)) == CEchoRQ(1, VERIFICATION)


def store_rq(uid: bytes = b"1.2\0", *more: bytes, sop_class: bytes = CT.encode() + b"\0") -> bytes:
    return (
        other(0x0002, sop_class)
        + us(0x0100, 0x0001)
        + us(0x0110, 3)
        + us(0x0800, 0)
        + other(0x1000, uid)
        + b"".join(more)
    )


@pytest.mark.parametrize(
    ("encoded", "uid"),
    [
        (b"1.2\0", "1.2"),
        (b"1.2 ", "1.2"),
        (b"1.2\0 \0 ", "1.2"),
        (b"1.2a-B_", "1.2a-B_"),
        (b"1" * 64, "1" * 64),
    ],
)
def test_a_uid_loses_its_padding_and_keeps_its_letters(encoded: bytes, uid: str) -> None:
    command = decode_command(store_rq(encoded))
    assert isinstance(command, CStoreRQ)
    assert command.affected_sop_instance_uid == uid


BAD_UIDS = [
    b"1" * 65,
    b"1.2/3",
    b"1.2\\3",
    b"../1",
    b"1\0.2",
    b"1.\n2",
    b"1.\x7f2",
    b"1.\xe92",
    b".",
    b"1 2",
    b"\0\0",
]


@pytest.mark.parametrize("uid", BAD_UIDS)
def test_what_cannot_be_a_uid_is_refused_by_name(uid: bytes) -> None:
    with pytest.raises(PeerError, match=r"AffectedSOPInstanceUID \(0000,1000\) is not a UID"):
        decode_command(store_rq(uid))
    with pytest.raises(PeerError, match=r"AffectedSOPClassUID \(0000,0002\) is not a UID"):
        decode_command(store_rq(sop_class=uid))


def test_an_error_of_a_command_set_aborts_with_invalid_parameter_value() -> None:
    with pytest.raises(PeerError) as caught:
        decode_command(store_rq(b"../x"))
    assert (caught.value.source, caught.value.reason) == (2, 6)


def test_the_move_originator_is_read_without_its_padding() -> None:
    command = decode_command(store_rq(b"1.2\0", other(0x1030, b" MOVER \0"), us(0x1031, 9)))
    assert command == CStoreRQ(3, CT, "1.2", 0, "MOVER", 9)


def test_half_a_move_originator_is_read_as_far_as_it_goes() -> None:
    assert decode_command(store_rq(b"1.2\0", us(0x1031, 9))) == CStoreRQ(3, CT, "1.2", 0, "", 9)
    assert decode_command(store_rq(b"1.2\0", other(0x1030, b"M "))) == CStoreRQ(3, CT, "1.2", 0, "M", None)


@pytest.mark.parametrize("ae_title", [b"SEVENTEEN_LETTERS", b"A\nB "])
def test_what_cannot_be_an_ae_title_is_refused(ae_title: bytes) -> None:
    with pytest.raises(PeerError, match=r"MoveOriginatorApplicationEntityTitle .* is not an AE title"):
        decode_command(store_rq(b"1.2\0", other(0x1030, ae_title)))


@pytest.mark.parametrize(
    ("encoded", "complaint"),
    [
        (b"", "CommandField (0000,0100) is missing"),
        (us(0x0110, 1), "CommandField (0000,0100) is missing"),
        (ECHO_RQ[:10], "MessageID (0000,0110) is missing"),
        (ECHO_RQ[:30], "AffectedSOPClassUID (0000,0002) is missing"),
        (us(0x0100, 0x8030) + us(0x0120, 1), "Status (0000,0900) is missing"),
        (us(0x0100, 0x8030) + us(0x0900, 0), "MessageIDBeingRespondedTo (0000,0120) is missing"),
        (us(0x0100, 0x0020) + us(0x0110, 1), "CommandDataSetType (0000,0800) is missing"),
        (
            us(0x0100, 0x0021) + us(0x0110, 1) + us(0x0800, 1) + other(2, b"1.2\0"),
            "MoveDestination (0000,0600)",
        ),
        (other(0x0100, b""), "CommandField (0000,0100) is missing"),
        (other(0x0100, b"\0"), "CommandField (0000,0100) has 1 bytes instead of 2"),
        (us(0x0100, 0x0030) + other(0x0110, b"\0" * 4), "MessageID (0000,0110) has 4 bytes instead of 2"),
        (us(0x0100, 0x0001) + us(0x0110, 1) + us(0x0800, 0x0101), "announces none"),
        (ECHO_RQ[:-1], "AffectedSOPClassUID (0000,0002) is cut short"),
        (ECHO_RQ + b"\0\0\0\0\2\0\0", "cut short at byte 56"),
        (ECHO_RQ + other(0x7777, b"ab")[:-1], "(0000,7777) is cut short"),
        (pack("<HHI", 0, 0x0100, 0xFFFFFFFF), "CommandField (0000,0100) is cut short"),
        (ECHO_RQ + pack("<HHI", 8, 0x0058, 2), "FailedSOPInstanceUIDList (0008,0058) is cut short"),
    ],
)
def test_a_malformed_command_set_is_refused_with_what_is_wrong(encoded: bytes, complaint: str) -> None:
    with pytest.raises(PeerError) as caught:
        decode_command(encoded)
    assert complaint in caught.value.detail


def test_the_status_detail_that_dcmtk_appends_to_a_failed_c_get_rsp_is_passed_over() -> None:
    failed = by_pynetdicom("C_GET_RSP", **RSP, **COUNTS, AffectedSOPClassUID=STUDY_ROOT_FIND, Status=0xA702)
    uids = b"1.2.3\\1.2.4 "
    detail = pack("<HHII", 8, 0x0000, 4, 8 + len(uids)) + pack("<HHI", 8, 0x0058, len(uids)) + uids
    assert decode_command(failed + detail) == CGetRSP(7, STUDY_ROOT_FIND, 0xA702, False, 1, 2, 3, 4)


def test_a_response_may_leave_out_its_uids_and_counts() -> None:
    base = us(0x0120, 5) + us(0x0800, 0x0101) + us(0x0900, 0xFF00)
    assert decode_command(us(0x0100, 0x8001) + base) == CStoreRSP(5, "", "", 0xFF00)
    assert decode_command(us(0x0100, 0x8010) + base) == CGetRSP(5, "", 0xFF00)
    assert decode_command(us(0x0100, 0x8021) + base + other(0x1020, b"")) == CMoveRSP(5, "", 0xFF00)
    assert encode_command(CStoreRSP(5, "", "", 0))[12:] == us(0x0100, 0x8001) + us(0x0120, 5) + us(0x0800, 0x0101) + us(
        0x0900, 0
    )


def test_an_action_without_information_is_refused() -> None:
    requested = other(0x0003, COMMITMENT.encode()) + other(0x1001, COMMITMENT_INSTANCE.encode())
    ids = us(0x0100, 0x0130) + us(0x0110, 4) + us(0x1008, 1)
    with pytest.raises(PeerError, match="announces none"):
        decode_command(requested + ids + us(0x0800, 0x0101))
    with pytest.raises(PeerError, match=r"RequestedSOPInstanceUID \(0000,1001\) is not a UID"):
        decode_command(other(0x0003, COMMITMENT.encode()) + other(0x1001, b"1/2 ") + ids + us(0x0800, 1))


def test_an_error_comment_is_fit_for_a_log() -> None:
    comment, tags = other(0x0902, b"disk\nfull \xff\x1b \0"), other(0x0901, b"\x08\0\x18\0\x08\0")
    command = decode_command(us(0x0100, 0x8001) + us(0x0120, 5) + us(0x0900, 0xA700) + tags + comment)
    assert command == CStoreRSP(5, "", "", 0xA700, "disk\ufffdfull \ufffd\ufffd", (0x00080018,))


def test_an_error_comment_is_cut_and_made_ascii_when_sent() -> None:
    encoded = encode_command(CStoreRSP(5, "", "", 0xA700, "ü\\\n" + "x" * 100))
    assert encoded.endswith(other(0x0902, b"???" + b"x" * 61))


def test_another_message_is_known_by_its_field_and_message_id() -> None:
    n_set = us(0x0100, 0x0120) + us(0x0110, 4) + us(0x0800, 1)
    assert decode_command(n_set) == UnknownCommand(0x0120, 4, True)
    response = us(0x0100, 0x8120) + us(0x0120, 4) + us(0x0800, 0x0101)
    assert decode_command(response) == UnknownCommand(0x8120, 4, False)


@pytest.mark.parametrize(
    "command",
    [
        CEchoRQ(65536, VERIFICATION),
        CEchoRQ(-1, VERIFICATION),
        CEchoRSP(1, VERIFICATION, 65536),
        CStoreRQ(1, CT, "1" * 65),
        CStoreRQ(1, CT, ""),
        CStoreRQ(1, "1/2", "1.2"),
        CStoreRQ(1, CT, "1.2", 0, "SEVENTEEN_LETTERS"),
        CMoveRQ(1, CT, ""),
        CMoveRQ(1, CT, "A\\B"),
        UnknownCommand(0x0120, 1),
        NActionRQ(1, COMMITMENT, "", 1),
        NEventReportRQ(1, COMMITMENT, COMMITMENT_INSTANCE, 65536),
    ],
)
def test_what_cannot_be_encoded_is_refused(command: Command) -> None:
    with pytest.raises(BadRequest):
        encode_command(command)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda noise: ECHO_RQ + noise))
def test_whatever_arrives_is_a_command_or_a_peer_error(data: bytes) -> None:
    try:
        command = decode_command(data)
    except PeerError:
        return
    assert command.has_data_set in (True, False)
