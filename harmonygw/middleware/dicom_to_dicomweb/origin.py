"""The DICOMweb server behind the backend: one HTTP request and its reply, as the translations need them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from twisted.internet.defer import CancelledError

from harmonygw.dicom.web.json_reading import ArrayReader, read_object
from harmonygw.dicom.web.media_types import DICOM_JSON, JSON, MediaRange, parse_content_type
from harmonygw.errors import BadRequest, HarmonyError, PeerError, TooLarge
from harmonygw.exchange import HTTPOrigin, Record, Reply, Request
from harmonygw.middleware.dicom_to_dicomweb.statuses import error_of
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body

MAX_EXPLANATION_LENGTH: Final = 8192
"""Bytes of an error's body that are read for what it says. Default 8 KiB: a problem document has some hundred."""

LONGEST_EXPLANATION: Final = 200
"""Characters of what a server says of an error that go into the log."""

MAX_DOCUMENT_LENGTH: Final = 1 << 20
"""Bytes of a JSON document that is read whole: the response to a Store of one instance has one kilobyte."""

JSON_MEDIA: Final = (DICOM_JSON, JSON)
ACCEPT_JSON: Final = DICOM_JSON
"""Alone: some servers read no list of media ranges."""

_EXPLANATIONS: Final = ("detail", "Details", "title", "Message", "message", "error")
"""Where problem documents (RFC 9457), and those of servers that have their own, say what is wrong."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The server, as one exchange asks it."""

    request: Request
    proceed: Proceed

    async def ask(
        self,
        path: tuple[str, ...],
        *,
        accept: str,
        method: str = "GET",
        query: tuple[tuple[str, str], ...] = (),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Reply:
        """Send a request, and return the reply whatever its status; raises what the backend raises."""
        # Codings would have to be undone here; what is large is compressed pixels anyway.
        fields = {"accept": accept, "accept-encoding": "identity", **(headers or {})}
        origin = HTTPOrigin(method, path, query, fields, body=body)
        return await self.proceed(replace(self.request, operation=None, origin=origin))

    def aside(self) -> "Origin":
        """Return the same server, for what is asked beside the operation and does not count in the log."""
        return Origin(replace(self.request, record=Record(operation=self.request.record.operation)), self.proceed)

    def note(self, sentence: str) -> None:
        """Tell the operator."""
        self.request.record.note(sentence)


def header(reply: Reply, name: str) -> str:
    """Return a header field of a reply by its lower-case name; of a repeated one all values, with commas."""
    return ", ".join(value for one, value in reply.headers if one.lower() == name)


def content_type(reply: Reply) -> MediaRange | None:
    """Return the media type of a reply's body, None when there is none, it makes no sense, or the body is encoded."""
    if header(reply, "content-encoding").lower() not in ("", "identity"):
        return None
    return parse_content_type(header(reply, "content-type"))


async def discard(reply: Reply) -> None:
    """Give a reply's body up."""
    if reply.body is not None:
        await reply.body.aclose()


async def refusal(reply: Reply) -> HarmonyError:
    """Return the error that a reply is, with what its body says for the operator; the body is given up."""
    explanation = header(reply, "location") if 300 <= reply.status < 400 else await _explanation(reply)
    return error_of(reply.status, retry_after=header(reply, "retry-after"), log_detail=explanation)


async def elements(reply: Reply) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the objects of a JSON array as they arrive; raises `PeerError` when it is none, or is cut short."""
    reader = ArrayReader()
    async with aclosing(await _readable(reply)) as body:
        try:
            async for pieces in body:
                for piece in pieces:
                    for element in reader.feed(piece):
                        yield element
            reader.finish()
        except BadRequest as error:
            raise PeerError(f"the DICOMweb server's answer cannot be read: {error.detail}") from error


async def document(reply: Reply) -> dict[str, Any]:
    """Return the JSON object that a reply is; raises `PeerError` when it is none, or too long."""
    async with aclosing(await _readable(reply)) as body:
        try:
            return read_object(await gathered(body, MAX_DOCUMENT_LENGTH))
        except BadRequest as error:
            raise PeerError(f"the DICOMweb server's answer cannot be read: {error.detail}") from error


async def _readable(reply: Reply) -> Body:
    """Return the body of a reply in JSON; raises `PeerError` for another: a page that says so to people, mostly."""
    media_type = content_type(reply)
    if media_type is not None and media_type.media_type in JSON_MEDIA:
        return reply.body if reply.body is not None else Body.of()
    await discard(reply)
    named = "something" if media_type is None else media_type.media_type[:LONGEST_EXPLANATION]
    raise PeerError(f"the DICOMweb server answers with {named} instead of JSON")


async def gathered(body: Body, limit: int) -> bytes:
    """Return all of a body; raises `TooLarge` when it is longer than `limit` bytes."""
    whole = bytearray()
    async for pieces in body:
        for piece in pieces:
            whole += piece
        if len(whole) > limit:
            raise TooLarge(f"it has more than {limit} bytes")
    return bytes(whole)


async def _explanation(reply: Reply) -> str:
    """Return what a server says of an error, as far as it says so in JSON."""
    if reply.body is None:
        return ""
    async with aclosing(reply.body) as body:
        try:
            said = read_object(await gathered(body, MAX_EXPLANATION_LENGTH))
        except CancelledError:
            raise
        except HarmonyError:
            return ""
    for name in _EXPLANATIONS:
        explanation = said.get(name)
        if isinstance(explanation, str) and explanation:
            printable = "".join(one if one.isprintable() else " " for one in explanation)
            return printable[:LONGEST_EXPLANATION]
    return ""
