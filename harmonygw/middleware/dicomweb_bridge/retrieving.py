"""Retrieve of studies, series and instances (PS3.18 §10.4): instances into parts, as they arrive.

Nothing is held back: each read of the PACS's socket goes out as it came, behind a part header and a Part 10 header for
its object. Native transfer syntaxes are converted while they flow; what cannot be made of an object is refused before
the first byte, or breaks the reply off.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from harmonygw.dicom.dataset.conversion import Conversion
from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.dicom.dataset.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    FORBIDDEN_ON_THE_WEB,
    LOSSY,
    NATIVE,
    VIDEO,
    describe,
)
from harmonygw.dicom.web import media_types, multipart
from harmonygw.dicom.web.attributes import UNIQUE_KEYS
from harmonygw.dicom.web.media_types import RetrieveChoice, RetrieveMedia
from harmonygw.dicom.web.resources import Resource, url
from harmonygw.errors import NotAcceptable, NotFound, PeerError
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.checking import text
from harmonygw.middleware.dicomweb_bridge.inquiry import Inquiry
from harmonygw.middleware.dicomweb_bridge.relaying import Relay
from harmonygw.operations import ANY_TRANSFER_SYNTAX, Find, Level, Retrieve
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body, Instance, InstanceStream, Pieces

CACHE_CONTROL = ("Cache-Control", "private, no-cache")
"""A SOP instance can change under its UID, so that nothing may be served again without asking."""

NOTHING = "The archive has nothing under these UIDs."


def operation_for(resource: Resource, transfer_syntaxes: tuple[str, ...]) -> Retrieve:
    """Return the Retrieve of a study, series or instance resource."""
    return Retrieve(
        resource.level,
        resource.study,
        resource.series,
        (resource.instance,) if resource.instance else (),
        transfer_syntaxes,
    )


async def ensure_existence(request: Request, resource: Resource, proceed: Proceed) -> None:
    """Raise `NotFound` unless the archive lists the resource; asks by C-FIND alone."""
    named = ((Level.STUDY, resource.study), (Level.SERIES, resource.series), (Level.IMAGE, resource.instance))
    uids = {UNIQUE_KEYS[level]: uid for level, uid in named if uid}
    keys = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
    async with aclosing(Inquiry(request, proceed).matches(Find(resource.level, keys))) as matches:
        async for match in matches:
            if all(text(match, tag) in ("", uid) for tag, uid in uids.items()):
                return
    raise NotFound(NOTHING)


async def retrieve_instances(request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
    """Answer a Retrieve with `multipart/related`, or with one instance by itself.

    Raises `NotAcceptable` and `NotFound`, and what a Retrieve raises; so does the body before its first piece. What it
    raises later leaves it without its end.
    """
    choice = media_types.negotiate_retrieve(
        origin.headers.get("accept"),
        media_types.accept_parameters(origin.query),
        one_instance=bool(resource.instance),
    )
    single = choice.media is RetrieveMedia.SINGLE
    boundary = multipart.boundary()
    content_type = media_types.DICOM if single else multipart.content_type(boundary)
    if origin.method == "HEAD":
        await ensure_existence(request, resource, proceed)
        return Reply(headers=(("Content-Type", content_type), CACHE_CONTROL))
    accepted = acceptable(choice)
    reply = await proceed(replace(request, operation=operation_for(resource, accepted)))
    instances: InstanceStream = reply.result
    if single:
        return await _single(instances, accepted)
    return Reply(
        headers=(("Content-Type", content_type), CACHE_CONTROL),
        body=Body(Relay(instances, _parts(instances, accepted, boundary, origin.base_url))),
    )


def acceptable(choice: RetrieveChoice) -> tuple[str, ...]:
    """Return the transfer syntaxes that may go out, in order of preference.

    A client that names none means Explicit VR Little Endian (PS3.18 §8.7.3.4), but takes what exists only in a lossy
    syntax as it is.
    """
    if choice.by_default:
        return (*choice.transfer_syntaxes, *sorted(LOSSY), *sorted(VIDEO))
    return choice.transfer_syntaxes


def outgoing(transfer_syntax_uid: str, accepted: Sequence[str]) -> str:
    """Return the transfer syntax in which an object goes out; raises `NotAcceptable` when there is none."""
    if transfer_syntax_uid in accepted:
        return transfer_syntax_uid
    if ANY_TRANSFER_SYNTAX in accepted:
        return travelling(transfer_syntax_uid)
    if transfer_syntax_uid in NATIVE:
        for one in accepted:
            if one in NATIVE:
                return one
    raise NotAcceptable(
        f"The archive holds this as {describe(transfer_syntax_uid).name}, which this build makes nothing else of. "
        "Ask with transfer-syntax=* for what is held."
    )


def travelling(transfer_syntax_uid: str) -> str:
    """Return the transfer syntax of an object that goes out as it is held, which PS3.18 §8.7.3 forbids of two."""
    return EXPLICIT_VR_LITTLE_ENDIAN if transfer_syntax_uid in FORBIDDEN_ON_THE_WEB else transfer_syntax_uid


async def _parts(
    instances: InstanceStream, accepted: Sequence[str], boundary: str, base_url: str
) -> AsyncGenerator[Pieces, None]:
    first = True
    async with aclosing(instances):
        async for instance in instances:
            syntax = outgoing(instance.transfer_syntax_uid, accepted)
            uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
            part = multipart.part_header(boundary, syntax, url(base_url, *uids), first)
            first = False
            async with aclosing(_file(instance, syntax, part)) as file:
                async for pieces in file:
                    yield pieces
    if first:
        raise NotFound(NOTHING)
    yield (multipart.closing(boundary),)


async def _single(instances: InstanceStream, accepted: Sequence[str]) -> Reply:
    """Answer with one instance by itself. Its transfer syntax is named unless it is the default (PS3.18 §8.7.3)."""
    try:
        instance = await _first(instances)
        syntax = outgoing(instance.transfer_syntax_uid, accepted)
    except BaseException:
        await instances.aclose()
        raise
    named = "" if syntax == EXPLICIT_VR_LITTLE_ENDIAN else f"; transfer-syntax={syntax}"
    return Reply(
        headers=(("Content-Type", media_types.DICOM + named), CACHE_CONTROL),
        body=Body(Relay(instances, _alone(instances, instance, syntax))),
    )


async def _first(instances: InstanceStream) -> Instance:
    try:
        return await instances.__anext__()
    except StopAsyncIteration:
        raise NotFound(NOTHING) from None


async def _alone(instances: InstanceStream, instance: Instance, syntax: str) -> AsyncGenerator[Pieces, None]:
    async with aclosing(instances):
        async with aclosing(_file(instance, syntax, b"")) as file:
            async for pieces in file:
                yield pieces
        async for _ in instances:
            raise PeerError("the archive sent several instances under one SOP Instance UID")


async def _file(instance: Instance, syntax: str, start: bytes) -> AsyncGenerator[Pieces, None]:
    """Yield `start`, the Part 10 header (PS3.10 §7.1) and the data set in `syntax`, the first piece with its header."""
    start += file_header(
        instance.sop_class_uid,
        instance.sop_instance_uid,
        syntax,
        source_ae_title=instance.receiving_ae_title,
        sending_ae_title=instance.source_ae_title,
    )
    conversion = Conversion(instance.transfer_syntax_uid, syntax)
    async for pieces in instance.data_set:
        converted = conversion.feed(pieces)
        if start:
            converted.insert(0, start)
            start = b""
        if converted:
            yield converted
    rest = conversion.finish()
    if start:
        rest.insert(0, start)
    if rest:
        yield rest
