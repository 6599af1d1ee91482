"""Who takes part in an exchange, as audit messages name them (PS3.15 §A.5.2.1, §A.5.2.2)."""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from harmonygw.dicom.audit.message import ActiveParticipant
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Request

UNKNOWN: Final = "unknown"
"""Who has no name, no AE title and no address."""

PRODUCT: Final = "harmonygw"

MAX_CREDENTIALS: Final = 1024
"""Characters of an Authorization field of which the user's name is read; a longer one has none."""


def aetitles(titles: Sequence[str]) -> str:
    """Return AE titles as an AlternativeUserID has them (PS3.15 §A.5.2.2), empty for none."""
    known = [title for title in dict.fromkeys(titles) if title]
    return f"AETITLES={';'.join(known)}" if known else ""


def gateway(source_id: str, titles: Sequence[str]) -> ActiveParticipant:
    """Return this process: its name in the logs, and its AE titles."""
    return ActiveParticipant(source_id, alternative_user_id=aetitles(titles), user_name=PRODUCT)


def client(request: Request) -> ActiveParticipant:
    """Return who asked: by DIMSE an application entity, over HTTP whom it was authenticated as, or an address."""
    principal = request.record.principal or request.principal or ""
    origin = request.origin
    if isinstance(origin, AssociationOrigin):
        return ActiveParticipant(
            origin.calling_ae_title or request.peer or UNKNOWN,
            is_requestor=True,
            alternative_user_id=aetitles([origin.calling_ae_title]),
            user_name=principal,
            access_point=request.peer,
        )
    return ActiveParticipant(
        principal or request.peer or UNKNOWN, is_requestor=True, user_name=principal, access_point=request.peer
    )


def claimed(request: Request) -> ActiveParticipant:
    """Return who somebody said he was: the user of Basic credentials, whose password is not looked at."""
    name = _claimed_name(request.origin) if isinstance(request.origin, HTTPOrigin) else ""
    return ActiveParticipant(
        name or request.peer or UNKNOWN, is_requestor=True, user_name=name, access_point=request.peer or UNKNOWN
    )


def archive(request: Request) -> tuple[ActiveParticipant, ...]:
    """Return what was asked behind the gateway, by its name in the configuration; none for what nobody was asked.

    A transfer has the one that it began with: each of several archives that gives a part of it is the log's target.
    """
    account = request.record.audit
    target = (account.archive if account is not None else "") or request.record.target
    return (ActiveParticipant(target),) if target else ()


def destination(ae_title: str) -> ActiveParticipant:
    """Return an application entity that instances are sent to."""
    return ActiveParticipant(ae_title, alternative_user_id=aetitles([ae_title]))


def _claimed_name(origin: HTTPOrigin) -> str:
    scheme, _, token = origin.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic" or len(token) > MAX_CREDENTIALS:
        return ""
    try:
        return base64.b64decode(token.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
