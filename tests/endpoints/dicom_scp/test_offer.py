from typing import Any

import pytest

from harmonygw.config.endpoint_options import AETableEntry, DicomSCPOptions
from harmonygw.dicom.upperlayer.negotiation import (
    AssociateRJ,
    AssociateRQ,
    ProposedContext,
    SupportedContext,
)
from harmonygw.endpoints.dicom_scp.offer import (
    QUERY_TRANSFER_SYNTAXES,
    STORAGE_TRANSFER_SYNTAXES,
    extended_negotiation,
    gatekeeper,
    supported_contexts,
)
from tests.endpoints.dicom_scp.scripted import (
    CT,
    EXPLICIT,
    FIND,
    GET,
    IMPLICIT,
    JPEG_2000,
    MOVE,
    PATIENT_FIND,
    PATIENT_GET,
    VERIFICATION,
)

PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
QUERY = SupportedContext((EXPLICIT, IMPLICIT))
CALLED, CALLING = AssociateRJ(1, 1, 7), AssociateRJ(1, 1, 3)


def supported(*, receives_moves: bool = False, **options: Any) -> dict[str, SupportedContext]:
    return dict(supported_contexts(DicomSCPOptions(**options), receives_moves=receives_moves))


@pytest.mark.parametrize(
    ("options", "offered"),
    [
        ({}, {VERIFICATION}),
        ({"enable_echo": False}, set()),
        ({"enable_find": True, "enable_echo": False}, {FIND, PATIENT_FIND}),
        ({"enable_move": True, "enable_echo": False}, {MOVE, PATIENT_MOVE}),
    ],
)
def test_a_query_service_is_offered_when_it_is_enabled(options: dict[str, bool], offered: set[str]) -> None:
    assert supported(**options) == dict.fromkeys(offered, QUERY)


@pytest.mark.parametrize(
    ("options", "receives_moves", "scp", "scu"),
    [
        ({"enable_store": True}, False, True, False),
        ({"enable_get": True}, False, False, True),
        ({"enable_get": True, "enable_store": True}, False, True, True),
        ({}, True, True, False),
    ],
)
def test_storage_is_offered_in_the_role_that_is_needed(
    options: dict[str, bool], receives_moves: bool, scp: bool, scu: bool
) -> None:
    offered = supported(receives_moves=receives_moves, **options)
    assert offered[CT] == SupportedContext(STORAGE_TRANSFER_SYNTAXES, scp=scp, scu=scu)
    assert len([uid for uid in offered if uid.startswith("1.2.840.10008.5.1.4.1.1.")]) > 100
    assert (GET in offered, PATIENT_GET in offered) == (options.get("enable_get", False),) * 2


def test_instances_are_taken_native_and_compressed_but_not_without_their_pixels() -> None:
    assert {EXPLICIT, IMPLICIT, JPEG_2000, "1.2.840.10008.1.2.4.102"} < set(STORAGE_TRANSFER_SYNTAXES)
    assert "1.2.840.10008.1.2.4.94" not in STORAGE_TRANSFER_SYNTAXES
    assert QUERY_TRANSFER_SYNTAXES == (EXPLICIT, IMPLICIT)


def test_relational_queries_are_offered_where_the_backend_has_them() -> None:
    without, with_ = (extended_negotiation(relational_queries=one) for one in (False, True))
    assert without == dict.fromkeys((FIND, PATIENT_FIND, MOVE, PATIENT_MOVE, GET, PATIENT_GET), b"\0")
    assert with_ == {**without, FIND: b"\1", PATIENT_FIND: b"\1"}


TABLE = {
    "VIEWER": AETableEntry("10.0.0.7", 104),
    "NAMED": AETableEntry("viewer.hospital", 104),
    "alias": AETableEntry("fd00::7", 104, ae_title="SIX"),
}


@pytest.mark.parametrize(
    ("options", "called", "calling", "peer", "refusal"),
    [
        ({}, "ANY", "ANYBODY", "10.9.9.9", None),
        ({"require_called_aet": True}, "GATEWAY", "ANYBODY", "10.9.9.9", None),
        ({"require_called_aet": True}, "MOVES", "ANYBODY", "10.9.9.9", None),
        ({"require_called_aet": True}, "ANY", "ANYBODY", "10.9.9.9", CALLED),
        ({"require_known_aet": True}, "ANY", "VIEWER", "10.0.0.7", None),
        ({"require_known_aet": True}, "ANY", "VIEWER", "::ffff:10.0.0.7", None),
        ({"require_known_aet": True}, "ANY", "VIEWER", "10.0.0.8", CALLING),
        ({"require_known_aet": True}, "ANY", "VIEWER", "", CALLING),
        ({"require_known_aet": True}, "ANY", "NAMED", "10.0.0.8", None),
        ({"require_known_aet": True}, "ANY", "SIX", "fd00:0::7%eth0", None),
        ({"require_known_aet": True}, "ANY", "alias", "fd00::7", CALLING),
        ({"require_known_aet": True}, "ANY", "STRANGER", "10.0.0.7", CALLING),
    ],
)
def test_an_association_is_let_in_by_its_titles_and_its_address(
    options: dict[str, bool], called: str, calling: str, peer: str, refusal: AssociateRJ | None
) -> None:
    refuse = gatekeeper(DicomSCPOptions(local_aet="GATEWAY", aet_table=TABLE, **options), ["MOVES"])
    request = AssociateRQ(called, calling, (ProposedContext(1, VERIFICATION, (IMPLICIT,)),))
    assert refuse(request, peer) == refusal
