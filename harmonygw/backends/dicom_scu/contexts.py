"""Which presentation contexts to propose for a retrieval.

An association carries 128 contexts at most (PS3.8 §9.3.2.2), and one context takes one transfer syntax here: with
several in one, some PACS accept the first and fail on the rest. Storage SOP classes times transfer syntaxes never
fit, so the classes of the study are learnt first, or guessed from its modalities.
"""

from collections.abc import Iterable, Iterator, Sequence

from harmonygw.dicom.dataset.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from harmonygw.dicom.dimse.storage_classes import STORAGE_CLASSES
from harmonygw.dicom.upperlayer.negotiation import ProposedContext
from harmonygw.operations import ANY_TRANSFER_SYNTAX

MAX_CONTEXTS = 128
"""Presentation contexts of one association: their IDs are the odd numbers below 256."""

NATIVE = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)
"""The native transfer syntaxes, in the order in which they are proposed."""

LOSSLESS = (
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.8.1",
    "1.2.840.10008.1.2.4.110",
)
"""The lossless ones that archives use, the commonest first: with a dozen syntaxes, ten classes fit one association."""

LOSSY = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.4.112",
)
"""The lossy ones; some of them also carry what was compressed without loss."""

VIDEO = (
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.101",
    "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.106",
    "1.2.840.10008.1.2.4.107",
    "1.2.840.10008.1.2.4.108",
)
"""MPEG-4, MPEG-2 and HEVC."""

COMMON_CLASSES: tuple[str, ...] = (
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.2",  # Multi-frame Grayscale Byte SC
    "1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word SC
    "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color SC
    "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
    "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR
    "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
    "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection
    "1.2.840.10008.5.1.4.1.1.88.67",  # X-Ray Radiation Dose SR
    "1.2.840.10008.5.1.4.1.1.104.1",  # Encapsulated PDF
    "1.2.840.10008.5.1.4.1.1.66",  # Raw Data
)
"""What any study may hold besides its modality's own objects."""

CLASSES_OF_MODALITY: dict[str, tuple[str, ...]] = {
    "CT": ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"),
    "MR": (
        "1.2.840.10008.5.1.4.1.1.4",
        "1.2.840.10008.5.1.4.1.1.4.1",
        "1.2.840.10008.5.1.4.1.1.4.2",
        "1.2.840.10008.5.1.4.1.1.4.3",
        "1.2.840.10008.5.1.4.1.1.4.4",
    ),
    "CR": ("1.2.840.10008.5.1.4.1.1.1",),
    "DX": ("1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1"),
    "RG": ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"),
    "MG": (
        "1.2.840.10008.5.1.4.1.1.1.2",
        "1.2.840.10008.5.1.4.1.1.1.2.1",
        "1.2.840.10008.5.1.4.1.1.13.1.3",
        "1.2.840.10008.5.1.4.1.1.13.1.4",
    ),
    "IO": ("1.2.840.10008.5.1.4.1.1.1.3", "1.2.840.10008.5.1.4.1.1.1.3.1"),
    "PX": ("1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1"),
    "US": (
        "1.2.840.10008.5.1.4.1.1.6.1",
        "1.2.840.10008.5.1.4.1.1.3.1",
        "1.2.840.10008.5.1.4.1.1.6.2",
        "1.2.840.10008.5.1.4.1.1.6",
        "1.2.840.10008.5.1.4.1.1.3",
    ),
    "XA": (
        "1.2.840.10008.5.1.4.1.1.12.1",
        "1.2.840.10008.5.1.4.1.1.12.1.1",
        "1.2.840.10008.5.1.4.1.1.13.1.1",
    ),
    "RF": ("1.2.840.10008.5.1.4.1.1.12.2", "1.2.840.10008.5.1.4.1.1.12.2.1"),
    "NM": ("1.2.840.10008.5.1.4.1.1.20",),
    "PT": (
        "1.2.840.10008.5.1.4.1.1.128",
        "1.2.840.10008.5.1.4.1.1.130",
        "1.2.840.10008.5.1.4.1.1.128.1",
    ),
    "RTIMAGE": ("1.2.840.10008.5.1.4.1.1.481.1",),
    "RTDOSE": ("1.2.840.10008.5.1.4.1.1.481.2",),
    "RTSTRUCT": ("1.2.840.10008.5.1.4.1.1.481.3",),
    "RTPLAN": ("1.2.840.10008.5.1.4.1.1.481.5", "1.2.840.10008.5.1.4.1.1.481.8"),
    "SEG": ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.5"),
    "REG": ("1.2.840.10008.5.1.4.1.1.66.1", "1.2.840.10008.5.1.4.1.1.66.3"),
    "PR": (
        "1.2.840.10008.5.1.4.1.1.11.1",
        "1.2.840.10008.5.1.4.1.1.11.2",
        "1.2.840.10008.5.1.4.1.1.11.3",
        "1.2.840.10008.5.1.4.1.1.11.4",
    ),
    "SR": ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.50", "1.2.840.10008.5.1.4.1.1.88.65"),
    "DOC": ("1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.104.2"),
    "ECG": (
        "1.2.840.10008.5.1.4.1.1.9.1.1",
        "1.2.840.10008.5.1.4.1.1.9.1.2",
        "1.2.840.10008.5.1.4.1.1.9.1.3",
    ),
    "SM": ("1.2.840.10008.5.1.4.1.1.77.1.6",),
    "ANN": ("1.2.840.10008.5.1.4.1.1.91.1",),
    "ES": ("1.2.840.10008.5.1.4.1.1.77.1.1", "1.2.840.10008.5.1.4.1.1.77.1.1.1"),
    "XC": ("1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.840.10008.5.1.4.1.1.77.1.4.1"),
    "GM": ("1.2.840.10008.5.1.4.1.1.77.1.2", "1.2.840.10008.5.1.4.1.1.77.1.2.1"),
    "OP": (
        "1.2.840.10008.5.1.4.1.1.77.1.5.1",
        "1.2.840.10008.5.1.4.1.1.77.1.5.2",
        "1.2.840.10008.5.1.4.1.1.77.1.5.4",
    ),
    "OT": ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.30"),
}
"""Modality (0008,0060) to the storage SOP classes that its equipment makes."""


