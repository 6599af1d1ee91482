"""Storage commitment (PS3.18 §13): a request for the safekeeping of instances, and the check of its result."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from harmonygw.dicom.web.commitment import read_request, write_response
from harmonygw.dicom.web.media_types import DICOM_JSON, JSON, accept_parameters, negotiate_models
from harmonygw.dicom.web.resources import Kind, Resource
from harmonygw.errors import BadRequest, TooLarge
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.dicomweb_bridge.model_replies import data_set_reply
from harmonygw.operations import CheckCommitment, Commitment, RequestCommitment
from harmonygw.pipeline import Proceed
from harmonygw.streams import Body, Piece

MAX_PAYLOAD_BYTES: Final = 16_777_216
"""Bytes of a request's payload: 50,000 instances, the most that one may name, take some 12 million."""

RETRY_AFTER_SECS: Final = 30
"""Seconds after which a client is told to check for the result: archives take from seconds to a night."""


async def commit(request: Request, origin: HTTPOrigin, resource: Resource, proceed: Proceed) -> Reply:
    """Answer a request, or a check, with what the archive has said: 200, or 202 while it has not.

    Raises `BadRequest` and `TooLarge` for a payload that cannot be understood, and what the operation raises:
    `Conflict` for a Transaction UID that is in use, `NotFound` for one that is not known.
    """
    offer = negotiate_models(origin.headers.get("accept"), accept_parameters(origin.query), one_instance=True)
    operation: RequestCommitment | CheckCommitment = CheckCommitment(resource.transaction)
    if resource.kind is Kind.REQUEST_COMMITMENT:
        operation = RequestCommitment(resource.transaction, read_request(await _payload(origin)))
    reply = await proceed(replace(request, operation=operation))
    commitment: Commitment = reply.result
    if commitment.failures is None:
        return Reply(202, (("Retry-After", str(RETRY_AFTER_SECS)),))
    return data_set_reply(offer, write_response(commitment.references, commitment.failures))


async def _payload(origin: HTTPOrigin) -> Mapping[str, Any]:
    media_type = origin.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (DICOM_JSON, JSON):
        raise BadRequest(f"The Content-Type of a storage commitment request is {DICOM_JSON}.")
    try:
        payload = orjson.loads(await _whole(origin.body))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The payload is no JSON: {error}.") from error
    if isinstance(payload, list) and len(payload) == 1:
        payload = payload[0]
    if not isinstance(payload, dict):
        raise BadRequest("The payload is not one data set in the DICOM JSON model.")
    return payload


async def _whole(body: Body | None) -> bytes:
    pieces: list[Piece] = []
    if body is not None:
        async for some in body:
            pieces += some
            if body.size > MAX_PAYLOAD_BYTES:
                raise TooLarge(f"The payload is larger than {MAX_PAYLOAD_BYTES} bytes (MAX_PAYLOAD_BYTES).")
    return b"".join(pieces)
