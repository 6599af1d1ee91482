import pytest

from harmonygw.dicom.dataset.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from harmonygw.dicom.upperlayer.negotiation import (
    AcceptedContext,
    AssociateAC,
    AssociateRQ,
    ContextResult,
    ProposedContext,
    SupportedContext,
    UserIdentity,
    accepted,
    ae_title,
    negotiate,
)
from tests.dicom.upperlayer.scripts import CT, EXPLICIT, IMPLICIT, MR


def request(*contexts: ProposedContext) -> AssociateRQ:
    return AssociateRQ("ARCHIVE", "GATEWAY", contexts)


def answer(*contexts: ContextResult, roles: dict[str, tuple[bool, bool]] | None = None) -> AssociateAC:
    return AssociateAC("ARCHIVE", "GATEWAY", contexts, role_selections=roles or {})


def test_the_implementation_identifies_itself_within_the_standards_lengths() -> None:
    assert len(IMPLEMENTATION_CLASS_UID) <= 64
    assert 1 <= len(IMPLEMENTATION_VERSION_NAME) <= 16


@pytest.mark.parametrize("title", ["A", "SIXTEEN_LETTERS_", "with space", "  PADDED  "])
def test_an_ae_title_loses_the_spaces_around_it(title: str) -> None:
    assert ae_title(title) == title.strip()


@pytest.mark.parametrize("title", ["", " " * 16, "SEVENTEEN_LETTERS", "BACK\\SLASH", "TAB\t", "NUL\0", "É"])
def test_what_is_not_an_ae_title_is_refused(title: str) -> None:
    with pytest.raises(ValueError, match="not an AE title"):
        ae_title(title)
    with pytest.raises(ValueError, match="not an AE title"):
        AssociateRQ(title, "GATEWAY", (ProposedContext(1, CT, (IMPLICIT,)),))


def test_an_acceptance_refuses_an_ae_title_that_does_not_fit_its_field() -> None:
    with pytest.raises(ValueError, match="not an AE title"):
        AssociateAC("SEVENTEEN_LETTERS", "GATEWAY", ())


def test_a_request_may_hold_128_contexts_and_no_more() -> None:
    contexts = tuple(ProposedContext(2 * n + 1, CT, (IMPLICIT,)) for n in range(129))
    assert len(request(*contexts[:128]).contexts) == 128
    with pytest.raises(ValueError, match="129 presentation contexts"):
        request(*contexts)
    with pytest.raises(ValueError, match="0 presentation contexts"):
        request()


@pytest.mark.parametrize("context_id", [-1, 0, 2, 254, 256, 257])
def test_a_context_id_is_odd_and_fits_a_byte(context_id: int) -> None:
    with pytest.raises(ValueError, match="not odd and in 1 to 255"):
        request(ProposedContext(context_id, CT, (IMPLICIT,)))


def test_a_context_id_is_used_once() -> None:
    with pytest.raises(ValueError, match="used twice"):
        request(ProposedContext(1, CT, (IMPLICIT,)), ProposedContext(1, MR, (IMPLICIT,)))


def test_a_context_has_a_transfer_syntax() -> None:
    with pytest.raises(ValueError, match="no transfer syntax"):
        request(ProposedContext(1, CT, ()))


def test_roles_are_proposed_for_a_sop_class_as_a_whole() -> None:
    with pytest.raises(ValueError, match="half a role selection"):
        request(ProposedContext(1, CT, (IMPLICIT,), scp_role=True))
    with pytest.raises(ValueError, match="contradictory role selections"):
        request(ProposedContext(1, CT, (IMPLICIT,), True, True), ProposedContext(3, CT, (EXPLICIT,)))


def test_equal_requests_hash_alike_whatever_their_extended_negotiation() -> None:
    one = AssociateRQ("A", "B", (ProposedContext(1, CT, (IMPLICIT,)),), extended_negotiation={CT: b"\1"})
    two = AssociateRQ("A", "B", (ProposedContext(1, CT, (IMPLICIT,)),), extended_negotiation={CT: b"\2"})
    assert hash(one) == hash(two)
    assert one != two


def test_secrets_of_a_user_identity_are_not_printed() -> None:
    assert "secret" not in repr(UserIdentity(2, b"secret", b"secret"))


