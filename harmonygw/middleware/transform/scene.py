"""What a specification sees beside the data: the request, what is asked of the backend, the reply; and what of it a
specification may change."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.middleware.redaction import CREDENTIAL_HEADERS
from harmonygw.net.http.fields import without
from harmonygw.operations import Echo, Find, Operation, Retrieve, Store

OPERATIONS: Mapping[type[Operation], str] = {Echo: "C-ECHO", Find: "C-FIND", Retrieve: "C-GET", Store: "C-STORE"}
"""What an operation is called; any other by the name of its type."""


def details_of(request: Request) -> dict[str, Any]:
    """Return what a request is: method, path and query, metadata, and header fields but for those with credentials.

    A `*` of a specification moves all that there is, to the backend or to the client.
    """
    origin = request.origin
    http = origin if isinstance(origin, HTTPOrigin) else HTTPOrigin(method="", path=())
    details: dict[str, Any] = {
        "method": http.method,
        "uri": uri_of(http),
        "query_params": parameters_of(http.query),
        "headers": {name: value for name, value in http.headers.items() if name not in CREDENTIAL_HEADERS},
        "metadata": metadata_of(request),
    }
    if isinstance(origin, AssociationOrigin):
        details["calling_ae_title"] = origin.calling_ae_title
        details["called_ae_title"] = origin.called_ae_title
    if request.operation is not None:
        details["operation"] = OPERATIONS.get(type(request.operation), type(request.operation).__name__)
        level = getattr(request.operation, "level", None)
        if level is not None:
            details["level"] = str(level)
    return details


def context_of(request: Request, reply: Reply | None = None) -> dict[str, Any]:
    """Return the `context` of a specification."""
    details = details_of(request)
    context: dict[str, Any] = {"request_details": details, "target_details": details}
    if reply is not None:
        context["response_details"] = reply_details_of(reply)
    return context


def reply_details_of(reply: Reply) -> dict[str, Any]:
    """Return what a reply is: status, and header fields but for those with credentials."""
    headers: dict[str, str] = {}
    for name, value in without(reply.headers, CREDENTIAL_HEADERS):
        headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
    return {"status": reply.status, "headers": headers, "metadata": {}}


def uri_of(origin: HTTPOrigin) -> str:
    """Return path, after the endpoint's prefix, and query."""
    path = "/" + "/".join(quote(segment, safe="") for segment in origin.path)
    return f"{path}?{urlencode(origin.query)}" if origin.query else path


def parameters_of(query: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values of each parameter of a query."""
    parameters: dict[str, list[str]] = {}
    for name, value in query:
        parameters.setdefault(name, []).append(value)
    return parameters


def metadata_of(request: Request) -> dict[str, str]:
    """Return the metadata of a request: what of its attributes is text."""
    return {name: value for name, value in request.attributes.items() if isinstance(value, str)}


def with_metadata(request: Request, *several: Any) -> Request:
    """Return a request with the metadata that a specification has made: what of it is text.

    Where values met at one place, they are an array: each object in it counts, the later more. What is an attribute and
    no text stays.
    """
    made: dict[str, str] = {}
    for one in several:
        for part in one if isinstance(one, list) else [one]:
            if isinstance(part, dict):
                made.update({name: value for name, value in part.items() if isinstance(value, str)})
    attributes = {
        name: value
        for name, value in made.items()
        if isinstance(request.attributes.get(name, ""), str) and request.attributes.get(name) != value
    }
    return replace(request, attributes={**request.attributes, **attributes}) if attributes else request
