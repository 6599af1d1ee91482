"""Retrieve Rendered (PS3.18 §10.4.1.1.3) and Thumbnail: what an instance looks like, made in a worker process.

A rendering is for looking, not for diagnosis.
"""

from base64 import b64decode
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson

from harmonygw.dicom.dataset.frames import Range
from harmonygw.dicom.dataset.transfer_syntaxes import describe
from harmonygw.dicom.web import multipart, rendered_media_types
from harmonygw.dicom.web.media_types import Offer, accept_parameters
from harmonygw.dicom.web.pixel_media_types import MEDIA_TYPE_OF
from harmonygw.dicom.web.rendered_media_types import GIF, HTML, JPEG, MP4, PDF, PNG, TEXT
from harmonygw.dicom.web.rendering_parameters import (
    MAX_VIEWPORT,
    RenderingParameters,
    Viewport,
    parse_rendering,
    parse_thumbnail,
)
from harmonygw.dicom.web.resources import Resource, url
from harmonygw.errors import NotAcceptable, NotFound, PeerError, RenderingFailed, TooLarge
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge import byte_ranges
from harmonygw.middleware.dicomweb_bridge.access import Access, Readable
from harmonygw.middleware.dicomweb_bridge.byte_ranges import Headers
from harmonygw.middleware.dicomweb_bridge.pixels import description, frame_table, stored_frame
from harmonygw.middleware.dicomweb_bridge.relaying import Relay, closed, led_by
from harmonygw.middleware.dicomweb_bridge.representative import representative
from harmonygw.middleware.dicomweb_bridge.retrieving import CACHE_CONTROL, NOTHING, ensure_existence
from harmonygw.middleware.dicomweb_bridge.warning import warning
from harmonygw.pipeline import Proceed
from harmonygw.rendering.workers import Workers
from harmonygw.streams import Body, InstanceStream, Pieces

MAX_HEAD_BYTES: Final = 64 * 1024 * 1024
"""Bytes before the pixel data that go to a worker. Default 64 MiB: per-frame functional groups of large objects."""

