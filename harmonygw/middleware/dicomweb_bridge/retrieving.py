"""Retrieve of studies, series and instances (PS3.18 §10.4): instances into parts, as they arrive.

Nothing is held back: each read of the PACS's socket goes out as it came, behind a part header and a Part 10 header
for its object. Native transfer syntaxes are converted while they flow; what cannot be made of an object is refused
before the first byte, or breaks the reply off.
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
from harmonygw.dicom.web.media_types import RetrieveChoice, RetrieveMedia
from harmonygw.dicom.web.resources import Resource, url
from harmonygw.errors import NotAcceptable, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.operations import ANY_TRANSFER_SYNTAX, Find, Level, Retrieve
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body, Instance, InstanceStream, Pieces

CACHE_CONTROL = ("Cache-Control", "private, no-cache")
"""A SOP instance can change under its UID, so that nothing may be served again without asking."""


def operation_for(resource: Resource, transfer_syntaxes: tuple[str, ...]) -> Retrieve:
    """Return the Retrieve of a study, series or instance resource."""
    if resource.instance:
        level = Level.IMAGE
    elif resource.series:
        level = Level.SERIES
    else:
        level = Level.STUDY
    return Retrieve(
        level,
        resource.study,
        resource.series,
        (resource.instance,) if resource.instance else (),
        transfer_syntaxes,
    )


def acceptable(choice: RetrieveChoice) -> tuple[str, ...]:
    """Return the transfer syntaxes that may go out, in order of preference.

    A client that names none means Explicit VR Little Endian (PS3.18 §8.7.3.4), but takes what exists only in a
    lossy syntax as it is.
    """
    if choice.by_default:
        return (*choice.transfer_syntaxes, *sorted(LOSSY), *sorted(VIDEO))
    return choice.transfer_syntaxes


def outgoing(transfer_syntax_uid: str, accepted: Sequence[str]) -> str:
    """Return the transfer syntax in which an object goes out; raises `NotAcceptable` when there is none."""
    if transfer_syntax_uid in accepted:
        return transfer_syntax_uid
    if ANY_TRANSFER_SYNTAX in accepted:
        return (
            EXPLICIT_VR_LITTLE_ENDIAN if transfer_syntax_uid in FORBIDDEN_ON_THE_WEB else transfer_syntax_uid
        )
    if transfer_syntax_uid in NATIVE:
        for one in accepted:
            if one in NATIVE:
                return one
    raise NotAcceptable(
        f"The archive holds this as {describe(transfer_syntax_uid).name}; this build cannot decode it. "
        "Ask with transfer-syntax=* for what is held."
    )


async def retrieve_instances(
    request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed
) -> Reply:
    """Answer a Retrieve with `multipart/related`, or with one instance by itself."""
    choice = media_types.negotiate_retrieve(
        origin.headers.get("accept"),
        [value for name, value in origin.query if name == "accept"],
        one_instance=bool(resource.instance),
    )
    accepted = acceptable(choice)
    if origin.method == "HEAD":
        await ensure_existence(request, resource, proceed)
        return Reply(headers=_headers(choice, multipart.boundary()))
    reply = await proceed(replace(request, operation=operation_for(resource, accepted)))
    instances: InstanceStream = reply.result
    if choice.media is RetrieveMedia.SINGLE:
        source: AsyncGenerator[Pieces, None] = _one_file(instances, accepted)
        return Reply(headers=(("Content-Type", "application/dicom"), CACHE_CONTROL), body=Body(source))
    boundary = multipart.boundary()
    return Reply(
        headers=_headers(choice, boundary),
        body=Body(_parts(instances, accepted, boundary, origin.base_url)),
    )


def _headers(choice: RetrieveChoice, boundary: str) -> tuple[tuple[str, str], ...]:
    if choice.media is RetrieveMedia.SINGLE:
        return (("Content-Type", "application/dicom"), CACHE_CONTROL)
    return (("Content-Type", multipart.content_type(boundary)), CACHE_CONTROL)


async def ensure_existence(request: Request, resource: Resource, proceed: Proceed) -> None:
    """Raise `NotFound` unless the archive lists the resource; asks by C-FIND alone."""
    level = Level.IMAGE if resource.instance else Level.SERIES if resource.series else Level.STUDY
    keys = {"0020000D": {"vr": "UI", "Value": [resource.study]}}
    if resource.series:
        keys["0020000E"] = {"vr": "UI", "Value": [resource.series]}
    if resource.instance:
        keys["00080018"] = {"vr": "UI", "Value": [resource.instance]}
    reply = await proceed(replace(request, operation=Find(level, keys, limit=1)))
    async with aclosing(reply.result) as matches:
        async for _ in matches:
            return
    raise NotFound("The archive has nothing under these UIDs.")


async def _parts(
    instances: InstanceStream, accepted: Sequence[str], boundary: str, base_url: str
) -> AsyncGenerator[Pieces, None]:
    first = True
    async with aclosing(instances):
        async for instance in instances:
            syntax = outgoing(instance.transfer_syntax_uid, accepted)
            location = url(
                base_url, instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
            )
            start = multipart.part_header(boundary, syntax, location, first)
            first = False
            async with aclosing(_file(instance, syntax, start)) as file:
                async for pieces in file:
                    yield pieces
    if first:
        raise NotFound("The archive has nothing under these UIDs.")
    yield (multipart.closing(boundary),)


async def _one_file(instances: InstanceStream, accepted: Sequence[str]) -> AsyncGenerator[Pieces, None]:
    found = False
    async with aclosing(instances):
        async for instance in instances:
            if found:
                break
            found = True
            syntax = outgoing(instance.transfer_syntax_uid, accepted)
            async with aclosing(_file(instance, syntax, b"")) as file:
                async for pieces in file:
                    yield pieces
    if not found:
        raise NotFound("The archive has nothing under these UIDs.")


async def _file(instance: Instance, syntax: str, start: bytes) -> AsyncGenerator[Pieces, None]:
    """Yield `start`, the Part 10 header (PS3.10 §7.1) and the data set in `syntax`, the first piece with its header."""
    start += file_header(
        instance.sop_class_uid,
        instance.sop_instance_uid,
        syntax,
        source_ae_title=instance.receiving_ae_title,
        sending_ae_title=instance.source_ae_title,
    )
    if syntax == instance.transfer_syntax_uid:
        async for pieces in instance.data_set:
            if start:
                pieces = (start, *pieces)
                start = b""
            yield pieces
    else:
        conversion = Conversion(instance.transfer_syntax_uid, syntax)
        async for pieces in instance.data_set:
            converted = conversion.feed(pieces)
            if start:
                converted = [start, *converted]
                start = b""
            if converted:
                yield converted
        rest = conversion.finish()
        if rest:
            yield rest
    if start:
        yield (start,)
