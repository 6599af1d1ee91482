"""Retrieve Frames and Pixel Data (PS3.18 §10.4.1.1.6, §10.4.1.1.7): what is asked for, and nothing else is read."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from typing import Final

from harmonygw.dicom.dataset.frames import Range
from harmonygw.dicom.dataset.transfer_syntaxes import describe
from harmonygw.dicom.web import multipart
from harmonygw.dicom.web.media_types import accept_parameters
from harmonygw.dicom.web.pixel_media_types import FrameForm, negotiate_frames, negotiate_pixel_data
from harmonygw.dicom.web.resources import Resource, url
from harmonygw.errors import NotAcceptable, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge import byte_ranges
from harmonygw.middleware.dicomweb_bridge.access import Access, Readable
from harmonygw.middleware.dicomweb_bridge.pixels import (
    Form,
    choose,
    forms_of,
    frame_table,
    frames,
    stored_pieces,
    stored_views,
)
from harmonygw.middleware.dicomweb_bridge.relaying import Relay, closed, led_by
from harmonygw.middleware.dicomweb_bridge.retrieving import CACHE_CONTROL, NOTHING, ensure_existence
from harmonygw.pipeline import Proceed
from harmonygw.rendering.workers import Workers
from harmonygw.streams import Body, InstanceStream, Piece, Pieces

AT_ONCE: Final = 4 * 1024 * 1024
"""Bytes of stored frames that are read at once and sent with their length; longer ones stream."""

_frame_forms = lru_cache(64)(negotiate_frames)
"""Each client sends the same header with every frame."""


class FramesTransaction:
    """Frames of one bridge."""

    def __init__(self, access: Access, workers: Workers) -> None:
        self._access = access
        self._workers = workers

    async def frames(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer with frames of one instance, in the order of the list.

        Raises `NotFound` for one that it does not have, `NotAcceptable`, and what a Retrieve raises.
        """
        one_part = len(resource.frames) == 1
        accept = tuple(accept_parameters(origin.query))
        forms = _frame_forms(origin.headers.get("accept"), accept, one_part=one_part)
        boundary = multipart.boundary()
        if origin.method == "HEAD":
            await ensure_existence(request, resource, proceed)
            return Reply(headers=(("Content-Type", _content_type(forms[0], "", boundary)), CACHE_CONTROL))
        readable = await self._access.one(request, resource, proceed)
        table = frame_table(readable)
        ranges = [one for number in resource.frames for one in table.locate(number)]
        form = choose(forms, readable.instance.transfer_syntax_uid)
        headers = (
            ("Content-Type", _content_type(form.form, form.outgoing, boundary)),
            CACHE_CONTROL,
            ("ETag", _entity_tag(readable, form, ",".join(map(str, resource.frames)))),
            *readable.headers,
        )
        location = url(origin.base_url, resource.study, resource.series, resource.instance, "frames")
        if form.stored and byte_ranges.length_of(ranges) <= AT_ONCE:
            parts: list[Piece] = []
            for number in resource.frames:
                if form.form.multipart:
                    parts.append(_part_header(boundary, form, f"{location}/{number}", first=not parts))
                parts.extend(await stored_views(readable, number))
            if form.form.multipart:
                parts.append(multipart.closing(boundary))
            return Reply(headers=headers, body=Body.of(*parts))
        await byte_ranges.verify(readable, ranges)
        parts_coming = self._frames(readable, resource.frames, form, request.client, boundary, location)
        return Reply(
            headers=headers,
            body=Body(closed(parts_coming, boundary) if form.form.multipart else parts_coming),
        )

    async def pixel_data(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer with the pixel data of every instance of a resource: a part each, or each frame that is compressed.

        Instances without pixel data are passed over. Raises `NotFound` when there is none, `NotAcceptable`, and what a
        Retrieve raises.
        """
        accept = accept_parameters(origin.query)
        forms = negotiate_pixel_data(origin.headers.get("accept"), accept, one_part=bool(resource.instance))
        boundary = multipart.boundary()
        if origin.method == "HEAD":
            await ensure_existence(request, resource, proceed)
            return Reply(headers=(("Content-Type", _content_type(forms[0], "", boundary)), CACHE_CONTROL))
        if resource.instance:
            return await self._of_one(request, origin, await self._access.one(request, resource, proceed), forms)
        reply = await self._access.retrieve(request, resource, proceed)
        each = Relay(reply.result, self._with_pixels(reply.result))
        try:
            first = await anext(each)
            form = choose(forms, first.instance.transfer_syntax_uid)
        except BaseException:
            await each.aclose()
            raise
        parts = self._of_each(first, each, forms, boundary, origin.base_url, request.client)
        return Reply(
            headers=(("Content-Type", _content_type(form.form, "", boundary)), CACHE_CONTROL, *reply.headers),
            body=Body(Relay(each, closed(parts, boundary))),
        )

    async def pixel_data_of(self, request: Request, origin: HTTPOrigin, readable: Readable) -> Reply:
        """Answer with the pixel data of one instance that is there already; raises `NotAcceptable`."""
        accept = accept_parameters(origin.query)
        forms = negotiate_pixel_data(origin.headers.get("accept"), accept, one_part=True)
        return await self._of_one(request, origin, readable, forms)

    async def parts(
        self, readable: Readable, form: Form, boundary: str, base_url: str, client: str, *, first: bool
    ) -> AsyncGenerator[Pieces, None]:
        """Yield the parts of one instance's pixel data; `first` of the multipart that `boundary` belongs to."""
        instance = readable.instance
        uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
        if not _is_one_part(readable, form):
            numbers = range(1, frame_table(readable).count + 1)
            pieces = self._frames(
                readable, numbers, form, client, boundary, url(base_url, *uids, "frames"), first=first
            )
        else:
            yield (_part_header(boundary, form, url(base_url, *uids, "pixeldata"), first=first),)
            pieces = self._whole(readable, form, client)
        async with aclosing(pieces):
            async for some in pieces:
                yield some

    async def _of_one(
        self, request: Request, origin: HTTPOrigin, readable: Readable, forms: Sequence[FrameForm]
    ) -> Reply:
        form = _form_of_one(readable, forms)
        boundary = multipart.boundary()
        content_type = _content_type(form.form, form.outgoing, boundary)
        etag = _entity_tag(readable, form, "pixeldata")
        if form.stored and _is_one_part(readable, form):
            ranges = _ranges_of_whole(readable)
            if not form.form.multipart:
                return await byte_ranges.by_itself(origin, readable, ranges, content_type, etag, (CACHE_CONTROL,))
            instance = readable.instance
            uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
            location = url(origin.base_url, *uids, "pixeldata")
            return await byte_ranges.as_one_part(
                origin, readable, ranges, form.form.media_type, form.outgoing, location, etag, (CACHE_CONTROL,)
            )
        if form.form.multipart:
            pieces = closed(self.parts(readable, form, boundary, origin.base_url, request.client, first=True), boundary)
        else:
            pieces = self._whole(readable, form, request.client)
        headers = (("Content-Type", content_type), CACHE_CONTROL, ("ETag", etag), *readable.headers)
        return Reply(headers=headers, body=Body(pieces))

    async def _with_pixels(self, instances: InstanceStream) -> AsyncGenerator[Readable, None]:
        found = with_pixels = False
        async with aclosing(self._access.each(instances)) as each:
            async for readable in each:
                found = True
                if readable.layout.frames is not None:
                    with_pixels = True
                    yield readable
        if not with_pixels:
            raise NotFound("There is no pixel data." if found else NOTHING)

    async def _of_each(
        self,
        first: Readable,
        rest: Relay[Readable],
        forms: Sequence[FrameForm],
        boundary: str,
        base_url: str,
        client: str,
    ) -> AsyncGenerator[Pieces, None]:
        async with aclosing(led_by(first, rest)) as each:
            async for readable in each:
                form = choose(forms, readable.instance.transfer_syntax_uid)
                parts = self.parts(readable, form, boundary, base_url, client, first=readable is first)
                async with aclosing(parts):
                    async for pieces in parts:
                        yield pieces

    async def _frames(
        self,
        readable: Readable,
        numbers: Sequence[int],
        form: Form,
        client: str,
        boundary: str,
        location: str,
        *,
        first: bool = True,
    ) -> AsyncGenerator[Pieces, None]:
        """Yield frames, each as a part when the form is a multipart."""
        async with aclosing(frames(readable, numbers, form.outgoing, self._workers, client)) as made:
            for number in numbers:
                start: Pieces = ()
                if form.form.multipart:
                    start = (_part_header(boundary, form, f"{location}/{number}", first=first),)
                    first = False
                if not form.stored:
                    yield (*start, await anext(made))
                    continue
                async with aclosing(stored_pieces(readable, number)) as stored:
                    async for some in stored:
                        yield (*start, *some)
                        start = ()

    async def _whole(self, readable: Readable, form: Form, client: str) -> AsyncGenerator[Pieces, None]:
        """Yield pixel data that is one part."""
        if form.stored:
            pieces = byte_ranges.value(readable, _ranges_of_whole(readable))
        else:
            pieces = self._frames(readable, range(1, frame_table(readable).count + 1), _alone(form), client, "", "")
        async with aclosing(pieces):
            async for some in pieces:
                yield some


def _content_type(form: FrameForm, outgoing: str, boundary: str) -> str:
    if form.multipart:
        return multipart.content_type(boundary, form.media_type)
    return f"{form.media_type}; transfer-syntax={outgoing}" if outgoing else form.media_type


def _part_header(boundary: str, form: Form, location: str, *, first: bool) -> bytes:
    return multipart.part_header(boundary, form.outgoing, location, first, media_type=form.form.media_type)


def _entity_tag(readable: Readable, form: Form, what: str) -> str:
    """Return what tells this content in this form from another; a weak one of a multipart, whose boundary differs."""
    told = sha256(f"{what} {form.outgoing} {form.form.media_type}".encode()).hexdigest()[:16]
    return f'W/"{readable.file.digest}-{told}-m"' if form.form.multipart else f'"{readable.file.digest}-{told}"'


def _form_of_one(readable: Readable, forms: Sequence[FrameForm]) -> Form:
    """Return the form for the pixel data of one instance, which can go by itself only where it is one part."""
    count = frame_table(readable).count
    stored = readable.instance.transfer_syntax_uid
    choose(forms, stored)
    for form in forms_of(forms, stored):
        if form.form.multipart or _is_one_part(readable, form):
            return form
    raise NotAcceptable(f"The pixel data is {count} frames that are compressed one by one, for a multipart only.")


def _is_one_part(readable: Readable, form: Form) -> bool:
    """Tell whether pixel data is one part: native, a video, or one frame; else each frame is (PS3.18 §10.4.3.3.6)."""
    outgoing = describe(form.outgoing)
    return not outgoing.encapsulated or outgoing.video or frame_table(readable).count == 1


def _ranges_of_whole(readable: Readable) -> tuple[Range, ...]:
    table = frame_table(readable)
    if table.encapsulated and not describe(readable.instance.transfer_syntax_uid).video:
        return table.locate(1)
    return table.all_ranges()


def _alone(form: Form) -> Form:
    return form._replace(form=replace(form.form, multipart=False))
