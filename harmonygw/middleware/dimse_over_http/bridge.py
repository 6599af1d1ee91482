"""The bridge itself: which operation a request is, what it takes to carry it out, and what is answered.

It stands behind the middleware that a pipeline names, so that this sees HTTP and its JSON; what comes as a DIMSE
request passes.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import orjson
from twisted.internet.defer import CancelledError
from zope.interface import implementer

from harmonygw.config.options import DicomSCUOptions
from harmonygw.dicom.dimse.statuses import Category, category, describe
from harmonygw.dicom.web.attributes import UNIQUE_KEYS
from harmonygw.dicom.web.media_types import DICOM
from harmonygw.errors import (
    BadRequest,
    ConfigurationError,
    HarmonyError,
    MethodNotAllowed,
    NotFound,
    PeerError,
    RejectedError,
    TooLarge,
    UnsupportedMediaType,
)
from harmonygw.exchange import HTTPOrigin, Record, Reply, Request
from harmonygw.middleware.dimse_over_http.answering import HEADERS, described, found, whole
from harmonygw.middleware.dimse_over_http.asking import OPERATIONS, Asked, read_json
from harmonygw.middleware.dimse_over_http.folders import Folders
from harmonygw.middleware.dimse_over_http.storing import Upload
from harmonygw.operations import Echo, Find, InstanceStream, Level, Matches, MoveResult, Store, StoreResult
from harmonygw.pipeline import Context, IMiddleware, Proceed
from harmonygw.streams import Body, Stream

STORE: Final = "store"
NAMES: Final = {word: name for name, word in OPERATIONS.items()} | {STORE: "C-STORE"}
"""The path's words, and the DIMSE service that each is."""

MAX_FILES: Final = 100_000
"""Instances of one answer to a get or move. Each is a line of 300 bytes in it; more are asked for series by series."""

MAX_STUDIES: Final = 1000
"""Studies of a patient, more than anybody ever had."""

PATIENT_ID: Final = UNIQUE_KEYS[Level.PATIENT]
STUDY_INSTANCE_UID: Final = UNIQUE_KEYS[Level.STUDY]

_JSON: Final = re.compile(r"application/(?:[^\s;]*\+)?json\s*(?:;|$)", re.IGNORECASE)

Transaction = Callable[[Request, Asked, Proceed], Awaitable[Reply]]


