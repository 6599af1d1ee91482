"""What is said of an operation that has gone well: JSON, its `success` last where it is not known before."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import orjson

from harmonygw.exchange import Reply
from harmonygw.middleware.dicomweb_bridge.relaying import Relay
from harmonygw.middleware.dimse_over_http.asking import MAX_MATCHES, Asked
from harmonygw.operations import Matches
from harmonygw.streams import Body, Instance, Pieces

HEADERS: Final = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))

GATHERED_BYTES: Final = 64 * 1024
"""Bytes of matches that are sent together. Until so many have come, a failure is still told by its status."""

CUT: Final = (
    f"The answer has no more than {MAX_MATCHES} matches; there are more. Narrow the query, or ask by a DICOMweb Search."
)


def whole(document: dict[str, Any]) -> Reply:
    """Return a document that is there whole."""
    return Reply(headers=HEADERS, body=Body.of(orjson.dumps(document)))


def found(matches: Matches, asked: Asked) -> Reply:
    """Return the matches as they come; when they break off, the document has no end."""
    return Reply(headers=HEADERS, body=Body(Relay(matches, _found(matches, asked))))


async def _found(matches: Matches, asked: Asked) -> AsyncGenerator[Pieces, None]:
    gathered: list[bytes] = [b'{"operation":"C-FIND","matches":[']
    size = count = 0
    warnings: list[str] = []
    limit = asked.limit if asked.limit is not None and asked.limit <= MAX_MATCHES else None
    async with aclosing(matches):
        async for match in matches:
            if count == MAX_MATCHES:
                warnings.append(CUT)
                break
            encoded = orjson.dumps(match)
            gathered += (b",", encoded) if count else (encoded,)
            count += 1
            size += len(encoded)
            if count == limit:
                break
            if size >= GATHERED_BYTES:
                yield gathered
                gathered, size = [], 0
    warnings += matches.warnings
    end: dict[str, Any] = {"count": count, "success": True}
    if warnings:
        end["warnings"] = warnings
    gathered.append(b"]," + orjson.dumps(end)[1:])
    yield gathered


def described(instance: Instance, file: str) -> dict[str, str]:
    """Return what is said of an instance that lies in a file."""
    return {
        "sop_class_uid": instance.sop_class_uid,
        "sop_instance_uid": instance.sop_instance_uid,
        "transfer_syntax_uid": instance.transfer_syntax_uid,
        "file": file,
    }
