"""DIMSE messages, one class each, with the parameters of PS3.7 §9.3 and §10.3 in the order in which they matter.

A `has_data_set` of the class is fixed by the standard, one of the instance is stated by the command set.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

PRIORITY_MEDIUM: Final = 0x0000
"""The Priority (0000,0700) that is taken when a peer leaves it out."""


@dataclass(frozen=True, slots=True)
class CEchoRQ:
    """C-ECHO-RQ (PS3.7 §9.3.5.1)."""

    command_field: ClassVar[int] = 0x0030
    has_data_set: ClassVar[bool] = False
    message_id: int
    affected_sop_class_uid: str


@dataclass(frozen=True, slots=True)
class CEchoRSP:
    """C-ECHO-RSP (PS3.7 §9.3.5.2)."""

    command_field: ClassVar[int] = 0x8030
    has_data_set: ClassVar[bool] = False
    message_id_being_responded_to: int
    affected_sop_class_uid: str
    status: int


@dataclass(frozen=True, slots=True)
class CStoreRQ:
    """C-STORE-RQ (PS3.7 §9.3.1.1); the move originator is that of a sub-operation of a C-MOVE."""

    command_field: ClassVar[int] = 0x0001
    has_data_set: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    priority: int = PRIORITY_MEDIUM
    move_originator_ae_title: str = ""
    move_originator_message_id: int | None = None


@dataclass(frozen=True, slots=True)
class CStoreRSP:
    """C-STORE-RSP (PS3.7 §9.3.1.2)."""

    command_field: ClassVar[int] = 0x8001
    has_data_set: ClassVar[bool] = False
    message_id_being_responded_to: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    status: int
    error_comment: str = ""
    offending_elements: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CFindRQ:
    """C-FIND-RQ (PS3.7 §9.3.2.1)."""

    command_field: ClassVar[int] = 0x0020
    has_data_set: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: str
    priority: int = PRIORITY_MEDIUM


@dataclass(frozen=True, slots=True)
class CFindRSP:
    """C-FIND-RSP (PS3.7 §9.3.2.2)."""

    command_field: ClassVar[int] = 0x8020
    message_id_being_responded_to: int
    affected_sop_class_uid: str
    status: int
    has_data_set: bool
    error_comment: str = ""
    offending_elements: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CGetRQ:
    """C-GET-RQ (PS3.7 §9.3.3.1)."""

    command_field: ClassVar[int] = 0x0010
    has_data_set: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: str
    priority: int = PRIORITY_MEDIUM


@dataclass(frozen=True, slots=True)
class CMoveRQ:
    """C-MOVE-RQ (PS3.7 §9.3.4.1)."""

    command_field: ClassVar[int] = 0x0021
    has_data_set: ClassVar[bool] = True
    message_id: int
    affected_sop_class_uid: str
    move_destination: str
    priority: int = PRIORITY_MEDIUM


@dataclass(frozen=True, slots=True)
class SubOperationsRSP:
    """What C-GET-RSP and C-MOVE-RSP share; a number of sub-operations is None where the peer gives none."""

    message_id_being_responded_to: int
    affected_sop_class_uid: str
    status: int
    has_data_set: bool = False
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    error_comment: str = ""
    offending_elements: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CGetRSP(SubOperationsRSP):
    """C-GET-RSP (PS3.7 §9.3.3.2)."""

    command_field: ClassVar[int] = 0x8010


@dataclass(frozen=True, slots=True)
class CMoveRSP(SubOperationsRSP):
    """C-MOVE-RSP (PS3.7 §9.3.4.2)."""

    command_field: ClassVar[int] = 0x8021


@dataclass(frozen=True, slots=True)
class CCancelRQ:
    """C-CANCEL-RQ of a C-FIND, C-GET or C-MOVE (PS3.7 §9.3.2.3)."""

    command_field: ClassVar[int] = 0x0FFF
    has_data_set: ClassVar[bool] = False
    message_id_being_responded_to: int


@dataclass(frozen=True, slots=True)
class NActionRQ:
    """N-ACTION-RQ (PS3.7 §10.3.4.1), with its Action Information as data set."""

    command_field: ClassVar[int] = 0x0130
    has_data_set: ClassVar[bool] = True
    message_id: int
    requested_sop_class_uid: str
    requested_sop_instance_uid: str
    action_type_id: int


@dataclass(frozen=True, slots=True)
class NActionRSP:
    """N-ACTION-RSP (PS3.7 §10.3.4.2)."""

    command_field: ClassVar[int] = 0x8130
    message_id_being_responded_to: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    status: int
    action_type_id: int | None = None
    has_data_set: bool = False
    error_comment: str = ""


@dataclass(frozen=True, slots=True)
class NEventReportRQ:
    """N-EVENT-REPORT-RQ (PS3.7 §10.3.1.1), with its Event Information, where there is any, as data set."""

    command_field: ClassVar[int] = 0x0100
    message_id: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    event_type_id: int
    has_data_set: bool = True


@dataclass(frozen=True, slots=True)
class NEventReportRSP:
    """N-EVENT-REPORT-RSP (PS3.7 §10.3.1.2)."""

    command_field: ClassVar[int] = 0x8100
    message_id_being_responded_to: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    status: int
    event_type_id: int | None = None
    has_data_set: bool = False
    error_comment: str = ""


@dataclass(frozen=True, slots=True)
class UnknownCommand:
    """A message of another kind, such as N-SET: enough of it to answer, or to pass over its data set."""

    command_field: int
    message_id: int
    """Of a response, the Message ID Being Responded To."""
    has_data_set: bool = False


Command = (
    CEchoRQ
    | CEchoRSP
    | CStoreRQ
    | CStoreRSP
    | CFindRQ
    | CFindRSP
    | CGetRQ
    | CGetRSP
    | CMoveRQ
    | CMoveRSP
    | CCancelRQ
    | NActionRQ
    | NActionRSP
    | NEventReportRQ
    | NEventReportRSP
    | UnknownCommand
)
"""Every command there is."""
