"""What one HTTP request asks of the archive: one query at a time, each closed before the next."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from harmonygw.exchange import SOURCE, Request
from harmonygw.middleware.dicomweb_bridge.checking import below, is_of_the_same
from harmonygw.operations import ContestedMatch, Find, Matches
from harmonygw.pipeline import Proceed
from harmonygw.streams import Match


class Inquiry:
    """The queries of one request, and what they leave to be said.

    The C-FIND of a generator ends, cancelled when it has to be, before the generator is closed. Whoever closes one
    before he begins another never waits for a place at the archive while he holds one.
    """

    def __init__(self, request: Request, proceed: Proceed) -> None:
        self._request = request
        self._proceed = proceed
        self.warnings: dict[str, None] = {}
        """What the client should be told, in order, each once."""

    async def matches(self, find: Find, parent: Match | None = None) -> AsyncGenerator[Match, None]:
        """Yield the matches of a query in the archive's order; raises what a Find raises.

        What is below a contested `parent` is asked of its source alone, and is as contested; what turns out to be so
        must be of the same patient as the parent.
        """
        request = replace(self._request, operation=find)
        if isinstance(parent, ContestedMatch):
            request = replace(request, attributes={**request.attributes, SOURCE: parent.source})
        reply = await self._proceed(request)
        matches: Matches = reply.result
        try:
            async with aclosing(matches):
                async for match in matches:
                    if parent is None:
                        yield match
                    elif isinstance(parent, ContestedMatch):
                        yield below(match, parent)
                    elif is_of_the_same(match, parent):
                        yield match
        finally:
            self.warnings.update(dict.fromkeys(matches.warnings))

    def warn(self, sentence: str) -> None:
        """Tell the client."""
        self.warnings[sentence] = None

    def note(self, sentence: str) -> None:
        """Tell the operator."""
        self._request.record.note(sentence)