MAX_REPORT_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a structured report that is rendered. Default 64 MiB."""

MAX_FRAMES_BYTES: Final = 256 * 1024 * 1024
"""Bytes of the stored frames that go to a worker together. Default 256 MiB, as one frame may have."""

MAX_ANIMATED_FRAMES: Final = 500
"""Frames of one animation; of a longer object the first ones."""

_DOCUMENT: Final = "00420011"
_DOCUMENT_TYPE: Final = "00420012"
_CONTENT_SEQUENCE: Final = "0040A730"
_VALUE_TYPE: Final = "0040A040"
_REPRESENTATIVE_FRAME: Final = "00286010"
_WAVEFORM_SEQUENCE: Final = "54000100"
_IMAGES: Final = (JPEG, PNG, GIF)


class Rendering(NamedTuple):
    """What one file is made of: bytes that were made, or ranges of the data set, which has it as it is."""

    media_type: str
    made: bytes = b""
    ranges: tuple[Range, ...] | None = None


class Rendered(NamedTuple):
    """An instance that can be rendered as something that is accepted."""

    readable: Readable
    offer: Offer


class RenderingTransaction:
    """Renderings of one bridge."""

    def __init__(self, access: Access, workers: Workers) -> None:
        self._access = access
        self._workers = workers

    async def rendered(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer with renderings of a resource, one by itself or several as parts.

        Instances of which nothing can be made that is accepted are passed over when there are others. Raises
        `NotAcceptable` when nothing can be made, and what a Retrieve raises.
        """
        one_part = bool(resource.instance) and len(resource.frames) <= 1
        offers = rendered_media_types.negotiate_rendered(
            origin.headers.get("accept"), accept_parameters(origin.query), one_part=one_part
        )
        parameters = parse_rendering(origin.query)
        boundary = multipart.boundary()
        if origin.method == "HEAD":
            await ensure_existence(request, resource, proceed)
            return Reply(headers=(("Content-Type", _content_type(offers[0], boundary)), CACHE_CONTROL))
        if resource.instance:
            return await self.single(request, origin, resource, proceed, offers, parameters)
        reply = await self._access.retrieve(request, resource, proceed)
        each = Relay(reply.result, self._each(reply.result, offers))
        try:
            first = await anext(each)
        except BaseException:
            await each.aclose()
            raise
        parts = self._parts(first, each, parameters, boundary, origin.base_url, request.client)
        return Reply(
            headers=(
                ("Content-Type", _content_type(first.offer, boundary)),
                CACHE_CONTROL,
                *_warnings(parameters),
                *reply.headers,
            ),
            body=Body(Relay(each, closed(parts, boundary))),
        )

    async def single(
        self,
        request: Request,
        origin: HTTPOrigin,
        resource: Resource,
        proceed: Proceed,
        offers: Sequence[Offer],
        parameters: RenderingParameters,
    ) -> Reply:
        """Answer with the rendering of one instance or of its frames that the resource names; a multipart has all."""
        readable = await self._access.one(request, resource, proceed)
        offer = _first_possible(offers, readable)
        if resource.frames and offer.media_type not in _IMAGES:
            raise NotAcceptable("Single frames are rendered of images only.")
        told = sha256(repr((parameters, resource.frames, str(offer))).encode()).hexdigest()[:16]
        etag = f'"{readable.file.digest}-{told}"'
        headers: Headers = (CACHE_CONTROL, *_warnings(parameters))
        numbers = resource.frames or _frames_shown(readable, offer)
        if not offer.multipart:
            made = await self._rendering(readable, offer.media_type, numbers, parameters, request.client)
            if made.ranges is not None:
                return await byte_ranges.by_itself(origin, readable, made.ranges, made.media_type, etag, headers)
            return Reply(
                headers=(("Content-Type", made.media_type), ("ETag", etag), *headers, *readable.headers),
                body=Body.of(made.made),
            )
        boundary = multipart.boundary()
        parts = self._parts_of(
            Rendered(readable, offer), numbers, parameters, boundary, origin.base_url, request.client, first=True
        )
        return Reply(
            headers=(
                ("Content-Type", _content_type(offer, boundary)),
                ("ETag", f"W/{etag}"),
                *headers,
                *readable.headers,
            ),
            body=Body(closed(parts, boundary)),
        )

    async def thumbnail(self, request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
        """Answer with a small JPEG, whatever is accepted: a picture without a word in it, or an icon."""
        viewport = parse_thumbnail(origin.query)
        headers: Headers = (("Content-Type", JPEG), CACHE_CONTROL)
        if origin.method == "HEAD":
            await ensure_existence(request, resource, proceed)
            return Reply(headers=headers)
        shown = await representative(request, resource, proceed)
        readable = await self._access.one(request, shown, proceed)
        headers = (*headers, *readable.headers)
        size = None if viewport is None else [viewport.columns, viewport.rows]
        kind = _kind(readable)
        if kind == "image":
            number = (resource.frames or (_representative_frame(readable),))[0]
            words = {"media_type": JPEG, "viewport": size, "thumbnail": True}
            try:
                job = await _job(readable, (number,), words)
                _, picture = await self._workers.run("render", *job, client=request.client)
            except (NotAcceptable, PeerError, RenderingFailed, TooLarge) as error:
                # Study lists show an error where a thumbnail fails. It has no tag: next time it may not fail.
                request.record.note(f"an icon stands for a thumbnail: {error.detail}")
                return Reply(headers=headers, body=Body.of(await self._icon(kind, size, request.client)))
        else:
            picture = await self._icon(kind, size, request.client)
        told = sha256(f"thumbnail {size} {resource.frames[:1]}".encode()).hexdigest()[:16]
        return Reply(headers=(*headers, ("ETag", f'"{readable.file.digest}-{told}"')), body=Body.of(picture))

    async def _icon(self, kind: str, size: "list[int | None] | None", client: str) -> bytes:
        _, icon = await self._workers.run("icon", {"kind": kind, "viewport": size}, (), client=client)
        return icon

    async def _each(self, instances: InstanceStream, offers: Sequence[Offer]) -> AsyncGenerator[Rendered, None]:
        found = possible = False
        async with aclosing(self._access.each(instances)) as each:
            async for readable in each:
                found = True
                try:
                    rendered = Rendered(readable, _first_possible(offers, readable))
                except NotAcceptable:
                    continue
                possible = True
                yield rendered
        if not found:
            raise NotFound(NOTHING)
        if not possible:
            raise NotAcceptable(f"Nothing here can be rendered as {' or '.join(map(str, offers))}.")

    async def _parts(
        self,
        first: Rendered,
        rest: Relay[Rendered],
        parameters: RenderingParameters,
        boundary: str,
        base_url: str,
        client: str,
    ) -> AsyncGenerator[Pieces, None]:
        async with aclosing(led_by(first, rest)) as each:
            async for rendered in each:
                numbers = _frames_shown(*rendered)
                is_first = rendered is first
                parts = self._parts_of(rendered, numbers, parameters, boundary, base_url, client, first=is_first)
                async with aclosing(parts):
                    async for pieces in parts:
                        yield pieces

    async def _parts_of(
        self,
        rendered: Rendered,
        numbers: Sequence[int],
        parameters: RenderingParameters,
        boundary: str,
        base_url: str,
        client: str,
        *,
        first: bool,
    ) -> AsyncGenerator[Pieces, None]:
        readable, media_type = rendered.readable, rendered.offer.media_type
        instance = readable.instance
        uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
        by_frame = media_type in _IMAGES and media_type != GIF
        for group in ((number,) for number in numbers) if by_frame else (tuple(numbers),):
            made = await self._rendering(readable, media_type, group, parameters, client)
            below = ("frames", str(group[0]), "rendered") if by_frame else ("rendered",)
            location = url(base_url, *uids, *below)
            start = multipart.part_header(boundary, "", location, first, media_type=made.media_type)
            first = False
            if made.ranges is None:
                yield (start, made.made)
                continue
            yield (start,)
            async with aclosing(byte_ranges.value(readable, made.ranges)) as pieces:
                async for some in pieces:
                    yield some

    async def _rendering(
        self,
        readable: Readable,
        media_type: str,
        numbers: Sequence[int],
        parameters: RenderingParameters,
        client: str,
    ) -> Rendering:
        instance, file = readable.instance, readable.file
        if media_type == MP4:
            return Rendering(MP4, ranges=frame_table(readable).all_ranges())
        if media_type == PDF:
            document = readable.layout.ranges(_DOCUMENT)
            inline = b64decode(_attribute(readable, _DOCUMENT).get("InlineBinary", ""))
            return Rendering(PDF, inline, document)
        if media_type in (HTML, TEXT):
            if file.length > MAX_REPORT_BYTES:
                raise TooLarge(f"The report is larger than MAX_REPORT_BYTES ({MAX_REPORT_BYTES}).")
            words: dict[str, Any] = {
                "transfer_syntax": instance.transfer_syntax_uid,
                "media_type": media_type,
                "default_character_set": list(instance.default_character_set),
            }
            job, payload = "report", await file.read((0, file.length))
        else:
            job = "render"
            words, payload = await _job(readable, numbers, _words(media_type, parameters, readable))
        result, made = await self._workers.run(job, words, payload, client=client)
        return Rendering(result["media_type"], made)


async def _job(readable: Readable, numbers: Sequence[int], words: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    layout = readable.layout
    if layout.head_length > MAX_HEAD_BYTES:
        raise TooLarge(f"What stands before the pixels is larger than MAX_HEAD_BYTES ({MAX_HEAD_BYTES}).")
    pixels = asdict(description(readable))
    table = frame_table(readable)
    if sum(byte_ranges.length_of(table.locate(number)) for number in numbers) > MAX_FRAMES_BYTES:
        raise TooLarge(f"The frames are larger than MAX_FRAMES_BYTES ({MAX_FRAMES_BYTES}) together.")
    [head] = await readable.file.read((0, layout.head_length))
    frames = [await stored_frame(readable, number) for number in numbers]
    parameters = {
        "transfer_syntax": readable.instance.transfer_syntax_uid,
        "pixels": pixels,
        "frames": list(numbers),
        "default_character_set": list(readable.instance.default_character_set),
        **words,
    }
    return parameters, [head, *frames]


def _words(media_type: str, parameters: RenderingParameters, readable: Readable) -> dict[str, Any]:
    """Return what the client asks of the picture, as the job has it."""
    window = parameters.window
    return {
        "media_type": media_type,
        "viewport": _viewport(parameters, readable),
        "window": None if window is None else [window.centre, window.width, window.function.value],
        "quality": parameters.quality,
        "annotation": sorted(one.value for one in parameters.annotation),
        "iccprofile": None if parameters.icc_profile is None else parameters.icc_profile.value,
    }


def _viewport(parameters: RenderingParameters, readable: Readable) -> list[int] | None:
    if parameters.viewport is None and parameters.region is None:
        return None
    pixels = description(readable)
    source = parameters.source(pixels.columns, pixels.rows)
    viewport = parameters.viewport or Viewport(source.columns, source.rows)
    columns = viewport.columns or _fitting(viewport.rows, source.columns, source.rows)
    rows = viewport.rows or _fitting(viewport.columns, source.rows, source.columns)
    across = -source.columns if source.mirrored else source.columns
    down = -source.rows if source.upside_down else source.rows
    return [columns, rows, source.x, source.y, across, down]


def _fitting(other: int | None, side: int, other_side: int) -> int:
    return min(max(1, round((other or other_side) * side / other_side)), MAX_VIEWPORT)


def _first_possible(offers: Sequence[Offer], readable: Readable) -> Offer:
    possible = _media_types(readable)
    for offer in offers:
        if offer.media_type in possible:
            return offer
    can = " or ".join(possible) if possible else "nothing"
    raise NotAcceptable(f"Of this object {can} can be rendered, and nothing that the request accepts.")


def _media_types(readable: Readable) -> tuple[str, ...]:
    kind = _kind(readable)
    if kind == "image":
        return _IMAGES
    if kind == "video":
        return (MP4,) if MEDIA_TYPE_OF[readable.instance.transfer_syntax_uid] == MP4 else ()
    if kind == "document":
        return (PDF,) if _attribute(readable, _DOCUMENT) else (HTML, TEXT)
    return ()


def _kind(readable: Readable) -> str:
    """Return what an object is, in the words of the icons."""
    layout = readable.layout
    if layout.frames is not None and describe(readable.instance.transfer_syntax_uid).video:
        return "video"
    if layout.frames is not None and layout.pixels is not None:
        return "image"
    metadata = orjson.loads(layout.metadata)
    if metadata.get(_DOCUMENT_TYPE, {}).get("Value", ()) == [PDF]:
        return "document"
    if _CONTENT_SEQUENCE in metadata and _VALUE_TYPE in metadata:
        return "document"
    return "waveform" if _WAVEFORM_SEQUENCE in metadata else "other"


def _content_type(offer: Offer, boundary: str) -> str:
    return multipart.content_type(boundary, offer.media_type) if offer.multipart else offer.media_type


def _warnings(parameters: RenderingParameters) -> Headers:
    return tuple(("Warning", warning(f"Annotation {name} is not known.")) for name in parameters.unknown_annotations)


def _attribute(readable: Readable, tag: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(readable.layout.metadata).get(tag, {})
    return found


def _frames_shown(readable: Readable, offer: Offer) -> Sequence[int]:
    """Return the frames of an instance that its rendering shows."""
    table = readable.layout.frames
    if table is None or offer.media_type not in _IMAGES:
        return ()
    if offer.media_type == GIF:
        return range(1, min(table.count, MAX_ANIMATED_FRAMES) + 1)
    if offer.multipart:
        return range(1, table.count + 1)
    return (_representative_frame(readable),)


def _representative_frame(readable: Readable) -> int:
    values = _attribute(readable, _REPRESENTATIVE_FRAME).get("Value", ())
    number = values[0] if values else 1
    return number if isinstance(number, int) and 1 <= number <= frame_table(readable).count else 1
