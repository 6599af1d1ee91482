"""The capabilities description: what this build serves, for machines (PS3.18 §8.9, Annex H).

It is made of `resources.TRANSACTIONS` and `resources.SERVED`, and of `_ANSWERS`, which says for each kind
what it answers with. What is not in `SERVED` is not described.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple
from xml.etree import ElementTree

import orjson

from harmonygw.dicom.web.media_types import (
    CAPABILITIES_OFFERS,
    MODEL_OFFERS,
    ONE_MODEL_OFFERS,
    RETRIEVE_INSTANCE_OFFERS,
    RETRIEVE_OFFERS,
    STORE_OFFERS,
    Offer,
)
from harmonygw.dicom.web.pixel_media_types import BULK_DATA_OFFERS, FRAME_OFFERS, PIXEL_DATA_OFFERS
from harmonygw.dicom.web.rendered_media_types import RENDERED_OFFERS, THUMBNAIL_OFFERS, URI_OFFERS
from harmonygw.dicom.web.resources import SERVED, TRANSACTIONS, URI_TRANSACTION, Kind, Transaction
from harmonygw.dicom.web.store_media_types import TAKEN as STORED_MEDIA_TYPES

_WADL_NAMESPACE: Final = "http://wadl.dev.java.net/2009/02"

_ACCEPT = (("accept", "xs:string"),)
_SEARCH_PARAMETERS = (
    ("{attribute}", "xs:string"),
    ("includefield", "xs:string"),
    ("limit", "xs:nonNegativeInteger"),
    ("offset", "xs:nonNegativeInteger"),
    ("fuzzymatching", "xs:boolean"),
    ("emptyvaluematching", "xs:boolean"),
    ("multiplevaluematching", "xs:boolean"),
    *_ACCEPT,
)
_VIEWPORT = (("viewport", "xs:string"),)
_RENDERING_PARAMETERS = (
    *_VIEWPORT,
    ("window", "xs:string"),
    ("quality", "xs:positiveInteger"),
    ("annotation", "xs:string"),
    ("iccprofile", "xs:string"),
    *_ACCEPT,
)
_URI_PARAMETERS = (
    ("requestType", "xs:string"),
    ("studyUID", "xs:string"),
    ("seriesUID", "xs:string"),
    ("objectUID", "xs:string"),
    ("contentType", "xs:string"),
    ("transferSyntax", "xs:string"),
    ("frameNumber", "xs:positiveInteger"),
    ("rows", "xs:positiveInteger"),
    ("columns", "xs:positiveInteger"),
    ("region", "xs:string"),
    ("windowCenter", "xs:decimal"),
    ("windowWidth", "xs:decimal"),
    ("imageQuality", "xs:positiveInteger"),
    ("annotation", "xs:string"),
)


class _Answer(NamedTuple):
    section: str
    parameters: tuple[tuple[str, str], ...]
    offers: tuple[Offer, ...]
    """Of a resource that one part can answer."""
    taken: tuple[str, ...] = ()
    """The media types of what the request brings."""


_ANSWERS: Final = {
    Kind.CAPABILITIES: _Answer("8.9", (), CAPABILITIES_OFFERS),
    Kind.WADO_URI: _Answer("9", _URI_PARAMETERS, URI_OFFERS),
    Kind.SEARCH_STUDIES: _Answer("10.6", _SEARCH_PARAMETERS, MODEL_OFFERS),
    Kind.SEARCH_SERIES: _Answer("10.6", _SEARCH_PARAMETERS, MODEL_OFFERS),
    Kind.SEARCH_INSTANCES: _Answer("10.6", _SEARCH_PARAMETERS, MODEL_OFFERS),
    Kind.RETRIEVE: _Answer("10.4", _ACCEPT, RETRIEVE_INSTANCE_OFFERS),
    Kind.METADATA: _Answer("10.4", _ACCEPT, ONE_MODEL_OFFERS),
    Kind.BULKDATA: _Answer("10.4", _ACCEPT, BULK_DATA_OFFERS),
    Kind.PIXELDATA: _Answer("10.4", _ACCEPT, PIXEL_DATA_OFFERS),
    Kind.FRAMES: _Answer("10.4", _ACCEPT, FRAME_OFFERS),
    Kind.RENDERED: _Answer("10.4", _RENDERING_PARAMETERS, RENDERED_OFFERS),
    Kind.THUMBNAIL: _Answer("10.4", _VIEWPORT, THUMBNAIL_OFFERS),
    Kind.STORE: _Answer("10.5", _ACCEPT, STORE_OFFERS, STORED_MEDIA_TYPES),
}

_OF_SEVERAL_PARTS: Final = {
    Kind.RETRIEVE: RETRIEVE_OFFERS,
    Kind.METADATA: MODEL_OFFERS,
    **{
        kind: tuple(offer for offer in _ANSWERS[kind].offers if offer.multipart)
        for kind in (Kind.BULKDATA, Kind.PIXELDATA, Kind.RENDERED)
    },
}
"""What the same kinds answer with when the resource is a study, a series, or all bulk data of an instance."""


def as_json(base_url: str) -> bytes:
    """Return the description as JSON, in a layout of our own: one object for each method of a path."""
    return orjson.dumps(
        {
            "base": base_url,
            "transactions": [
                {
                    "name": transaction.kind.value,
                    "reference": f"PS3.18 §{answer.section}",
                    "method": transaction.method,
                    "path": f"/{transaction.path}",
                    "query": [name for name, _ in answer.parameters],
                    "mediaTypes": [str(offer) for offer in answer.offers],
                    **({"requestMediaTypes": answer.taken} if answer.taken else {}),
                }
                for transaction, answer in _served()
            ],
        }
    )


def as_wadl(base_url: str) -> bytes:
    """Return the description as a WADL document, PS3.18 Annex H.

    As there, the transaction that answers with it is left out. The URI service has the resource without a path.
    """
    application = ElementTree.Element("application", {"xmlns": _WADL_NAMESPACE})
    application.set("xmlns:xs", "http://www.w3.org/2001/XMLSchema")
    root = ElementTree.SubElement(application, "resources", {"base": base_url})
    elements = {"": root}
    for transaction, answer in _served():
        if transaction.kind is Kind.WADO_URI:
            _add_method(ElementTree.SubElement(root, "resource", {"path": ""}), transaction, answer)
        elif transaction.kind is not Kind.CAPABILITIES:
            _add_method(_resource(elements, transaction.path), transaction, answer)
    ElementTree.indent(application)
    document: bytes = ElementTree.tostring(application, encoding="utf-8", xml_declaration=True)
    return document


def _served() -> Iterator[tuple[Transaction, _Answer]]:
    for transaction in [one for one in (*TRANSACTIONS, URI_TRANSACTION) if one.kind in SERVED]:
        answer = _ANSWERS[transaction.kind]
        one_part = "{instance}" in transaction.path and not transaction.path.endswith("/bulkdata")
        if not one_part and transaction.kind in _OF_SEVERAL_PARTS:
            answer = answer._replace(offers=_OF_SEVERAL_PARTS[transaction.kind])
        yield transaction, answer


def _resource(elements: dict[str, ElementTree.Element], path: str) -> ElementTree.Element:
    """Return the element of a path, made with those above it on first use."""
    if path not in elements:
        above, _, segment = path.rpartition("/")
        element = ElementTree.SubElement(_resource(elements, above), "resource", {"path": segment})
        if segment.startswith("{"):
            ElementTree.SubElement(
                element,
                "param",
                {"name": segment[1:-1], "style": "template", "type": "xs:string", "required": "true"},
            )
        elements[path] = element
    return elements[path]


def _add_method(resource: ElementTree.Element, transaction: Transaction, answer: _Answer) -> None:
    method = ElementTree.SubElement(resource, "method", {"name": transaction.method, "id": _identifier(transaction)})
    request = ElementTree.SubElement(method, "request")
    accept = {"name": "Accept", "style": "header", "type": "xs:string", "default": str(answer.offers[0])}
    options = ElementTree.SubElement(request, "param", accept)
    for media_type in answer.taken:
        ElementTree.SubElement(request, "representation", {"mediaType": media_type})
    response = ElementTree.SubElement(method, "response", {"status": "200"})
    for offer in answer.offers:
        ElementTree.SubElement(options, "option", {"value": str(offer)})
        ElementTree.SubElement(response, "representation", {"mediaType": str(offer)})
    for name, xs_type in answer.parameters:
        ElementTree.SubElement(request, "param", {"name": name, "style": "query", "type": xs_type})


def _identifier(transaction: Transaction) -> str:
    """Return an XML name that is unique in the document: the kind and the path's words."""
    words = (word.strip("{}").capitalize() for word in transaction.path.split("/"))
    return transaction.kind.value.replace(" ", "").replace("for", "For") + "_" + "".join(words)
