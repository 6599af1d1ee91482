"""The protocol data units of PS3.8 §9.3 as bytes.

The A-ASSOCIATE PDUs are encoded and decoded by pynetdicom's PDU and item classes. These trust lengths, and
raise whatever comes to hand when they are wrong; so `items.py` walks the structure first, and any exception
that is still raised becomes one `PeerError`. A UID that breaks PS3.5 §9.1 is taken as it is, and pydicom is kept from
warning of it: Python remembers each warning, and a peer has as many UIDs as it likes.

P-DATA-TF, the release PDUs and A-ABORT are few bytes each and are our own. Receiving P-DATA-TF is in
`reader.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Final

from pydicom.config import disable_value_validation
from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import (
    AbstractSyntaxSubItem,
    ApplicationContextItem,
    AsynchronousOperationsWindowSubItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    PDUItem,
    PresentationContextItemAC,
    PresentationContextItemRQ,
    SCP_SCU_RoleSelectionSubItem,
    SOPClassExtendedNegotiationSubItem,
    TransferSyntaxSubItem,
    UserIdentitySubItemAC,
    UserIdentitySubItemRQ,
    UserInformationItem,
)

from harmonygw.dicom.upperlayer.items import (
    A_ASSOCIATE_AC_ITEMS,
    A_ASSOCIATE_RQ_ITEMS,
    ABSTRACT_SYNTAX,
    ITEM_HEADER,
    PRESENTATION_CONTEXT,
    items_in,
    recognised,
)
from harmonygw.dicom.upperlayer.negotiation import (
    APPLICATION_CONTEXT_NAME,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    ProposedContext,
    UserIdentity,
)
from harmonygw.errors import PeerError

Buffer = bytes | bytearray | memoryview

HEADER_LENGTH: Final = 6
"""Bytes before the variable field of a PDU, and before the fragment of a presentation data value."""

ASSOCIATE_FIXED_LENGTH: Final = 68
"""Bytes of an A-ASSOCIATE-RQ or -AC between the PDU header and the first item (PS3.8 Table 9-11)."""

ENCODED_REQUESTS_KEPT: Final = 64
"""How many encoded A-ASSOCIATE-RQ PDUs are remembered.