def test_the_acceptor_prefers_its_own_order_of_transfer_syntaxes() -> None:
    results, roles = negotiate(
        request(ProposedContext(1, CT, (IMPLICIT, EXPLICIT))), {CT: SupportedContext((EXPLICIT, IMPLICIT))}
    )
    assert results == (ContextResult(1, 0, EXPLICIT),)
    assert roles == {}


def test_the_acceptor_says_why_a_context_is_rejected() -> None:
    rq = request(
        ProposedContext(1, MR, (IMPLICIT,)),
        ProposedContext(3, CT, (EXPLICIT,)),
        ProposedContext(5, CT, (IMPLICIT,)),
    )
    results, _ = negotiate(rq, {CT: SupportedContext((IMPLICIT,))})
    assert results == (ContextResult(1, 3), ContextResult(3, 4), ContextResult(5, 0, IMPLICIT))


@pytest.mark.parametrize(
    ("scu", "scp", "supported", "result", "roles"),
    [
        (None, None, SupportedContext((IMPLICIT,)), 0, {}),
        (None, None, SupportedContext((IMPLICIT,), scp=False, scu=True), 1, {}),
        (True, True, SupportedContext((IMPLICIT,), scu=True), 0, {CT: (True, True)}),
        (True, True, SupportedContext((IMPLICIT,)), 0, {CT: (True, False)}),
        (False, True, SupportedContext((IMPLICIT,), scp=False, scu=True), 0, {CT: (False, True)}),
        (False, True, SupportedContext((IMPLICIT,)), 1, {}),
        (True, False, SupportedContext((IMPLICIT,), scu=True), 0, {CT: (True, False)}),
    ],
)
def test_a_role_is_accepted_when_proposed_and_playable(
    scu: bool | None,
    scp: bool | None,
    supported: SupportedContext,
    result: int,
    roles: dict[str, tuple[bool, bool]],
) -> None:
    results, selected = negotiate(request(ProposedContext(1, CT, (IMPLICIT,), scu, scp)), {CT: supported})
    assert [answer.result for answer in results] == [result]
    assert selected == roles


@pytest.mark.parametrize(
    ("scu", "scp", "selected", "requestor_scu", "requestor_scp"),
    [
        (None, None, {}, True, False),
        (None, None, {CT: (False, True)}, True, False),  # not proposed: the answer is ignored
        (False, True, {}, True, False),  # not answered: the default
        (True, True, {CT: (True, True)}, True, True),
        (True, True, {CT: (False, True)}, False, True),
        (False, True, {CT: (True, True)}, False, True),  # accepted without having been proposed
        (True, False, {CT: (True, True)}, True, False),
    ],
)
def test_both_sides_draw_the_same_roles_from_an_answer(
    scu: bool | None,
    scp: bool | None,
    selected: dict[str, tuple[bool, bool]],
    requestor_scu: bool,
    requestor_scp: bool,
) -> None:
    rq = request(ProposedContext(1, CT, (IMPLICIT,), scu, scp))
    ac = answer(ContextResult(1, 0, IMPLICIT), roles=selected)
    assert accepted(rq, ac) == {1: AcceptedContext(1, CT, IMPLICIT, requestor_scu, requestor_scp)}
    assert accepted(rq, ac, requestor=False) == {1: AcceptedContext(1, CT, IMPLICIT, requestor_scp, requestor_scu)}


def test_rejected_unanswered_and_unproposed_contexts_cannot_be_used() -> None:
    rq = request(*(ProposedContext(n, CT, (IMPLICIT,)) for n in (1, 3, 5)))
    ac = answer(ContextResult(1, 4), ContextResult(5, 0, IMPLICIT), ContextResult(7, 0, IMPLICIT))
    assert list(accepted(rq, ac)) == [5]


def test_a_transfer_syntax_that_was_not_proposed_is_an_error() -> None:
    with pytest.raises(ValueError, match="was not proposed"):
        accepted(request(ProposedContext(1, CT, (IMPLICIT,))), answer(ContextResult(1, 0, EXPLICIT)))


def test_a_context_answered_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match="answered twice"):
        accepted(request(ProposedContext(1, CT, (IMPLICIT,))), answer(ContextResult(1, 4), ContextResult(1, 4)))
