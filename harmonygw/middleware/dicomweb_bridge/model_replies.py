"""Data sets in the DICOM JSON model as replies, in the representation that was negotiated (PS3.18 §8.7.3.2)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from harmonygw.dicom.dataset.xml_encoding import to_xml
from harmonygw.dicom.web import multipart
from harmonygw.dicom.web.media_types import DICOM_XML, Offer
from harmonygw.exchange import Reply
from harmonygw.middleware.dicomweb_bridge.warning import warning
from harmonygw.streams import Body


def page_reply(offer: Offer, matches: Sequence[bytes], warnings: Iterable[str]) -> Reply:
    """Return encoded matches as a JSON array, or as XML documents; without any, that is 204 (PS3.18 §10.6.3)."""
    headers = tuple(("Warning", warning(sentence)) for sentence in warnings)
    if not offer.multipart:
        return Reply(
            headers=(("Content-Type", offer.media_type), *headers),
            body=Body.of(b"[" + b",".join(matches) + b"]"),
        )
    if not matches:
        return Reply(204, headers)
    content_type, body = _documents(offer, [to_xml(orjson.loads(match)) for match in matches])
    return Reply(headers=(("Content-Type", content_type), *headers), body=body)


def data_set_reply(offer: Offer, data_set: Mapping[str, Any]) -> Reply:
    """Return one data set."""
    if offer.multipart:
        content_type, body = _documents(offer, [to_xml(data_set)])
    else:
        content_type = offer.media_type
        body = Body.of(to_xml(data_set) if content_type == DICOM_XML else orjson.dumps(data_set))
    return Reply(headers=(("Content-Type", content_type),), body=body)


def _documents(offer: Offer, documents: Sequence[bytes]) -> tuple[str, Body]:
    boundary = multipart.boundary()
    parts = [
        piece
        for index, document in enumerate(documents)
        for piece in (multipart.part_header(boundary, "", "", not index, media_type=offer.media_type), document)
    ]
    return multipart.content_type(boundary, offer.media_type), Body.of(*parts, multipart.closing(boundary))
