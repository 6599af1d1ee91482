from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from harmonygw.backends.dicom_scu.information_models import PATIENT_ROOT, STUDY_ROOT
from harmonygw.backends.dicom_scu.requesting import Requesting, incoming_tls
from harmonygw.config.backend_options import UserIdentity
from harmonygw.dicom.upperlayer import negotiation
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ
from harmonygw.errors import ConfigurationError, RejectedError
from harmonygw.net.http.credentials import Credentials
from tests.backends.dicom_scu.backends import settings
from tests.certificates import identity
from tests.interop.connection import Connection
from tests.interop.held import EXPLICIT, IMPLICIT, VERIFICATION
from tests.interop.pacs import PACS


def requesting(port: int = 104, **options: object) -> Requesting:
    return Requesting(settings(port, **options), Credentials(), reactor)


@pytest.mark.parametrize(
    ("own", "tls", "sentence"),
    [
        (Credentials((("Authorization", "Bearer t"),)), True, "an association shows a certificate"),
        (Credentials(cert_path="c", key_path="k"), False, "mutual_tls needs protocol dicoms, or use_tls"),
        (Credentials(cert_path="c", key_path="k"), True, "c: not a PEM certificate file"),
    ],
)
def test_what_an_association_cannot_show_is_an_error(own: Credentials, tls: bool, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        Requesting(settings(104, use_tls=tls), own, reactor)


def test_the_pacs_needs_our_certificate_when_it_connects_back(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="incoming_store_port with TLS needs a certificate"):
        incoming_tls(settings(104, use_tls=True), Credentials())
    cert, key = identity("gateway").write(tmp_path, "gateway")
    assert incoming_tls(settings(104, use_tls=True), Credentials(cert_path=cert, key_path=key)).getContext()


def contexts(rq: AssociateRQ) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(one.context_id, one.abstract_syntax, one.transfer_syntaxes) for one in rq.contexts]


def test_a_request_says_who_we_are_and_whom_we_call() -> None:
    rq = requesting(local_aet="GATEWAY", max_pdu=32768).verification_rq()
    assert (rq.calling_ae_title, rq.called_ae_title, rq.max_pdu_length) == ("GATEWAY", "PACS", 32768)
    assert contexts(rq) == [(1, VERIFICATION, (IMPLICIT,))]
    assert rq.user_identity is None


def test_queries_are_proposed_in_explicit_vr_first_with_relational_queries_and_verification() -> None:
    rq = requesting().query_rq((STUDY_ROOT,))
    assert contexts(rq) == [
        (1, STUDY_ROOT.find, (EXPLICIT,)),
        (3, STUDY_ROOT.find, (IMPLICIT,)),
        (5, VERIFICATION, (IMPLICIT,)),
    ]
    assert rq.extended_negotiation == {STUDY_ROOT.find: b"\x01"}


def test_fuzzy_matching_is_asked_for_in_every_model_when_wanted() -> None:
    rq = requesting().query_rq((STUDY_ROOT, PATIENT_ROOT), fuzzy=True)
    assert rq.extended_negotiation == {STUDY_ROOT.find: b"\x01\x00\x01", PATIENT_ROOT.find: b"\x01\x00\x01"}
    assert [one.abstract_syntax for one in rq.contexts[2:4]] == [PATIENT_ROOT.find] * 2


@pytest.mark.parametrize(
    ("configured", "sent"),
    [
        (UserIdentity("gate"), negotiation.UserIdentity(1, b"gate")),
        (UserIdentity("gäte", "secret"), negotiation.UserIdentity(2, "gäte".encode(), b"secret")),
        (UserIdentity("gate", "", True), negotiation.UserIdentity(1, b"gate", b"", True)),
    ],
)
@ensureDeferred
async def test_a_user_identity_goes_with_every_request(
    configured: UserIdentity, sent: negotiation.UserIdentity
) -> None:
    received: list[negotiation.UserIdentity | None] = []

    async def note(connection: Connection) -> None:
        assert connection.rq is not None
        received.append(connection.rq.user_identity)
        connection.pacs.behave()
        await connection.pacs.associate(connection)

    pacs = PACS(associate=note)
    pacs.identity_response = b"" if configured.response_requested else None
    one = requesting(pacs.port, user_identity=configured)
    association = await one.open(one.verification_rq())
    association.release()
    await pacs.quiet()
    await pacs.stop()
    assert received == [sent]


@ensureDeferred
async def test_an_identity_that_is_not_confirmed_releases_the_association() -> None:
    pacs = PACS()
    one = requesting(pacs.port, user_identity=UserIdentity("gate", "secret", True))
    with pytest.raises(RejectedError, match="did not confirm the user identity") as caught:
        await one.open(one.verification_rq())
    assert not caught.value.transient
    await pacs.quiet()
    await pacs.stop()
    assert pacs.seen == ["connected", "A-ASSOCIATE-RQ", "A-RELEASE-RQ", "closed"]


@ensureDeferred
async def test_a_rejection_names_both_ae_titles() -> None:
    async def reject(connection: Connection) -> None:
        connection.reject(1, 1, 3)

    pacs = PACS(associate=reject)
    one = requesting(pacs.port)
    with pytest.raises(RejectedError, match=r"calling AE title not recognized.*PACS.*HARMONYGW") as caught:
        await one.open(one.verification_rq())
    await pacs.stop()
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 3)


def test_certificates_are_read_again_for_associations_from_now_on(tmp_path: Path) -> None:
    cert, key = identity("gateway").write(tmp_path, "gateway")
    one = Requesting(settings(104, use_tls=True), Credentials(cert_path=cert, key_path=key), reactor)
    before = one._endpoint
    Path(key).write_text("nothing", encoding="ascii")
    with pytest.raises(ConfigurationError, match="not a PEM private key"):
        one.reload()
    assert one._endpoint is before
    identity("gateway").write(tmp_path, "gateway")
    one.reload()
    assert one._endpoint is not before