@implementer(IMiddleware)
class DIMSEOverHTTP:
    """Requests below a prefix on its left side, operations on its right."""

    def __init__(self, context: Context) -> None:
        self._folders = Folders(context.configuration.storage, context.reactor)
        self._own_titles = _own_titles(context)
        self._transactions: dict[str, Transaction] = {
            "echo": self._echo,
            "find": self._find,
            "get": self._retrieve,
            "move": self._retrieve,
        }

    @staticmethod
    def foundation(context: Context) -> object:
        """Return what the middleware is built from: the files of its answers stay while that is the same."""
        return context.settings, context.configuration.storage, _own_titles(context)

    async def start(self) -> None:
        """Make room for files; raises `ConfigurationError`."""
        try:
            await self._folders.start()
        except OSError as error:
            raise ConfigurationError((f"storage: there can be no files: {error}",)) from error

    async def stop(self) -> None:
        """Remove the files."""
        await self._folders.stop()

    def state(self) -> dict[str, object]:
        """Describe the files."""
        return self._folders.state()

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Make an operation of a request and a document of its result; what is an operation already passes."""
        origin = request.origin
        if request.operation is not None or not isinstance(origin, HTTPOrigin):
            return await proceed(request)
        word = _word(origin)
        if origin.method == "OPTIONS":
            return Reply(204, (("Allow", "OPTIONS, POST"),))
        members: dict[str, object] = {"success": False}
        try:
            if origin.method != "POST":
                raise MethodNotAllowed("A DIMSE service is asked by POST.", allowed=("POST",))
            if word:
                members["operation"] = request.record.operation = NAMES[word]
            if word == STORE:
                return await self._store(request, origin, proceed)
            body = await _json(request, origin)
            if origin.path and not word and not (isinstance(body, Mapping) and "operation" in body):
                raise _nothing_here()
            asked = Asked.of(body, word, self._own_titles)
            members["operation"] = request.record.operation = NAMES[asked.operation]
            return await self._transactions[asked.operation](request, asked, proceed)
        except CancelledError:
            raise
        except HarmonyError as error:
            error.members = {**members, **error.members}
            raise

    async def _echo(self, request: Request, asked: Asked, proceed: Proceed) -> Reply:
        await proceed(replace(request, operation=Echo()))
        return whole({"operation": "C-ECHO", "success": True})

    async def _find(self, request: Request, asked: Asked, proceed: Proceed) -> Reply:
        reply = await proceed(replace(request, operation=asked.find()))
        matches: Matches = reply.result
        return found(matches, asked)

    # Get and move

    async def _retrieve(self, request: Request, asked: Asked, proceed: Proceed) -> Reply:
        operations = asked.retrievals(await self._studies(request, asked, proceed))
        if asked.destination:
            return await self._move_elsewhere(request, asked, operations, proceed)
        folder = await self._folders.make()
        instances: list[bytes] = []
        try:
            for operation in operations:
                reply = await proceed(replace(request, operation=operation))
                stream: InstanceStream = reply.result
                async with aclosing(stream):
                    async for instance in stream:
                        if len(instances) == MAX_FILES:
                            raise TooLarge(f"There are more than {MAX_FILES} instances (MAX_FILES): ask by series.")
                        instances.append(orjson.dumps(described(instance, await folder.write(instance))))
        except BaseException:
            self._folders.remove(folder)
            raise
        self._folders.keep(folder)
        start = orjson.dumps(
            {
                "operation": NAMES[asked.operation],
                "success": True,
                "file_count": len(instances),
                "folder_path": str(folder.path),
                "max_age_secs": self._folders.max_age_secs,
            }
        )
        return Reply(headers=HEADERS, body=Body.of(start[:-1], b',"instances":[', b",".join(instances), b"]}"))

    async def _move_elsewhere(self, request: Request, asked: Asked, operations: list[Any], proceed: Proceed) -> Reply:
        completed: int | None = 0
        warning: int | None = 0
        for operation in operations:
            result: MoveResult = (await proceed(replace(request, operation=operation))).result
            completed = _sum(completed, result.completed)
            warning = _sum(warning, result.warning)
        document = {"operation": "C-MOVE", "success": True, "destination": asked.destination}
        counts = {"completed": completed, "warning": warning}
        return whole({**document, **{name: count for name, count in counts.items() if count is not None}})

    async def _studies(self, request: Request, asked: Asked, proceed: Proceed) -> tuple[str, ...]:
        """Return the studies to retrieve: those that are named, which are of the patient that is named, or all of his.

        Raises `NotFound` when the archive lists no such studies of that patient.
        """
        patient_id, named = asked.patient_id(), asked.studies
        if not patient_id:
            if asked.level is Level.PATIENT:
                raise BadRequest("PatientID is missing, which a retrieval at PATIENT level needs.")
            return named
        keys: dict[str, Any] = {PATIENT_ID: {"vr": "LO", "Value": [patient_id]}}
        if named:
            keys[STUDY_INSTANCE_UID] = {"vr": "UI", "Value": list(named)}
        find = Find(Level.STUDY, keys, {} if named else {STUDY_INSTANCE_UID: {"vr": "UI"}}, MAX_STUDIES + 1)
        matches: Matches = (await proceed(replace(request, operation=find, record=Record()))).result
        listed: dict[str, None] = {}
        async with aclosing(matches):
            async for match in matches:
                if len(listed) == MAX_STUDIES:
                    raise TooLarge(f"The patient has more than {MAX_STUDIES} studies (MAX_STUDIES): name them.")
                if _text(match, PATIENT_ID) == patient_id and (study := _text(match, STUDY_INSTANCE_UID)):
                    listed[study] = None
        if not listed or not listed.keys() >= set(named):
            raise NotFound("the archive lists no such study of that patient")
        return named or tuple(listed)

    # Store

    async def _store(self, request: Request, origin: HTTPOrigin, proceed: Proceed) -> Reply:
        media_type = origin.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != DICOM or origin.headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType(f"What is stored is one DICOM file, {DICOM}, without content coding.")
        if origin.body is None:
            raise BadRequest("The body is empty; it holds one DICOM file.")
        async with aclosing(origin.body):
            upload = await Upload.begun(origin.body)
            reply = await proceed(replace(request, operation=Store(upload)))
            results: Stream[StoreResult] = reply.result
            async with aclosing(results):
                stored = [result async for result in results]
        if upload.fault is not None:
            raise upload.fault
        if len(stored) != 1:
            raise PeerError("the archive did not say what became of the instance")
        [result] = stored
        request.record.dimse_status = result.status
        outcome = category(result.status)
        if outcome not in (Category.SUCCESS, Category.WARNING):
            detail = f": {result.detail}" if result.detail else ""
            raise RejectedError(f"the instance was not stored, {describe(result.status)}{detail}", status=result.status)
        document = {
            "operation": "C-STORE",
            "success": True,
            "dimse_status": f"{result.status:04X}H",
            "sop_class_uid": upload.instance.sop_class_uid,
            "sop_instance_uid": upload.instance.sop_instance_uid,
            "transfer_syntax_uid": upload.instance.transfer_syntax_uid,
        }
        if outcome is Category.WARNING:
            document["warnings"] = [describe(result.status)]
        return whole(document)


def _word(origin: HTTPOrigin) -> str:
    """Return the path's word, "" for any other path, where a POST has the operation in its body.

    Raises `NotFound` for another method at such a path below the prefix.
    """
    if len(origin.path) == 1 and origin.path[0] in NAMES:
        return origin.path[0]
    if origin.path and origin.method != "POST":
        raise _nothing_here()
    return ""


def _nothing_here() -> NotFound:
    words = ", /".join(NAMES)
    return NotFound(f'There is nothing at this path; DIMSE services are at /{words}, or "operation" names one.')


async def _json(request: Request, origin: HTTPOrigin) -> Any:
    """Return the body, as `json_extractor` has left it or as it comes.

    Raises `UnsupportedMediaType` for what any page of any site can have a browser send unasked: a POST of another type
    (Fetch, "CORS-safelisted request-header"). Programs need not state the type.
    """
    if "origin" in origin.headers and not _JSON.match(origin.headers.get("content-type", "")):
        raise UnsupportedMediaType("What a page in a browser asks has the type application/json.")
    if "json" in request.attributes:
        return request.attributes["json"]
    return await read_json(origin.body)


def _sum(one: int | None, another: int | None) -> int | None:
    return None if one is None or another is None else one + another


def _text(match: Any, tag: str) -> str:
    values = match.get(tag, {}).get("Value") or ("",)
    return str(values[0]).strip()


def _own_titles(context: Context) -> frozenset[str]:
    """Return the AE titles that the gateway has as a client."""
    backends = context.configuration.backends.values()
    return frozenset(one.options.local_aet for one in backends if isinstance(one.options, DicomSCUOptions))
