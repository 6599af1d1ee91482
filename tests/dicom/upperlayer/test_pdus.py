import warnings
from contextlib import suppress
from dataclasses import replace
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from harmonygw.dicom.upperlayer import pdus
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    ProposedContext,
    UserIdentity,
)
from harmonygw.errors import PeerError
from tests.dicom.upperlayer.scripts import (
    AC_PDU,
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    RELEASE_RP,
    RELEASE_RQ,
    RJ_PDU,
    RQ_PDU,
    abort,
    associate,
    item,
    p_data,
    pdv,
)

APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
FULL_RQ = AssociateRQ(
    "ARCHIVE",
    "GATEWAY",
    (
        ProposedContext(1, CT, (IMPLICIT,), True, True),
        ProposedContext(3, CT, (EXPLICIT,), True, True),
        ProposedContext(5, MR, (IMPLICIT, EXPLICIT)),
    ),
    max_pdu_length=16384,
    extended_negotiation={MR: b"\1\1"},
    user_identity=UserIdentity(2, b"name", b"pass", response_requested=True),
    implementation_class_uid="1.2.3",
    implementation_version_name="VERSION",
    asynchronous_operations=(1, 2),
)
FULL_RQ_PDU = associate(
    1,
    APPLICATION,
    item(0x20, b"\1\0\0\0" + item(0x30, CT.encode()) + item(0x40, IMPLICIT.encode())),
    item(0x20, b"\3\0\0\0" + item(0x30, CT.encode()) + item(0x40, EXPLICIT.encode())),
    item(
        0x20,
        b"\5\0\0\0" + item(0x30, MR.encode()) + item(0x40, IMPLICIT.encode()) + item(0x40, EXPLICIT.encode()),
    ),
    item(
        0x50,
        item(0x51, pack(">I", 16384))
        + item(0x52, b"1.2.3")
        + item(0x53, b"\0\1\0\2")
        + item(0x54, pack(">H", len(CT)) + CT.encode() + b"\1\1")
        + item(0x55, b"VERSION")
        + item(0x56, pack(">H", len(MR)) + MR.encode() + b"\1\1")
        + item(0x58, b"\2\1\0\4name\0\4pass"),
    ),
)
FULL_AC = AssociateAC(
    "ARCHIVE",
    "GATEWAY",
    (ContextResult(1, 0, IMPLICIT), ContextResult(3, 4), ContextResult(5, 0, EXPLICIT)),
    max_pdu_length=0,
    role_selections={CT: (False, True)},
    extended_negotiation={MR: b"\1"},
    implementation_class_uid="1.2.3",
    implementation_version_name="VERSION",
    user_identity_response=b"ticket",
)
FULL_AC_PDU = associate(
    2,
    APPLICATION,
    item(0x21, b"\1\0\0\0" + item(0x40, IMPLICIT.encode())),
    item(0x21, b"\3\0\4\0" + item(0x40, IMPLICIT.encode())),
    item(0x21, b"\5\0\0\0" + item(0x40, EXPLICIT.encode())),
    item(
        0x50,
        item(0x51, bytes(4))
        + item(0x52, b"1.2.3")
        + item(0x54, pack(">H", len(CT)) + CT.encode() + b"\0\1")
        + item(0x55, b"VERSION")
        + item(0x56, pack(">H", len(MR)) + MR.encode() + b"\1")
        + item(0x59, b"\0\6ticket"),
    ),
)


def test_a_request_is_encoded_as_the_standard_lays_it_out() -> None:
    assert pdus.encode_associate_rq(FULL_RQ) == FULL_RQ_PDU
    assert pdus.decode_associate_rq(FULL_RQ_PDU[6:]) == FULL_RQ


def test_an_acceptance_is_encoded_as_the_standard_lays_it_out() -> None:
    assert pdus.encode_associate_ac(FULL_AC) == FULL_AC_PDU
    assert pdus.decode_associate_ac(FULL_AC_PDU[6:]) == FULL_AC