Encoding 128 contexts takes milliseconds, and one target is asked with a handful of profiles again and again.
"""

_NOT_SIGNIFICANT: Final = "1.2.840.10008.1.2"
"""Fills the transfer syntax of a rejected context, which must be there and is not tested (PS3.8 §9.3.3.2)."""

_PDU_HEADER: Final = Struct(">BxI")
_PDV_HEADER: Final = Struct(">IBB")
_FRAGMENT_HEADER: Final = Struct(">BxIIBB")
_UINT16: Final = Struct(">H")


class PDUType(IntEnum):
    """PDU types (PS3.8 §9.3.1)."""

    A_ASSOCIATE_RQ = 1
    A_ASSOCIATE_AC = 2
    A_ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    A_RELEASE_RQ = 5
    A_RELEASE_RP = 6
    A_ABORT = 7


class AbortSource(IntEnum):
    """Who aborts (PS3.8 Table 9-26)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why a service provider aborts (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


A_RELEASE_RQ: Final = _PDU_HEADER.pack(PDUType.A_RELEASE_RQ, 4) + bytes(4)
"""An A-RELEASE-RQ PDU (PS3.8 §9.3.6)."""
A_RELEASE_RP: Final = _PDU_HEADER.pack(PDUType.A_RELEASE_RP, 4) + bytes(4)
"""An A-RELEASE-RP PDU (PS3.8 §9.3.7)."""


def encode_abort(source: int, reason: int) -> bytes:
    """Return an A-ABORT PDU (PS3.8 §9.3.8)."""
    return _PDU_HEADER.pack(PDUType.A_ABORT, 4) + bytes((0, 0, source, reason))


def decode_abort(body: bytes) -> tuple[int, int]:
    """Return source and reason of an A-ABORT PDU's four bytes."""
    return body[2], body[3]


def encode_associate_rj(rj: AssociateRJ) -> bytes:
    """Return an A-ASSOCIATE-RJ PDU (PS3.8 §9.3.4)."""
    return _PDU_HEADER.pack(PDUType.A_ASSOCIATE_RJ, 4) + bytes((0, rj.result, rj.source, rj.reason))


def decode_associate_rj(body: bytes) -> AssociateRJ:
    """Return what an A-ASSOCIATE-RJ PDU's four bytes say."""
    return AssociateRJ(*body[1:4])


def encode_p_data_tf(pdvs: Iterable[tuple[int, bool, bool, Buffer]], max_length: int) -> list[Buffer]:
    """Return P-DATA-TF PDUs: their headers, and between these the presentation data values, uncopied.

    `pdvs` yields (context_id, is_command, is_last, data). As many as fit share a PDU of at most
    `max_length` bytes of variable field, but a command set and a data set never do: every implementation
    sends them apart, and some cannot take them together.

    Raises ValueError for a value that does not fit `max_length` with its header of six bytes (PS3.8 §D.1).
    """
    out: list[Buffer] = []
    first = 0
    length = 0
    command = False
    for context_id, is_command, is_last, data in pdvs:
        item_length = HEADER_LENGTH + len(data)
        if item_length > max_length:
            raise ValueError(f"a presentation data value of {item_length} bytes exceeds {max_length}")
        if length and (length + item_length > max_length or is_command is not command):
            out[first] = _PDU_HEADER.pack(PDUType.P_DATA_TF, length) + out[first]
            length = 0
        if not length:
            first = len(out)
            command = is_command
        out.append(_PDV_HEADER.pack(len(data) + 2, context_id, is_command | is_last << 1))
        out.append(data)
        length += item_length
    if length:
        out[first] = _PDU_HEADER.pack(PDUType.P_DATA_TF, length) + out[first]
    return out


def encode_fragment(context_id: int, is_last: bool, pieces: Sequence[Buffer], max_length: int) -> list[Buffer]:
    """Return a P-DATA-TF PDU with one fragment of a data set: a header, and the uncopied pieces of the fragment.

    Raises ValueError when that exceeds `max_length` bytes of variable field (PS3.8 §D.1).
    """
    length = HEADER_LENGTH + sum(map(len, pieces))
    if length > max_length:
        raise ValueError(f"a presentation data value of {length} bytes exceeds {max_length}")
    return [_FRAGMENT_HEADER.pack(PDUType.P_DATA_TF, length, length - 4, context_id, is_last << 1), *pieces]


@lru_cache(maxsize=ENCODED_REQUESTS_KEPT)
@disable_value_validation()
def encode_associate_rq(rq: AssociateRQ) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU (PS3.8 §9.3.2, PS3.7 §D.3.3); equal requests are encoded once."""
    pdu = A_ASSOCIATE_RQ()
    pdu.called_ae_title = rq.called_ae_title
    pdu.calling_ae_title = rq.calling_ae_title
    pdu.variable_items = [_application_context(rq.application_context_name)]
    for context in rq.contexts:
        item = PresentationContextItemRQ()
        item.presentation_context_id = context.context_id
        abstract_syntax = AbstractSyntaxSubItem()
        abstract_syntax.abstract_syntax_name = UID(context.abstract_syntax)
        transfer_syntaxes = [_transfer_syntax(uid) for uid in context.transfer_syntaxes]
        item.abstract_transfer_syntax_sub_items = [abstract_syntax, *transfer_syntaxes]
        pdu.variable_items.append(item)
    roles = {
        context.abstract_syntax: (context.scu_role, bool(context.scp_role))
        for context in rq.contexts
        if context.scu_role is not None
    }
    user_information = _user_information(rq, roles)
    if rq.asynchronous_operations is not None:
        window = AsynchronousOperationsWindowSubItem()
        window.maximum_number_operations_invoked = rq.asynchronous_operations[0]
        window.maximum_number_operations_performed = rq.asynchronous_operations[1]
        user_information.user_data.append(window)
    if rq.user_identity is not None:
        identity = UserIdentitySubItemRQ()
        identity.user_identity_type = rq.user_identity.identity_type
        identity.positive_response_requested = int(rq.user_identity.response_requested)
        identity.primary_field = rq.user_identity.primary
        identity.secondary_field = rq.user_identity.secondary
        user_information.user_data.append(identity)
    user_information.user_data.sort(key=_item_type)
    pdu.variable_items.append(user_information)
    return pdu.encode()


@disable_value_validation()
def encode_associate_ac(ac: AssociateAC) -> bytes:
    """Return an A-ASSOCIATE-AC PDU (PS3.8 §9.3.3, PS3.7 §D.3.3)."""
    pdu = A_ASSOCIATE_AC()
    pdu.reserved_aet = ac.called_ae_title
    pdu.reserved_aec = ac.calling_ae_title
    pdu.variable_items = [_application_context(APPLICATION_CONTEXT_NAME)]
    for context in ac.contexts:
        item = PresentationContextItemAC()
        item.presentation_context_id = context.context_id
        item.result_reason = context.result
        item.transfer_syntax_sub_item = [_transfer_syntax(context.transfer_syntax or _NOT_SIGNIFICANT)]
        pdu.variable_items.append(item)
    user_information = _user_information(ac, ac.role_selections)
    if ac.user_identity_response is not None:
        response = UserIdentitySubItemAC()
        response.server_response = ac.user_identity_response
        user_information.user_data.append(response)
    user_information.user_data.sort(key=_item_type)
    pdu.variable_items.append(user_information)
    return pdu.encode()


def _item_type(item: PDUItem) -> int:
    """Order sub-items by type: some old peers expect that (PS3.8 §9.3.2.3)."""
    return item.item_type


def _application_context(name: str) -> ApplicationContextItem:
    item = ApplicationContextItem()
    item.application_context_name = UID(name)
    return item


def _transfer_syntax(uid: str) -> TransferSyntaxSubItem:
    item = TransferSyntaxSubItem()
    item.transfer_syntax_name = UID(uid)
    return item


def _user_information(
    parameters: AssociateRQ | AssociateAC, roles: Mapping[str, tuple[bool, bool]]
) -> UserInformationItem:
    """Return the sub-items that requests and acceptances have in common."""
    maximum_length = MaximumLengthSubItem()
    maximum_length.maximum_length_received = parameters.max_pdu_length
    class_uid = ImplementationClassUIDSubItem()
    class_uid.implementation_class_uid = UID(parameters.implementation_class_uid)
    user_information = UserInformationItem()
    user_information.user_data = [maximum_length, class_uid]
    if parameters.implementation_version_name:
        version_name = ImplementationVersionNameSubItem()
        version_name.implementation_version_name = parameters.implementation_version_name
        user_information.user_data.append(version_name)
    for sop_class_uid, (scu, scp) in roles.items():
        selection = SCP_SCU_RoleSelectionSubItem()
        selection.sop_class_uid = UID(sop_class_uid)
        selection.scu_role = int(scu)
        selection.scp_role = int(scp)
        user_information.user_data.append(selection)
    for sop_class_uid, information in parameters.extended_negotiation.items():
        extended = SOPClassExtendedNegotiationSubItem()
        extended.sop_class_uid = UID(sop_class_uid)
        extended.service_class_application_information = information
        user_information.user_data.append(extended)
    return user_information


def protocol_version(body: bytes) -> int:
    """Return the Protocol-version field of an A-ASSOCIATE-RQ; bit 0 is version 1 (PS3.8 §9.3.2)."""
    version: int = _UINT16.unpack_from(body)[0]
    return version


@disable_value_validation()
def decode_associate_rq(body: bytes) -> AssociateRQ:
    """Return what an A-ASSOCIATE-RQ PDU says; `body` is what follows the PDU header, at least 68 bytes.

    Raises PeerError when it is malformed, with the reason of the A-ABORT.
    """
    items = recognised(body[ASSOCIATE_FIXED_LENGTH:], A_ASSOCIATE_RQ_ITEMS)
    contexts, others = _presentation_contexts(items)
    try:
        return _associate_rq(_canonical(body) + others, contexts)
    except Exception as error:
        raise _malformed("A-ASSOCIATE-RQ", error) from error


@disable_value_validation()
def decode_associate_ac(body: bytes) -> AssociateAC:
    """Return what an A-ASSOCIATE-AC PDU says; `body` is what follows the PDU header, at least 68 bytes.

    Raises PeerError when it is malformed, with the reason of the A-ABORT.
    """
    items = recognised(body[ASSOCIATE_FIXED_LENGTH:], A_ASSOCIATE_AC_ITEMS)
    try:
        return _associate_ac(_canonical(body) + items)
    except Exception as error:
        raise _malformed("A-ASSOCIATE-AC", error) from error


def _malformed(name: str, error: Exception) -> PeerError:
    return PeerError(f"malformed {name} PDU", reason=AbortReason.INVALID_PDU_PARAMETER_VALUE, log_detail=str(error))


def _canonical(body: bytes) -> bytes:
    """Return header and fixed fields as pynetdicom takes them: AE titles padded with spaces only."""
    called, calling = (body[at : at + 16].strip(b" \0").ljust(16) for at in (4, 20))
    return bytes(HEADER_LENGTH) + body[:4] + called + calling + body[36:ASSOCIATE_FIXED_LENGTH]


def _presentation_contexts(items: bytes) -> tuple[list[tuple[int, str, tuple[str, ...]]], bytes]:
    """Return ID, abstract syntax and transfer syntaxes of each proposed context, and the other items as they are.

    They are read here and not by pynetdicom, which takes 30 µs a syntax: anybody may propose 128 of 128 contexts each.
    """
    contexts, others = [], b""
    for item_type, body in items_in(items):
        if item_type != PRESENTATION_CONTEXT:
            others += ITEM_HEADER.pack(item_type, len(body)) + body
            continue
        abstract_syntax, transfer_syntaxes = "", []
        for kind, uid in items_in(body[4:]):
            if kind == ABSTRACT_SYNTAX:
                abstract_syntax = uid.decode("ascii")
            else:
                transfer_syntaxes.append(uid.decode("ascii"))
        contexts.append((body[0], abstract_syntax, tuple(transfer_syntaxes)))
    return contexts, others


def _associate_rq(encoded: bytes, proposed: list[tuple[int, str, tuple[str, ...]]]) -> AssociateRQ:
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(encoded)
    user = pdu.user_information or UserInformationItem()
    roles = {str(uid): (bool(role.scu), bool(role.scp)) for uid, role in user.role_selection.items()}
    contexts = []
    for context_id, abstract_syntax, transfer_syntaxes in proposed:
        scu_role, scp_role = roles.get(abstract_syntax, (None, None))
        contexts.append(ProposedContext(context_id, abstract_syntax, transfer_syntaxes, scu_role, scp_role))
    identity = None
    if isinstance(user.user_identity, UserIdentitySubItemRQ):
        identity = UserIdentity(
            identity_type=user.user_identity.id_type or 0,
            primary=user.user_identity.primary or b"",
            secondary=user.user_identity.secondary or b"",
            response_requested=bool(user.user_identity.response_requested),
        )
    window = user.async_ops_window
    return AssociateRQ(
        called_ae_title=pdu.called_ae_title,
        calling_ae_title=pdu.calling_ae_title,
        contexts=tuple(contexts),
        max_pdu_length=user.maximum_length or 0,
        extended_negotiation=_extended_negotiation(user),
        user_identity=identity,
        implementation_class_uid=str(user.implementation_class_uid or ""),
        implementation_version_name=user.implementation_version_name or "",
        asynchronous_operations=(
            (window.max_operations_invoked or 0, window.max_operations_performed or 0) if window else None
        ),
        application_context_name=str(pdu.application_context_name or ""),
    )


def _associate_ac(encoded: bytes) -> AssociateAC:
    pdu = A_ASSOCIATE_AC()
    pdu.decode(encoded)
    user = pdu.user_information or UserInformationItem()
    identity = user.user_identity
    return AssociateAC(
        called_ae_title=pdu.called_ae_title,
        calling_ae_title=pdu.calling_ae_title,
        contexts=tuple(
            ContextResult(item.context_id or 0, item.result or 0, str(item.transfer_syntax or ""))
            for item in pdu.presentation_context
        ),
        max_pdu_length=user.maximum_length or 0,
        role_selections={str(uid): (bool(role.scu), bool(role.scp)) for uid, role in user.role_selection.items()},
        extended_negotiation=_extended_negotiation(user),
        implementation_class_uid=str(user.implementation_class_uid or ""),
        implementation_version_name=user.implementation_version_name or "",
        user_identity_response=identity.response if isinstance(identity, UserIdentitySubItemAC) else None,
    )


def _extended_negotiation(user: UserInformationItem) -> dict[str, bytes]:
    return {str(item.uid): item.app_info or b"" for item in user.ext_neg}
