"""What the endpoint offers: presentation contexts, extended negotiation, and who is let in (PS3.7 Annex D)."""

from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from harmonygw.config.endpoint_options import AETableEntry, DicomSCPOptions
from harmonygw.dicom.dataset.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    Compression,
)
from harmonygw.dicom.dimse.commitment import STORAGE_COMMITMENT
from harmonygw.dicom.dimse.storage_classes import STORAGE_CLASSES
from harmonygw.dicom.upperlayer.negotiation import AssociateRJ, AssociateRQ, SupportedContext
from harmonygw.net.association.listener import (
    CALLED_AE_TITLE_NOT_RECOGNIZED,
    CALLING_AE_TITLE_NOT_RECOGNIZED,
)
from harmonygw.net.association.requestor import MODALITY_WORKLIST_FIND, VERIFICATION
from harmonygw.operations import Level


class InformationModel(NamedTuple):
    """A Query/Retrieve information model (PS3.4 §C.6): its levels, and its SOP classes."""

    levels: tuple[Level, ...]
    find: str
    move: str
    get: str


STUDY_ROOT: Final = InformationModel(
    (Level.STUDY, Level.SERIES, Level.IMAGE),
    "1.2.840.10008.5.1.4.1.2.2.1",
    "1.2.840.10008.5.1.4.1.2.2.2",
    "1.2.840.10008.5.1.4.1.2.2.3",
)
PATIENT_ROOT: Final = InformationModel(
    (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE),
    "1.2.840.10008.5.1.4.1.2.1.1",
    "1.2.840.10008.5.1.4.1.2.1.2",
    "1.2.840.10008.5.1.4.1.2.1.3",
)
MODELS: Final[Mapping[str, InformationModel]] = {
    sop_class: model for model in (STUDY_ROOT, PATIENT_ROOT) for sop_class in (model.find, model.move, model.get)
}
"""SOP class to its information model."""

QUERY_TRANSFER_SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""Of identifiers, the better first: what a private attribute is stands in Explicit VR only."""

STORAGE_TRANSFER_SYNTAXES: Final = tuple(
    uid for uid, row in TRANSFER_SYNTAXES.items() if row.compression is not Compression.UNKNOWN
)
"""Of instances: every one in which the pixels come along. The requestor's order decides, since what it proposes
first is mostly what it holds."""


def supported_contexts(
    options: DicomSCPOptions, *, receives_moves: bool, takes_reports: bool = False
) -> Mapping[str, SupportedContext]:
    """Return what the options enable.

    `receives_moves` adds storage for C-MOVEs that this process requests, `takes_reports` the reports of the storage
    commitments that it requests.
    """
    query = SupportedContext(QUERY_TRANSFER_SYNTAXES)
    supported: dict[str, SupportedContext] = {}
    if options.enable_echo:
        supported[VERIFICATION] = query
    if options.enable_worklist:
        supported[MODALITY_WORKLIST_FIND] = query
    for model in (STUDY_ROOT, PATIENT_ROOT):
        for enabled, sop_class in (
            (options.enable_find, model.find),
            (options.enable_move, model.move),
            (options.enable_get, model.get),
        ):
            if enabled:
                supported[sop_class] = query
    receives = options.enable_store or receives_moves
    if receives or options.enable_get:
        storage = SupportedContext(STORAGE_TRANSFER_SYNTAXES, scp=receives, scu=options.enable_get)
        supported.update(dict.fromkeys(sorted(STORAGE_CLASSES), storage))
    if takes_reports:
        # The archive is the SCP there too, and has to say so by role selection (PS3.7 §D.3.3.4).
        supported[STORAGE_COMMITMENT] = SupportedContext(QUERY_TRANSFER_SYNTAXES, scp=False, scu=True)
    return supported


def extended_negotiation(*, relational_queries: bool) -> Mapping[str, bytes]:
    """Return the application information that is offered (PS3.4 §C.5.1.1): relational queries, of C-FIND alone."""
    offered: dict[str, bytes] = {}
    for model in (STUDY_ROOT, PATIENT_ROOT):
        offered[model.find] = b"\1" if relational_queries else b"\0"
        offered[model.move] = offered[model.get] = b"\0"
    return offered


def known_entities(options: DicomSCPOptions) -> Mapping[str, AETableEntry]:
    """Return the application entities of `aet_table` by AE title."""
    return {entry.ae_title or name: entry for name, entry in options.aet_table.items()}


def gatekeeper(
    options: DicomSCPOptions, more_titles: Collection[str] = ()
) -> Callable[[AssociateRQ, str], AssociateRJ | None]:
    """Return the function that lets an association in or says why not; `more_titles` are ours too."""
    known = known_entities(options)
    called = {options.local_aet, *more_titles}

    def refuse(request: AssociateRQ, peer: str) -> AssociateRJ | None:
        if options.require_called_aet and request.called_ae_title not in called:
            return CALLED_AE_TITLE_NOT_RECOGNIZED
        if options.require_known_aet:
            entry = known.get(request.calling_ae_title)
            if entry is None or not _may_be(entry.host, peer):
                return CALLING_AE_TITLE_NOT_RECOGNIZED
        return None

    return refuse


def _may_be(host: str, peer: str) -> bool:
    """Whether `host` is the peer's address, or a name: names are not looked up, an answer may be forged."""
    try:
        expected = ip_address(host)
    except ValueError:
        return True
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address == expected
