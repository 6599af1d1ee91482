"""What two application entities agree on when an association begins (PS3.8 §7.1, PS3.7 Annex D).

These are the parameters of the A-ASSOCIATE primitives as frozen values, and the two decisions made over them:
`negotiate`, what an acceptor answers to a proposal, and `accepted`, what both may use afterwards.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from harmonygw.dicom.dataset.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

APPLICATION_CONTEXT_NAME: Final = "1.2.840.10008.3.1.1.1"
"""The DICOM Application Context Name, the only one there is (PS3.7 Annex A)."""

MAX_PRESENTATION_CONTEXTS: Final = 128
"""Presentation contexts in one A-ASSOCIATE-RQ: the odd numbers from 1 to 255 (PS3.8 §7.1.1.13)."""

DEFAULT_MAX_PDU_LENGTH: Final = 65536
"""Bytes in the variable field of a P-DATA-TF PDU that is received, as announced to the peer (PS3.8 §D.1).

Large enough that headers do not count, small enough that a cancelled transfer ends soon.
"""

ACCEPTANCE: Final = 0
"""Result of a presentation context: accepted (PS3.8 Table 9-18)."""
USER_REJECTION: Final = 1
"""Result of a presentation context: the user does not want it, for instance in that role."""
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
"""Result of a presentation context: the SOP class is not known here."""
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4
"""Result of a presentation context: none of its transfer syntaxes is known here."""

_AE_TITLE: Final = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


def ae_title(value: str) -> str:
    """Return an AE title without its insignificant leading and trailing spaces (PS3.5 §6.2, AE).

    Raises ValueError unless 1 to 16 printable ASCII characters are left, none of them a backslash.
    """
    title = value.strip(" ")
    if not _AE_TITLE.fullmatch(title):
        raise ValueError(f"not an AE title: {value!r}")
    return title


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context of an A-ASSOCIATE-RQ (PS3.8 §7.1.1.13).

    `scu_role` and `scp_role` are the roles that the requestor proposes for itself (PS3.7 §D.3.3.4). Both
    None is no proposal: the requestor is SCU, the acceptor SCP. Contexts of one abstract syntax propose the
    same roles.
    """

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who the requestor says it acts for (PS3.7 §D.3.3.7).

    `identity_type` is 1 user name, 2 user name and passcode, 3 Kerberos ticket, 4 SAML assertion, 5 JSON
    Web Token; `secondary` is the passcode of type 2.
    """

    identity_type: int
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)
    response_requested: bool = False


@dataclass(frozen=True, slots=True)
class AssociateRQ:
    """The parameters of an A-ASSOCIATE-RQ (PS3.8 §9.3.2).

    `max_pdu_length` is in bytes and says what the requestor will receive; 0 is no limit.
    `extended_negotiation` maps SOP class UID to service class application information (PS3.7 §D.3.3.5).
    `asynchronous_operations` is (invoked, performed), 0 being unlimited; None proposes none, which means
    one of each (PS3.7 §D.3.3.3).

    Raises ValueError for AE titles, context ids or roles that the standard does not allow.
    """

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_length: int = DEFAULT_MAX_PDU_LENGTH
    extended_negotiation: Mapping[str, bytes] = field(default_factory=dict, hash=False)
    user_identity: UserIdentity | None = None
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version_name: str = IMPLEMENTATION_VERSION_NAME
    asynchronous_operations: tuple[int, int] | None = None
    application_context_name: str = APPLICATION_CONTEXT_NAME

    def __post_init__(self) -> None:
        object.__setattr__(self, "called_ae_title", ae_title(self.called_ae_title))
        object.__setattr__(self, "calling_ae_title", ae_title(self.calling_ae_title))
        if not 1 <= len(self.contexts) <= MAX_PRESENTATION_CONTEXTS:
            raise ValueError(f"{len(self.contexts)} presentation contexts; there must be 1 to 128")
        context_ids = set()
        roles: dict[str, tuple[bool | None, bool | None]] = {}
        for context in self.contexts:
            if not (1 <= context.context_id <= 255 and context.context_id % 2):
                raise ValueError(f"presentation context id {context.context_id} is not odd and in 1 to 255")
            if not context.transfer_syntaxes:
                raise ValueError(f"presentation context {context.context_id} has no transfer syntax")
            proposed = context.scu_role, context.scp_role
            if (proposed[0] is None) != (proposed[1] is None):
                raise ValueError(f"half a role selection for {context.abstract_syntax}")
            if roles.setdefault(context.abstract_syntax, proposed) != proposed:
                raise ValueError(f"contradictory role selections for {context.abstract_syntax}")
            context_ids.add(context.context_id)
        if len(context_ids) < len(self.contexts):
            raise ValueError("a presentation context id is used twice")


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The answer to one proposed context (PS3.8 Table 9-18); `transfer_syntax` is "" unless `result` is 0."""

    context_id: int
    result: int
    transfer_syntax: str = ""


