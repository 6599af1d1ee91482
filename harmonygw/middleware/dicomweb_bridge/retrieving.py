"""Retrieve of studies, series and instances (PS3.18 §10.4): instances into parts, as they arrive.

Nothing is held back unless that is asked for (`gathering`): each read of the PACS's socket goes out as it came, behind
a part header and a Part 10 header for its object. Native transfer syntaxes are converted while they flow, compressed
pixels decoded or encoded a frame at a time; what cannot be made of an object is refused before the first byte, or
breaks the reply off.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from harmonygw.dicom.dataset.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    LOSSLESS,
    LOSSY,
    NATIVE,
    VIDEO,
    describe,
    travelling,
)
from harmonygw.dicom.web import media_types, multipart
from harmonygw.dicom.web.attributes import UNIQUE_KEYS
from harmonygw.dicom.web.media_types import RetrieveChoice, RetrieveMedia
from harmonygw.dicom.web.resources import Resource, url
from harmonygw.errors import Conflict, Incomplete, NotAcceptable, NotFound, PeerError
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge import zipping
from harmonygw.middleware.dicomweb_bridge.checking import text
from harmonygw.middleware.dicomweb_bridge.gathering import PARTIAL_CONTENT, Gathering
from harmonygw.middleware.dicomweb_bridge.inquiry import Inquiry
from harmonygw.middleware.dicomweb_bridge.part10_files import Files
from harmonygw.middleware.dicomweb_bridge.relaying import Relay, entity_tag
from harmonygw.middleware.dicomweb_bridge.warning import warning
from harmonygw.operations import ANY_TRANSFER_SYNTAX, ContestedMatch, Find, Level, Retrieve
from harmonygw.pipeline import Proceed
from harmonygw.rendering.transfer_syntaxes import DECODABLE, ENCODABLE
from harmonygw.streams import Body, Instance, InstanceStream, Pieces

Headers = tuple[tuple[str, str], ...]

CACHE_CONTROL = ("Cache-Control", "private, no-cache")
"""A SOP instance can change under its UID, so that nothing may be served again without asking."""

NOTHING = "The archive has nothing under these UIDs."

BY_DEFAULT: Final = (EXPLICIT_VR_LITTLE_ENDIAN, *sorted(LOSSY), *sorted(VIDEO))
"""What may go out to a client that names no transfer syntax: Explicit VR Little Endian (PS3.18 §8.7.3.4), and what
exists only in a lossy syntax as it is."""


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
    """Raise `NotFound` unless the archive lists the resource, `Conflict` if it is contested; asks by C-FIND alone."""
    named = ((Level.STUDY, resource.study), (Level.SERIES, resource.series), (Level.IMAGE, resource.instance))
    uids = {UNIQUE_KEYS[level]: uid for level, uid in named if uid}
    keys = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
    async with aclosing(Inquiry(request, proceed).matches(Find(resource.level, keys))) as matches:
        async for match in matches:
            if isinstance(match, ContestedMatch):
                raise Conflict("This Study Instance UID belongs to several patients: name the archive that is meant.")
            if all(text(match, tag) in ("", uid) for tag, uid in uids.items()):
                return
    raise NotFound(NOTHING)


class RetrieveTransaction:
    """Retrieves of one bridge. With `new_gathering` a multipart goes out once its end is known."""

    def __init__(self, files: Files, new_gathering: Callable[[], Gathering] | None = None) -> None:
        self._files = files
        self._new_gathering = new_gathering

    async def run(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer a Retrieve with `multipart/related`, with a ZIP archive, or with one instance by itself.

        Raises `NotAcceptable` and `NotFound`, and what a Retrieve raises; so does the body before its first piece. What
        it raises later leaves it without its end.
        """
        choice = media_types.negotiate_retrieve(
            origin.headers.get("accept"),
            media_types.accept_parameters(origin.query),
            one_instance=bool(resource.instance),
        )
        boundary = multipart.boundary()
        content_type = {
            RetrieveMedia.SINGLE: media_types.DICOM,
            RetrieveMedia.ZIP: media_types.ZIP,
            RetrieveMedia.MULTIPART: multipart.content_type(boundary),
        }[choice.media]
        headers: Headers = (("Content-Type", content_type), CACHE_CONTROL)
        if origin.method == "HEAD":
            await ensure_existence(request, resource, proceed)
            return Reply(headers=headers)
        accepted = acceptable(choice)
        if choice.media is RetrieveMedia.SINGLE:
            return await self.single(request, resource, accepted, proceed)
        if choice.media is RetrieveMedia.MULTIPART and self._new_gathering is not None:
            gathering = self._new_gathering()
            try:
                return await self._gathered(gathering, request, origin, resource, proceed, accepted, boundary, headers)
            except BaseException:
                gathering.close()
                raise
        reply = await proceed(replace(request, operation=operation_for(resource, asked_for(accepted))))
        instances: InstanceStream = reply.result
        if choice.media is RetrieveMedia.ZIP:
            pieces = zipping.archive(instances, accepted, self._files, request.client)
            name = zipping.harmless(resource.instance or resource.series or resource.study)
            headers += (("Content-Disposition", f'attachment; filename="{name}.zip"'),)
        else:
            pieces = self._parts(instances, accepted, boundary, origin.base_url, request.client)
        tag = entity_tag(reply, origin.base_url, choice.media, accepted, weak=True)
        return Reply(headers=(*headers, *tag, *reply.headers), body=Body(Relay(instances, pieces)))

    async def single(self, request: Request, resource: Resource, accepted: Sequence[str], proceed: Proceed) -> Reply:
        """Answer with one instance by itself. Its transfer syntax is named unless it is the default (PS3.18 §8.7.3)."""
        reply = await proceed(replace(request, operation=operation_for(resource, asked_for(accepted))))
        instances: InstanceStream = reply.result
        try:
            instance = await _first(instances)
            syntax = outgoing(instance.transfer_syntax_uid, accepted)
        except BaseException:
            await instances.aclose()
            raise
        named = "" if syntax == EXPLICIT_VR_LITTLE_ENDIAN else f"; transfer-syntax={syntax}"
        return Reply(
            headers=(
                ("Content-Type", media_types.DICOM + named),
                CACHE_CONTROL,
                *entity_tag(reply, syntax, weak=False),
                *reply.headers,
            ),
            body=Body(Relay(instances, self._alone(instances, instance, syntax, request.client))),
        )

    async def _gathered(
        self,
        gathering: Gathering,
        request: Request,
        origin: HTTPOrigin,
        resource: Resource,
        proceed: Proceed,
        accepted: Sequence[str],
        boundary: str,
        headers: Headers,
    ) -> Reply:
        """Answer once the end is known: 200 with all, or 206 with some; of too much as it comes."""
        reply = await proceed(replace(request, operation=operation_for(resource, asked_for(accepted))))
        instances: InstanceStream = reply.result
        pieces = self._parts(instances, accepted, boundary, origin.base_url, request.client, gathering.note_whole)
        parts = Relay(instances, pieces)
        tag = entity_tag(reply, origin.base_url, RetrieveMedia.MULTIPART, accepted, weak=True)
        try:
            if await gathering.take(parts):
                await parts.aclose()
                return Reply(headers=(*headers, *tag, *reply.headers), body=gathering.all())
        except Incomplete as error:
            await parts.aclose()
            sentence = gathering.sentence(await gathering.missing(request, resource, proceed, error))
            request.record.note(f"{error.detail}; sent without them")
            said = ("Warning", warning(sentence))
            body = gathering.whole_parts(multipart.closing(boundary))
            return Reply(PARTIAL_CONTENT, (*headers, said, *reply.headers), body)
        except BaseException:
            await parts.aclose()
            raise
        request.record.note("more than partial_bytes has come: sent as it comes, and broken off if it is not whole")
        return Reply(headers=(*headers, *tag, *reply.headers), body=gathering.followed_by(parts))

    async def _parts(
        self,
        instances: InstanceStream,
        accepted: Sequence[str],
        boundary: str,
        base_url: str,
        client: str,
        on_whole: Callable[[str], None] = lambda _: None,
    ) -> AsyncGenerator[Pieces, None]:
        first = True
        async with aclosing(instances):
            async for instance in instances:
                syntax = outgoing(instance.transfer_syntax_uid, accepted)
                uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
                part = multipart.part_header(boundary, syntax, url(base_url, *uids), first)
                first = False
                async with aclosing(self._files.file(instance, syntax, client, start=part)) as file:
                    async for pieces in file:
                        yield pieces
                on_whole(instance.sop_instance_uid)
        if first:
            raise NotFound(NOTHING)
        yield (multipart.closing(boundary),)

    async def _alone(
        self, instances: InstanceStream, instance: Instance, syntax: str, client: str
    ) -> AsyncGenerator[Pieces, None]:
        async with aclosing(instances):
            async with aclosing(self._files.file(instance, syntax, client)) as file:
                async for pieces in file:
                    yield pieces
            async for _ in instances:
                raise PeerError("the archive sent several instances under one SOP Instance UID")


