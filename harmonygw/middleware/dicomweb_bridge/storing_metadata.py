"""Metadata of a Store, and the bulk data that it refers to, joined into instances (PS3.18 §10.5.2).

Which part is whose value shows only when all have come: metadata waits in memory within a limit, bulk data in a spool.
A BulkDataURI that no part of the request has as its Content-Location is never fetched from anywhere.
"""

import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin

import orjson

from harmonygw.dicom.dataset.jpeg_process import BEGINNING_LENGTH, jpeg_transfer_syntax
from harmonygw.dicom.dataset.json_streaming import PIXEL_DATA, Segment, written
from harmonygw.dicom.dataset.leading import leading_of_model
from harmonygw.dicom.dataset.part10 import encode_uid
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, describe
from harmonygw.dicom.dataset.xml_decoding import from_xml
from harmonygw.dicom.web.attributes import AVAILABLE_TRANSFER_SYNTAX_UID
from harmonygw.dicom.web.media_types import parse_content_type
from harmonygw.dicom.web.pixel_media_types import TRANSFER_SYNTAXES_OF
from harmonygw.dicom.web.store_media_types import PartKind, bulk_transfer_syntax
from harmonygw.errors import BadRequest, TooLarge
from harmonygw.middleware.dicomweb_bridge.access import Access
from harmonygw.middleware.dicomweb_bridge.storing_parts import IncomingPart
from harmonygw.streams import Instance, Piece, Pieces

MAX_BULK_PARTS: Final = 100_000
"""Parts with bulk data in one request. Default 100,000: each costs some hundred bytes of memory, and a multi-frame
object has a part for each of its frames."""

_FRAME: Final = re.compile(r"(.*)/frames/([1-9][0-9]{0,8})", re.DOTALL).fullmatch
"""A frame of pixel data, as it is named where it is retrieved (PS3.18 §10.4.1.1.6)."""

_PIXEL_DATA: Final = f"{PIXEL_DATA:08X}"
_NUMBER_OF_FRAMES: Final = "00280008"
_JPEG: Final = "image/jpeg"


class DataSetError(BadRequest):
    """A data set that cannot be stored, with the UIDs that it has."""

    def __init__(self, detail: str, sop_class_uid: str = "", sop_instance_uid: str = "") -> None:
        super().__init__(detail)
        self.sop_class_uid = sop_class_uid
        self.sop_instance_uid = sop_instance_uid


@dataclass(frozen=True, slots=True)
class _BulkPart:
    number: int
    content_type: str | None
    segment: Segment