def test_pynetdicom_reads_the_same_from_what_is_sent() -> None:
    rq = A_ASSOCIATE_RQ()
    rq.decode(RQ_PDU)
    assert (rq.called_ae_title, rq.calling_ae_title) == ("ARCHIVE", "GATEWAY")
    ac = A_ASSOCIATE_AC()
    ac.decode(AC_PDU)
    assert [(c.context_id, c.result, c.transfer_syntax) for c in ac.presentation_context] == [(1, 0, IMPLICIT)]


def test_an_empty_version_name_is_not_sent() -> None:
    nameless = replace(FULL_RQ, implementation_version_name="")
    encoded = pdus.encode_associate_rq(nameless)
    assert b"\x55\0\0" not in encoded
    assert pdus.decode_associate_rq(encoded[6:]) == nameless


def test_equal_requests_are_encoded_once() -> None:
    assert pdus.encode_associate_rq(FULL_RQ) is pdus.encode_associate_rq(replace(FULL_RQ))
    other = replace(FULL_RQ, extended_negotiation={})
    assert pdus.encode_associate_rq(other) != pdus.encode_associate_rq(FULL_RQ)


def test_the_cache_of_requests_is_bounded() -> None:
    assert pdus.encode_associate_rq.cache_info().maxsize == pdus.ENCODED_REQUESTS_KEPT


@pytest.mark.parametrize("title", [b"ARCHIVE", b" ARCHIVE  ", b"ARCHIVE\0\0\0"])
def test_padded_ae_titles_are_understood(title: bytes) -> None:
    context = item(0x20, b"\1\0\0\0" + item(0x30, CT.encode()) + item(0x40, IMPLICIT.encode() + b"\0"))
    rq = pdus.decode_associate_rq(associate(1, APPLICATION, context, called=title)[6:])
    assert rq.called_ae_title == "ARCHIVE"
    assert rq.contexts == (ProposedContext(1, CT, (IMPLICIT,)),)


def test_a_request_without_user_information_is_understood() -> None:
    context = item(0x20, b"\1\0\0\0" + item(0x30, CT.encode()) + item(0x40, IMPLICIT.encode()))
    rq = pdus.decode_associate_rq(associate(1, APPLICATION, context)[6:])
    assert (rq.max_pdu_length, rq.implementation_class_uid, rq.asynchronous_operations) == (0, "", None)


def test_the_ae_titles_of_an_acceptance_are_not_tested() -> None:
    ac = pdus.decode_associate_ac(associate(2, called=b"\xff\\", calling=b"")[6:])
    assert (ac.calling_ae_title, ac.contexts, ac.user_identity_response) == ("", (), None)


CONTEXT = item(0x20, b"\1\0\0\0" + item(0x30, CT.encode()) + item(0x40, IMPLICIT.encode()))


