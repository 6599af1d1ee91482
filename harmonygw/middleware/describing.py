"""What an exchange is, as a document that may be shown: redacted, and no larger than it may be."""

import re
from typing import Any, Final

import orjson

from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Reply, Request
from harmonygw.middleware.json_bodies import is_json
from harmonygw.middleware.redaction import Redaction
from harmonygw.middleware.tapping import Sample
from harmonygw.net.http.fields import value_of
from harmonygw.operations import Find, Retrieve, StoreResult
from harmonygw.streams import Instance

MAX_ITEMS: Final = 1000
"""Instances and results of a store that are told of one by one. Default 1000: a long series."""

_TEXT: Final = re.compile(r"\s*(?:text/|application/(?:[^\s;/]+\+)?xml)", re.IGNORECASE)
_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_CLOSING: Final = {b"[": b"]", b"{": b"}"}


def described_request(request: Request, redaction: Redaction) -> dict[str, Any]:
    """Return a request without its body."""
    origin = request.origin
    described: dict[str, Any]
    if isinstance(origin, HTTPOrigin):
        query = redaction.query(origin.query)
        path = "/" + "/".join(origin.path)
        described = {
            "method": origin.method,
            "uri": path + ("?" + "&".join(f"{name}={value}" for name, value in query) if query else ""),
            "headers": redaction.headers(origin.headers.items()),
            "query_params": _parameters(query),
        }
    else:
        described = {"calling_ae_title": origin.calling_ae_title, "called_ae_title": origin.called_ae_title}
    described["metadata"] = redaction.metadata(request.attributes)
    if request.operation is not None:
        described["operation"] = _operation(request.operation, redaction)
    return described


def described_reply(request: Request, reply: Reply, redaction: Redaction) -> dict[str, Any]:
    """Return a reply without its body; one to an association has no status of HTTP."""
    if isinstance(request.origin, AssociationOrigin):
        return {}
    return {"status": reply.status, "headers": redaction.headers(reply.headers)}


def content_type_of(part: Request | Reply) -> tuple[str, str]:
    """Return the media type of a body, and its coding."""
    if isinstance(part, Reply):
        return value_of(part.headers, "content-type"), value_of(part.headers, "content-encoding")
    headers = part.origin.headers if isinstance(part.origin, HTTPOrigin) else {}
    return headers.get("content-type", ""), headers.get("content-encoding", "")


def described_content(sample: Sample, content_type: str, coding: str, redaction: Redaction) -> dict[str, Any]:
    """Return a body: its media type and size; JSON with what may be shown of it; other text only with patients' data.

    Of JSON that is longer than the sample there is what was whole until then.
    """
    described: dict[str, Any] = {"content_type": content_type}
    if sample.size is not None:
        described["size"] = sample.size
    if not sample.complete:
        described["truncated"] = True
    if not sample.data or coding:
        return described
    if is_json(content_type):
        try:
            document = orjson.loads(sample.data if sample.complete else completed(sample.data))
        except orjson.JSONDecodeError:
            described["malformed"] = True
        else:
            described["body"] = redaction.data(document)
    elif redaction.shows_patients and _TEXT.match(content_type):
        described["body"] = sample.data.decode("utf-8", "replace")
    return described


def completed(data: bytes) -> bytes:
    """Return the beginning of a JSON document as a document: cut at its last comma, and closed."""
    open_ones: list[bytes] = []
    end, closing = 0, b""
    for token in _TOKENS.finditer(data):
        text = token[0]
        if text in _CLOSING:
            open_ones.append(_CLOSING[text])
        elif text in (b"]", b"}"):
            if open_ones:
                open_ones.pop()
        elif text == b",":
            end, closing = token.start(), b"".join(reversed(open_ones))
    return data[:end] + closing


def described_match(match: dict[str, Any], redaction: Redaction) -> dict[str, Any]:
    """Return a match of a query."""
    described: dict[str, Any] = redaction.data(match)
    return described


def described_instance(instance: Instance) -> dict[str, Any]:
    """Return which instance passes."""
    return {
        "sop_class_uid": instance.sop_class_uid,
        "sop_instance_uid": instance.sop_instance_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
    }


def described_result(result: StoreResult) -> dict[str, Any]:
    """Return what became of an instance that was to be stored."""
    return {"sop_instance_uid": result.sop_instance_uid, "status": f"{result.status:04X}H", "detail": result.detail}


def is_query(operation: Any) -> bool:
    """Whether an operation has an identifier, in one piece or in two, and its result is matches."""
    return isinstance(operation, Find) or hasattr(operation, "identifier")


def identifier_of(operation: Any) -> dict[str, Any]:
    """Return the identifier of a query: its keys, and without values what it wants to have returned."""
    if isinstance(operation, Find):
        return dict(sorted({**operation.return_keys, **operation.keys}.items()))
    return dict(operation.identifier)


def _operation(operation: Any, redaction: Redaction) -> dict[str, Any]:
    described: dict[str, Any] = {"type": type(operation).__name__}
    if hasattr(operation, "level"):
        described["level"] = str(operation.level)
    if is_query(operation):
        described["identifier"] = redaction.data(identifier_of(operation))
    elif isinstance(operation, Retrieve):
        described["study_instance_uid"] = operation.study_instance_uid
        described["series_instance_uid"] = operation.series_instance_uid
        described["sop_instance_uids"] = list(operation.sop_instance_uids[:MAX_ITEMS])
    return described


def _parameters(query: list[list[str]]) -> dict[str, list[str]]:
    parameters: dict[str, list[str]] = {}
    for name, value in query:
        parameters.setdefault(name, []).append(value)
    return parameters
