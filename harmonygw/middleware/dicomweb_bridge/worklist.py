"""The search for Modality Scheduled Procedure Steps (PS3.18 §14.4), by C-FIND in the archive's modality worklist."""

from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson

from harmonygw.dicom.web.attributes import QUERY_RETRIEVE_LEVEL
from harmonygw.dicom.web.media_types import negotiate_models
from harmonygw.dicom.web.query import parse_search
from harmonygw.dicom.web.resources import Resource
from harmonygw.dicom.web.worklist import identifier_keys
from harmonygw.errors import TooLarge
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.model_replies import page_reply
from harmonygw.middleware.dicomweb_bridge.searching import EXCEEDED, MAX_REACH, Page, ignored_keys
from harmonygw.operations import FindWorklist, Matches
from harmonygw.pipeline import Proceed

LITERAL_MATCHING = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
"""PS3.18 §8.3.4.2."""


async def search_worklist(
    request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed, options: Any
) -> Reply:
    """Answer with one page of matches, in the worklist's order.

    C-FIND has no offset: each page is read from the first match. Raises `BadRequest` for what `parse_search` refuses,
    `NotAcceptable`, and `TooLarge` for a page beyond `MAX_REACH`; and what the query raises.
    """
    query = parse_search(resource, origin.query, unknown_keys=options.unknown_keys)
    offer = negotiate_models(origin.headers.get("accept"), query.accept)
    page = Page.of(query, options)
    if not page.size:
        return page_reply(offer, (), ())
    if page.offset + page.size > MAX_REACH:
        raise TooLarge(f"The page ends beyond the first {MAX_REACH} matches (MAX_REACH). Restrict the search instead.")
    find = FindWorklist(identifier_keys(query.keys, query.return_keys), limit=page.needed)
    reply = await proceed(replace(request, operation=find))
    matches: Matches = reply.result
    found: list[bytes] = []
    seen = 0
    async with aclosing(matches):
        async for match in matches:
            seen += 1
            if page.offset < seen <= page.offset + page.size:
                match.pop(QUERY_RETRIEVE_LEVEL, None)
                found.append(orjson.dumps(dict(sorted(match.items()))))
            if seen == page.needed:
                break
    warnings = [*ignored_keys(query.ignored), *matches.warnings]
    if query.fuzzymatching:
        warnings.append(LITERAL_MATCHING)
    if page.capped and seen > page.offset + page.size:
        warnings.append(EXCEEDED)
    return page_reply(offer, found, warnings)