@pytest.mark.parametrize(
    "pdu",
    [
        associate(1, APPLICATION),  # no presentation context
        associate(1, APPLICATION, CONTEXT, CONTEXT),  # one id twice
        associate(1, APPLICATION, item(0x20, b"\2\0\0\0" + CONTEXT[8:])),  # even id
        associate(1, APPLICATION, item(0x20, b"\1\0\0\0" + item(0x30, CT.encode()))),  # no transfer syntax
        associate(1, APPLICATION, CONTEXT, called=b""),
        associate(1, APPLICATION, CONTEXT, calling=b"A\\B"),
        associate(1, APPLICATION, CONTEXT, calling=b"\xe9"),
        associate(1, APPLICATION, CONTEXT, item(0x50, item(0x54, b"\0\0031.2\2\1"))),  # a role of 2
        associate(1, APPLICATION, CONTEXT, b"\x50"),
    ],
)
def test_a_malformed_request_is_one_kind_of_error(pdu: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        pdus.decode_associate_rq(pdu[6:])
    assert (caught.value.source, caught.value.reason) == (2, 6)


def test_a_malformed_acceptance_is_one_kind_of_error() -> None:
    with pytest.raises(PeerError, match="malformed A-ASSOCIATE-AC") as caught:
        pdus.decode_associate_ac(associate(2, item(0x50, item(0x54, b"\0\0031.2\2\1")))[6:])
    assert caught.value.reason == 6


@given(st.integers(6, len(FULL_AC_PDU) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_pdu_is_decoded_or_refused_and_nothing_else(at: int, damage: bytes) -> None:
    for decode, pdu in ((pdus.decode_associate_rq, FULL_RQ_PDU), (pdus.decode_associate_ac, FULL_AC_PDU)):
        damaged = pdu[:at] + damage + pdu[at + len(damage) :]
        with suppress(PeerError):
            decode(damaged[6:])


def test_small_pdus_are_as_the_standard_lays_them_out() -> None:
    assert pdus.A_RELEASE_RQ == RELEASE_RQ
    assert pdus.A_RELEASE_RP == RELEASE_RP
    assert pdus.encode_abort(2, 6) == abort(2, 6)
    assert pdus.decode_abort(abort(2, 6)[6:]) == (2, 6)
    assert pdus.encode_associate_rj(AssociateRJ(2, 3, 1)) == RJ_PDU
    assert pdus.decode_associate_rj(RJ_PDU[6:]) == AssociateRJ(2, 3, 1)


def test_the_protocol_version_is_a_field_of_bits() -> None:
    assert pdus.protocol_version(b"\x80\x01") == 0x8001


def joined(*pdvs: tuple[int, bool, bool, bytes], max_length: int) -> bytes:
    return b"".join(pdus.encode_p_data_tf(pdvs, max_length))


def test_values_share_a_pdu_up_to_the_maximum_length_exactly() -> None:
    a, b, c = (1, False, False, b"aaaa"), (1, False, False, b"bbbb"), (1, False, True, b"cccc")
    pdv_a, pdv_b, pdv_c = pdv(b"aaaa"), pdv(b"bbbb"), pdv(b"cccc", control=2)
    assert joined(a, b, c, max_length=30) == p_data(pdv_a, pdv_b, pdv_c)
    assert joined(a, b, c, max_length=29) == p_data(pdv_a, pdv_b) + p_data(pdv_c)
    assert joined(a, b, c, max_length=10) == p_data(pdv_a) + p_data(pdv_b) + p_data(pdv_c)
    with pytest.raises(ValueError, match="10 bytes exceeds 9"):
        joined(a, max_length=9)


def test_command_and_data_set_travel_in_pdus_of_their_own() -> None:
    sent = joined((3, True, True, b"command"), (3, False, True, b"data"), max_length=16384)
    assert sent == p_data(pdv(b"command", 3, 3)) + p_data(pdv(b"data", 3, 2))


def test_nothing_to_send_sends_nothing() -> None:
    assert joined(max_length=16384) == b""


def test_a_value_is_sent_uncopied() -> None:
    data = memoryview(bytes(1000))
    header, value = pdus.encode_p_data_tf([(1, False, True, data)], 16384)
    assert header == p_data(pdv(bytes(1000), 1, 2))[:12]
    assert value is data


def test_a_fragment_of_pieces_is_one_value_and_uncopied() -> None:
    pieces = [b"aa", memoryview(b"bbbb")]
    header, *sent = pdus.encode_fragment(5, True, pieces, 12)
    assert sent == pieces
    assert header + b"".join(sent) == p_data(pdv(b"aabbbb", 5, 2))
    assert b"".join(pdus.encode_fragment(5, False, (), 12)) == p_data(pdv(b"", 5, 0))
    with pytest.raises(ValueError, match="12 bytes exceeds 11"):
        pdus.encode_fragment(5, True, pieces, 11)


def test_a_uid_that_breaks_the_rules_is_taken_without_a_warning() -> None:
    """Python remembers each warning for ever, and whoever connects has as many UIDs as it likes."""
    body = associate(
        1,
        item(0x10, b"1.2.840.10008.3.1.1.1"),
        item(0x20, b"\1\0\0\0" + item(0x30, b"1.2..3") + item(0x40, b"1.02.3")),
        item(0x50, item(0x51, b"\0\0\x40\0") + item(0x52, b"1.2.3.")),
    )[6:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rq = pdus.decode_associate_rq(body)
        pdus.encode_associate_rq(rq)
    assert rq.contexts == (ProposedContext(1, "1.2..3", ("1.02.3",)),)
    assert rq.implementation_class_uid == "1.2.3."
    assert caught == []