@dataclass(frozen=True, slots=True)
class AssociateAC:
    """The parameters of an A-ASSOCIATE-AC (PS3.8 §9.3.3).

    `role_selections` maps SOP class UID to the accepted (SCU, SCP) roles of the requestor. The AE titles
    repeat those of the request; what a peer puts there is not tested. `user_identity_response` is None when
    there was none.

    Raises ValueError for an AE title of more than 16 characters.
    """

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[ContextResult, ...]
    max_pdu_length: int = DEFAULT_MAX_PDU_LENGTH
    role_selections: Mapping[str, tuple[bool, bool]] = field(default_factory=dict, hash=False)
    extended_negotiation: Mapping[str, bytes] = field(default_factory=dict, hash=False)
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version_name: str = IMPLEMENTATION_VERSION_NAME
    user_identity_response: bytes | None = None

    def __post_init__(self) -> None:
        for title in (self.called_ae_title, self.calling_ae_title):
            if len(title) > 16:
                raise ValueError(f"not an AE title: {title!r}")


@dataclass(frozen=True, slots=True)
class AssociateRJ:
    """The parameters of an A-ASSOCIATE-RJ (PS3.8 Table 9-21); result 1 is permanent, 2 transient."""

    result: int
    source: int
    reason: int


PROTOCOL_VERSION_NOT_SUPPORTED: Final = AssociateRJ(1, 2, 2)
"""Permanent rejection by the service provider, ACSE related."""
APPLICATION_CONTEXT_NAME_NOT_SUPPORTED: Final = AssociateRJ(1, 1, 2)
"""Permanent rejection on behalf of the service user, who knows no other application context."""


@dataclass(frozen=True, slots=True)
class SupportedContext:
    """What an acceptor takes for one abstract syntax.

    `transfer_syntaxes` is in order of preference. `scp` and `scu` are the roles that the acceptor may play
    itself.
    """

    transfer_syntaxes: tuple[str, ...]
    scp: bool = True
    scu: bool = False


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context that both sides agreed on; the roles are those of the local side."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool
    as_scp: bool


def negotiate(
    rq: AssociateRQ, supported: Mapping[str, SupportedContext]
) -> tuple[tuple[ContextResult, ...], dict[str, tuple[bool, bool]]]:
    """Decide as acceptor: a result for each proposed context, and the answers to the role selections.

    The acceptor's order of transfer syntaxes decides. A role is accepted when it was proposed and the
    acceptor can play its counterpart; a context left without any role is rejected (PS3.7 §D.3.3.4).
    """
    results = []
    role_selections: dict[str, tuple[bool, bool]] = {}
    for context in rq.contexts:
        known = supported.get(context.abstract_syntax)
        if known is None:
            results.append(ContextResult(context.context_id, ABSTRACT_SYNTAX_NOT_SUPPORTED))
            continue
        common = [uid for uid in known.transfer_syntaxes if uid in context.transfer_syntaxes]
        if not common:
            results.append(ContextResult(context.context_id, TRANSFER_SYNTAXES_NOT_SUPPORTED))
            continue
        if context.scu_role is None:
            usable = known.scp
        else:
            roles = context.scu_role and known.scp, bool(context.scp_role) and known.scu
            usable = any(roles)
            if usable:
                role_selections[context.abstract_syntax] = roles
        if usable:
            results.append(ContextResult(context.context_id, ACCEPTANCE, common[0]))
        else:
            results.append(ContextResult(context.context_id, USER_REJECTION))
    return tuple(results), role_selections


def accepted(rq: AssociateRQ, ac: AssociateAC, *, requestor: bool = True) -> dict[int, AcceptedContext]:
    """Return by context id what may be used; `requestor` says from whose point of view the roles are given.

    A proposed context without a result counts as rejected. A result for a context that was never proposed
    has no meaning and is ignored: data on it is refused like on any other context that does not exist.

    Raises ValueError when a context is answered twice, or accepted with a transfer syntax that was not
    proposed for it (PS3.8 §9.3.3.2): whatever came on it could not be understood.
    """
    proposed = {context.context_id: context for context in rq.contexts}
    contexts: dict[int, AcceptedContext] = {}
    answered = set()
    for answer in ac.contexts:
        context_id = answer.context_id
        if context_id in answered:
            raise ValueError(f"presentation context {context_id} is answered twice")
        answered.add(context_id)
        context = proposed.get(context_id)
        if context is None or answer.result != ACCEPTANCE:
            continue
        if answer.transfer_syntax not in context.transfer_syntaxes:
            raise ValueError(
                f"presentation context {context_id} is accepted with {answer.transfer_syntax!r}, "
                "a transfer syntax that was not proposed for it"
            )
        scu, scp = True, False
        if context.scu_role is not None and context.abstract_syntax in ac.role_selections:
            accepted_scu, accepted_scp = ac.role_selections[context.abstract_syntax]
            scu, scp = context.scu_role and accepted_scu, bool(context.scp_role) and accepted_scp
        contexts[context_id] = AcceptedContext(
            context_id,
            context.abstract_syntax,
            answer.transfer_syntax,
            as_scu=scu if requestor else scp,
            as_scp=scp if requestor else scu,
        )
    return contexts
