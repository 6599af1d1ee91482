"""Problem documents: the JSON that explains an error (RFC 9457)."""

from http import HTTPStatus
from typing import Any, Final

import orjson

CONTENT_TYPE: Final = "application/problem+json"


def problem(status: int, detail: str, correlation_id: str, **extensions: Any) -> bytes:
    """Return a problem document as UTF-8 JSON.

    `detail` says what happened and what would be right, `correlation_id` is in the log as well. The type is
    `about:blank`, for which RFC 9457 §4.2.1 makes the title the status's phrase. `extensions` are further
    members, of what JSON can hold; `type` and `title` may be among them. What is not Unicode in `detail`
    becomes `?`.
    """
    return orjson.dumps(
        {
            "type": "about:blank",
            "title": _title(status),
            "status": status,
            "detail": detail.encode("utf-8", "replace").decode(),
            "correlation_id": correlation_id,
            **extensions,
        }
    )


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
