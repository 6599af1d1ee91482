"""A DICOMweb server behind the gateway: its answers name URLs of its own, and clients are to come back to us."""

from dataclasses import replace
from typing import Final

from harmonygw.backends.http import HTTPBackend
from harmonygw.backends.http.forwarding import relocated
from harmonygw.dicom.web.relocation import Relocation, relocation
from harmonygw.exchange import HTTPOrigin, Reply
from harmonygw.net.http.fields import Fields, value_of, without
from harmonygw.streams import Body, Pieces

DIGESTS: Final = ("content-digest", "content-md5", "digest", "repr-digest")
"""Header fields that hold for the bytes as the server sent them, and for no others."""

PARTIAL: Final = 206
"""The status whose body is a range of bytes: those of the server's own representation, which stay as they are."""


class DICOMwebBackend(HTTPBackend):
    """A DICOMweb server: passed on as every other, with its own URLs replaced by ours."""

    def asking(self, origin: HTTPOrigin) -> HTTPOrigin:
        """Ask for answers in which URLs can be found: without a coding, which the endpoint may give them anew, and with
        the server's own URLs, which it is not told ours for. Not all of them read Forwarded as it is written."""
        if not origin.base_url:
            return origin
        return replace(origin, base_url="", headers={**origin.headers, "accept-encoding": "identity"})

    def answered(self, reply: Reply, origin: HTTPOrigin) -> Reply:
        """Replace the URLs in the body, where it is of a kind that has some."""
        ours = origin.base_url
        coding = value_of(reply.headers, "content-encoding").lower()
        if not ours or reply.status == PARTIAL or coding not in ("", "identity"):
            return reply
        theirs = self.urls(origin)
        if ours == theirs[0]:
            return reply
        found = relocation(
            value_of(reply.headers, "content-type"), theirs, ours, lambda url: relocated(url, theirs, ours)
        )
        if found is None:
            return reply
        fields = without(reply.headers, ("content-length", *DIGESTS))
        body = None if reply.body is None else RelocatedBody(reply.body, found)
        return replace(reply, headers=_weakened(fields), body=body)


class RelocatedBody(Body):
    """A body with other URLs; given up, it gives the server's up."""

    def __init__(self, plain: Body, relocation: Relocation) -> None:
        super().__init__(_Relocating(plain, relocation))
        self._plain = plain

    async def abort(self, reason: BaseException) -> None:
        """Give both bodies up."""
        await super().abort(reason)
        await self._plain.abort(reason)


class _Relocating:
    """The pieces of a body, with other URLs."""

    def __init__(self, plain: Body, relocation: Relocation) -> None:
        self._plain = plain
        self._relocation = relocation
        self._ended = False

    def __aiter__(self) -> "_Relocating":
        return self

    async def __anext__(self) -> Pieces:
        while not self._ended:
            try:
                pieces = await self._plain.__anext__()
            except StopAsyncIteration:
                self._ended = True
                changed = self._relocation.finish()
            else:
                changed = [part for piece in pieces for part in self._relocation.feed(piece)]
            if changed:
                return changed
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Read no more."""
        self._ended = True
        await self._plain.aclose()


def _weakened(fields: Fields) -> Fields:
    """Make entity tags weak: two clients who reach us by different URLs get different bytes (RFC 9110 §8.8.1)."""
    return tuple(
        (name, f"W/{value}") if name.lower() == "etag" and value and not value.startswith("W/") else (name, value)
        for name, value in fields
    )