def acceptable(choice: RetrieveChoice) -> tuple[str, ...]:
    """Return the transfer syntaxes that may go out, in order of preference."""
    return BY_DEFAULT if choice.by_default else choice.transfer_syntaxes


def asked_for(accepted: Sequence[str]) -> tuple[str, ...]:
    """Return what the archive is asked for: what may go out, and then what that can be made of here.

    Lossy ones come last, whatever the client prefers: see docs/decisions/0002.
    """
    if ANY_TRANSFER_SYNTAX in accepted:
        return tuple(accepted)
    asked = [*accepted]
    if any(uid in NATIVE or uid in ENCODABLE for uid in accepted):
        asked += [*sorted(NATIVE), *sorted(LOSSLESS & DECODABLE), *sorted(LOSSY & DECODABLE)]
    return tuple(dict.fromkeys(sorted(asked, key=lambda uid: uid in LOSSY or uid in VIDEO)))


def outgoing(transfer_syntax_uid: str, accepted: Sequence[str]) -> str:
    """Return the transfer syntax in which an object goes out; raises `NotAcceptable` when there is none."""
    if transfer_syntax_uid in accepted:
        return transfer_syntax_uid
    if ANY_TRANSFER_SYNTAX in accepted:
        return travelling(transfer_syntax_uid)
    if transfer_syntax_uid in NATIVE | DECODABLE:
        for one in accepted:
            if one in NATIVE or one in ENCODABLE:
                return one
    raise NotAcceptable(
        f"The archive holds this as {describe(transfer_syntax_uid).name}, of which nothing that the request accepts "
        "can be made. Ask with transfer-syntax=* for what is held."
    )


async def _first(instances: InstanceStream) -> Instance:
    try:
        return await instances.__anext__()
    except StopAsyncIteration:
        raise NotFound(NOTHING) from None