def likely_classes(modalities: Iterable[str]) -> tuple[str, ...]:
    """Return the storage SOP classes that a study of these modalities may hold, the likeliest first."""
    classes: list[str] = []
    for modality in modalities:
        classes.extend(CLASSES_OF_MODALITY.get(modality, ()))
    classes.extend(COMMON_CLASSES)
    if not any(modality in CLASSES_OF_MODALITY for modality in modalities):
        classes.extend(one for some in CLASSES_OF_MODALITY.values() for one in some)
        classes.extend(STORAGE_CLASSES)
    return tuple(dict.fromkeys(classes))


def first_choice(acceptable: Sequence[str], *, with_lossy: bool = False) -> tuple[str, ...]:
    """Return the transfer syntaxes of a retrieval's first association: native and lossless ones.

    Every native syntax is proposed when one of them is acceptable, since one is made of another here. With
    `with_lossy` the acceptable lossy ones and video follow: for an archive that sends each object as it holds it,
    whatever else is proposed.
    """
    lossy: tuple[str, ...] = (*LOSSY, *VIDEO)
    if ANY_TRANSFER_SYNTAX in acceptable:
        return (*NATIVE, *LOSSLESS, *(lossy if with_lossy else ()))
    named = [uid for uid in acceptable if uid not in lossy]
    if any(uid in NATIVE for uid in named):
        named.extend(NATIVE)
    if with_lossy:
        named.extend(uid for uid in lossy if uid in acceptable)
    return tuple(dict.fromkeys(named))


def later_choices(acceptable: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return those of the associations that fetch what the first one left out, in the order in which they are tried.

    Lossless ones without native ones beside them: some PACS take the first context of a SOP class whatever its
    syntax, and fail on an object that is held in another. Then lossy ones and video. Then each alone, for the PACS
    that confuse those too.
    """
    lossless: tuple[str, ...] = LOSSLESS
    lossy: tuple[str, ...] = (*LOSSY, *VIDEO)
    if ANY_TRANSFER_SYNTAX not in acceptable:
        lossless = tuple(uid for uid in acceptable if uid not in (*NATIVE, *lossy))
        lossy = tuple(uid for uid in lossy if uid in acceptable)
    together = tuple(choice for choice in (lossless, lossy) if choice)
    alone = tuple((uid,) for uid in (*lossless, *lossy))
    return tuple(dict.fromkeys((*together, *alone)))


def rounds(
    known: Sequence[str], modality: str, acceptable: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield the SOP classes and transfer syntaxes of each further association for what the first one left out.

    `known` are the classes of the instances. They are proposed as the first association would have, which may have
    had no context for them, and then with the later choices. When the archive does not say, `known` is empty: then
    the likely classes of the modality stand for them, and every other storage class follows in native syntaxes.
    """
    first = first_choice(acceptable)
    native = any(uid in NATIVE for uid in first)
    if known:
        classes = tuple(known)
        if first:
            yield classes, first
    else:
        classes = likely_classes((modality,))
        if native:
            yield classes, NATIVE[:2]
    for choice in later_choices(acceptable):
        if not (known and choice == first):
            yield classes, choice
    if native and not known:
        others = [uid for uid in STORAGE_CLASSES if uid not in classes]
        at_once = (MAX_CONTEXTS - 1) // 2
        for start in range(0, len(others), at_once):
            yield tuple(others[start : start + at_once]), NATIVE[:2]


def propose(classes: Sequence[str], transfer_syntaxes: Sequence[str], *, taken: int = 0) -> tuple[ProposedContext, ...]:
    """Propose one context for each class and syntax, as an SCP of them (PS3.7 §D.3.3.4), as many as fit.

    `taken` contexts are used already. When not all fit, as many classes as do get the first syntax, and what room is
    left goes to the other syntaxes of the first classes.
    """
    room = MAX_CONTEXTS - taken
    pairs = [(uid, syntax) for uid in classes for syntax in transfer_syntaxes]
    if len(pairs) > room:
        first = [(uid, transfer_syntaxes[0]) for uid in classes[:room]]
        kept = set(first)
        for pair in pairs:
            if len(kept) >= room:
                break
            kept.add(pair)
        pairs = [pair for pair in pairs if pair in kept]
    return tuple(
        ProposedContext(2 * (taken + index) + 1, uid, (syntax,), scu_role=False, scp_role=True)
        for index, (uid, syntax) in enumerate(pairs)
    )