class Metadata:
    """What one request has brought of it."""

    def __init__(self, access: Access, request_url: str, *, max_metadata_bytes: int, max_bulk_bytes: int) -> None:
        self._request_url = request_url
        self._max_metadata_bytes = max_metadata_bytes
        self._max_bulk_bytes = max_bulk_bytes
        self._documents: list[tuple[PartKind, bytes]] = []
        self._metadata_bytes = 0
        self._spool = access.new_spool()
        self._bulk_parts = 0
        self._by_location: dict[str, list[_BulkPart]] = {}
        self._frames: dict[str, dict[int, _BulkPart]] = {}
        self._unused: set[int] = set()

    async def take(self, part: IncomingPart, kind: PartKind) -> None:
        """Read a part with metadata; raises `TooLarge`, and what its content raises."""
        gathered: list[Piece] = []
        async for pieces in part:
            self._metadata_bytes += sum(map(len, pieces))
            if self._metadata_bytes > self._max_metadata_bytes:
                raise TooLarge(
                    f"The request's metadata is larger than {self._max_metadata_bytes} bytes (store_metadata_bytes)."
                )
            gathered += pieces
        self._documents.append((kind, b"".join(gathered)))

    async def take_bulk_data(self, part: IncomingPart) -> None:
        """Read a part with bulk data; raises `TooLarge`, and what its content raises."""
        self._bulk_parts += 1
        if self._bulk_parts > MAX_BULK_PARTS:
            raise TooLarge(f"The request has more parts with bulk data than MAX_BULK_PARTS ({MAX_BULK_PARTS}).")
        spool = self._spool
        begin = spool.size
        async for pieces in part:
            for piece in pieces:
                spool.add(piece)
            if spool.size > self._max_bulk_bytes:
                raise TooLarge(
                    f"The request's bulk data is larger than {self._max_bulk_bytes} bytes (store_bulk_bytes)."
                )
            await spool.settle()
        bulk = _BulkPart(self._bulk_parts, part.content_type, Segment(begin, spool.size - begin))
        self._unused.add(bulk.number)
        for location in self._locations(part.header.fields):
            self._by_location.setdefault(location, []).append(bulk)
            frame = _FRAME(location)
            if frame is not None:
                self._frames.setdefault(frame[1], {})[int(frame[2])] = bulk

    def _locations(self, fields: Mapping[str, str]) -> Iterator[str]:
        if "content-location" in fields:
            yield self._resolved(fields["content-location"])
        if "content-id" in fields:
            yield f"cid:{fields['content-id'].strip('<>')}"

    def _resolved(self, uri: str) -> str:
        """Return a URI as an absolute one (RFC 3986 §5); what cannot be resolved is compared as it is."""
        try:
            return urljoin(self._request_url, uri)
        except ValueError:
            return uri

    @property
    def unused(self) -> int:
        """Parts with bulk data that no instance so far has referred to."""
        return len(self._unused)

    def data_sets(self) -> Iterator[Any]:
        """Yield the data sets, in the DICOM JSON model as far as it was kept to.

        A document that cannot be read is yielded as a `BadRequest`.
        """
        while self._documents:
            kind, document = self._documents.pop(0)
            try:
                read = from_xml(document) if kind is PartKind.XML_METADATA else orjson.loads(document)
            except orjson.JSONDecodeError as error:
                yield BadRequest(f"The metadata is not JSON: {error}.")
                continue
            except BadRequest as error:
                yield BadRequest(f"The metadata cannot be read: {error.detail}.")
                continue
            del document
            if isinstance(read, list):
                yield from read
            else:
                yield read

    async def instance(self, data_set: Any) -> Instance:
        """Return the instance of a data set, its bulk data in its place; raises `DataSetError`."""
        if not isinstance(data_set, Mapping):
            raise DataSetError("a data set is an object with its tags as names (PS3.18 §F.2)")
        data_set = {tag.upper(): attribute for tag, attribute in data_set.items()}
        uids = {keyword: _uid(data_set, tag) for keyword, tag in _UIDS.items()}
        try:
            for keyword, uid in uids.items():
                if not uid:
                    raise BadRequest(f"{keyword} is missing")
                _check_uid(keyword, uid)
            syntax, encapsulated = await self._transfer_syntax(data_set)
            pieces = written(data_set, self._find, encapsulated=encapsulated)
        except BadRequest as error:
            raise DataSetError(error.detail, uids["SOPClassUID"], uids["SOPInstanceUID"]) from error
        return Instance(
            uids["SOPClassUID"],
            uids["SOPInstanceUID"],
            syntax,
            self._pieces(pieces),
            study_instance_uid=uids["StudyInstanceUID"],
            series_instance_uid=uids["SeriesInstanceUID"],
            leading={**leading_of_model(data_set), **uids},
        )

    def _parts_of(self, uri: str) -> Sequence[_BulkPart]:
        location = self._resolved(uri)
        found = self._by_location.get(location)
        if found is None:
            frames = self._frames.get(location, {})
            if frames and max(frames) != len(frames):
                raise BadRequest(f"of {len(frames)} frames one has number {max(frames)}")
            found = [frames[number] for number in sorted(frames)]
        return found

    def _find(self, uri: str) -> Sequence[Segment]:
        parts = self._parts_of(uri)
        self._unused.difference_update(part.number for part in parts)
        return [part.segment for part in parts]

    async def _transfer_syntax(self, data_set: Mapping[str, Any]) -> tuple[str, bool]:
        """Return the transfer syntax of a data set, and whether its pixel data is to be encapsulated."""
        attribute = data_set.get(_PIXEL_DATA)
        uri = attribute.get("BulkDataURI") if isinstance(attribute, Mapping) else None
        parts = self._parts_of(uri) if isinstance(uri, str) else ()
        if not parts:
            return EXPLICIT_VR_LITTLE_ENDIAN, False
        available = _text(data_set, AVAILABLE_TRANSFER_SYNTAX_UID)
        if not available:
            available = await self._jpeg_process(parts[0])
        (syntax, *others) = {bulk_transfer_syntax(part.content_type, available) for part in parts}
        if others:
            raise BadRequest("frames of one instance are in different transfer syntaxes")
        described = describe(syntax)
        if described.encapsulated and not described.video:
            frames = _text(data_set, _NUMBER_OF_FRAMES).strip() or "1"
            if frames != str(len(parts)):
                raise BadRequest(f"NumberOfFrames is {frames[:16]}, and {len(parts)} frames came")
        return syntax, described.encapsulated

    async def _jpeg_process(self, part: _BulkPart) -> str:
        """Return the transfer syntax that the codestream itself tells, where its media type may not."""
        media = parse_content_type(part.content_type or "")
        if media is None or media.media_type != _JPEG:
            return ""
        length = min(part.segment.length, BEGINNING_LENGTH)
        async with aclosing(self._spool.pieces(part.segment.offset, length)) as pieces:
            beginning = b"".join([bytes(piece) async for some in pieces for piece in some])
        found = jpeg_transfer_syntax(beginning)
        return found if found in TRANSFER_SYNTAXES_OF[_JPEG] else ""

    async def _pieces(self, pieces: Sequence[bytes | Segment]) -> AsyncGenerator[Pieces, None]:
        for piece in pieces:
            if isinstance(piece, bytes):
                yield (piece,)
            else:
                async with aclosing(self._spool.pieces(*piece)) as value:
                    async for some in value:
                        yield some

    def close(self) -> None:
        """Give everything up."""
        self._documents = []
        self._spool.close()


_UIDS: Final = {
    "SOPClassUID": "00080016",
    "SOPInstanceUID": "00080018",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
}


def _check_uid(keyword: str, uid: str) -> None:
    """Raise `BadRequest` for what is no UID, without showing it: what stands there may be a patient's name."""
    try:
        encode_uid(uid)
    except BadRequest:
        raise BadRequest(f"{keyword} is not a UID: it takes 1 to 64 characters of visible ASCII") from None


def _uid(data_set: Mapping[str, Any], tag: str) -> str:
    return _text(data_set, tag).strip("\0 ")


def _text(data_set: Mapping[str, Any], tag: str) -> str:
    """Return the first value of an attribute as text; "" when there is none."""
    attribute = data_set.get(tag)
    values = attribute.get("Value") if isinstance(attribute, Mapping) else None
    if not isinstance(values, list) or not values or isinstance(values[0], bool):
        return ""
    return str(values[0]) if isinstance(values[0], str | int) else ""
