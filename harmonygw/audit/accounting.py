"""The step that sees what an exchange really does, in front of what answers it, and notes that on its record.

What passes is what came: streams go on as they are read, an item at a time. Nothing is given out, or stored, before
the trail has its beginning, where it must have one.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from zope.interface import implementer

from harmonygw.audit.account import Account, Tally
from harmonygw.audit.kinds import is_access, resource_of
from harmonygw.dicom.dimse.statuses import Category, category
from harmonygw.dicom.web.resources import Kind
from harmonygw.errors import RejectedError
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.operations import (
    Echo,
    Find,
    FindWorklist,
    InstanceStream,
    Move,
    MoveResult,
    Retrieve,
    Store,
    StoreResult,
)
from harmonygw.pipeline import IMiddleware, Proceed
from harmonygw.streams import Instance, Stream


class Begins(Protocol):
    """What the step asks of the trail."""

    def admit(self) -> None:
        """Raise `Busy` when nothing may happen, because nothing could be told of it."""

    def begin(self, request: Request, tally: Tally, *, storing: bool) -> None:
        """Tell that instances of a study are about to be transferred; raises `Busy` when that cannot be told."""


@implementer(IMiddleware)
class Accounting:
    """Keeps the account of every exchange that gets as far as this."""

    def __init__(self, trail: Begins, archive: str = "") -> None:
        """`archive` names what is asked behind this, where a transfer is told of before anybody has been asked."""
        self._trail = trail
        self._archive = archive

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed, and note what is asked and what flows; raises `Busy` when the trail admits nothing."""
        operation = request.operation
        if isinstance(operation, Echo):
            return await proceed(request)
        self._trail.admit()
        record = request.record
        if record.audit is None:
            record.audit = Account()
        account: Account = record.audit
        if isinstance(operation, Find | FindWorklist):
            account.query = account.query or operation
        elif isinstance(operation, Retrieve):
            return await self._retrieve(request, operation, account, proceed)
        elif isinstance(operation, Store):
            return await self._store(request, operation, account, proceed)
        elif isinstance(operation, Move):
            return await self._move(request, operation, account, proceed)
        elif operation is None and isinstance(request.origin, HTTPOrigin):
            return await self._pass_on(request, account, proceed)
        return await proceed(request)

    async def _retrieve(self, request: Request, operation: Retrieve, account: Account, proceed: Proceed) -> Reply:
        account.asks_for(operation.study_instance_uid, operation.patient_id)
        reply = await proceed(request)
        if reply.result is None:
            return reply
        begin = None if is_access(request) else self._begin(request, storing=False)
        return replace(reply, result=_Outgoing(reply.result, account, begin))

    async def _store(self, request: Request, operation: Store, account: Account, proceed: Proceed) -> Reply:
        incoming = _Incoming(operation.instances, account, self._begin(request, storing=True))
        reply = await proceed(replace(request, operation=replace(operation, instances=incoming)))
        return reply if reply.result is None else replace(reply, result=_Results(reply.result, account))

    async def _move(self, request: Request, operation: Move, account: Account, proceed: Proceed) -> Reply:
        request.record.destination = operation.destination
        account.is_direct = True
        account.asks_for(operation.study_instance_uid, operation.patient_id)
        leading = {"PatientID": operation.patient_id} if operation.patient_id else {}
        tally = account.tally(operation.study_instance_uid, leading, ())
        self._begin(request, storing=False)(tally)
        try:
            reply = await proceed(request)
        except RejectedError as error:
            _count(tally, error.members.get("completed"), error.members.get("warning"), error.members.get("failed"))
            raise
        result: MoveResult = reply.result
        _count(tally, result.completed, result.warning, 0)
        return reply

    async def _pass_on(self, request: Request, account: Account, proceed: Proceed) -> Reply:
        """Let a request by that nobody has made an operation of: what its path says is all that is known."""
        account.is_passed_on = True
        resource = resource_of(request)
        if resource is None:
            return await proceed(request)
        if resource.study:
            account.asks_for(resource.study)
        if resource.kind is Kind.STORE:
            self._begin_uncounted(request, account, resource.study, storing=True)
            return await proceed(request)
        reply = await proceed(request)
        if resource.kind is Kind.RETRIEVE and reply.status in (200, 206) and reply.body is not None:
            try:
                self._begin_uncounted(request, account, resource.study, storing=False)
            except BaseException:
                await reply.body.aclose()
                raise
        return reply

    def _begin_uncounted(self, request: Request, account: Account, study: str, *, storing: bool) -> None:
        tally = account.tally(study, {}, ())
        tally.counted = False
        self._begin(request, storing=storing)(tally)

    def _begin(self, request: Request, *, storing: bool) -> Callable[[Tally], None]:
        def begin(tally: Tally) -> None:
            if not tally.begun:
                account: Account = request.record.audit
                account.archive = account.archive or request.record.target or self._archive
                self._trail.begin(request, tally, storing=storing)
                tally.begun = True

        return begin


def _count(tally: Tally, completed: object, warning: object, failed: object) -> None:
    """Count what the archive counted; what it does not tell is not counted."""
    told = [number for number in (completed, warning) if isinstance(number, int)]
    lost = failed if isinstance(failed, int) else 0
    tally.counted = bool(told)
    for counts, number in ((tally.whole, sum(told)), (tally.broken, lost)):
        if number:
            counts[""] = counts.get("", 0) + number


class _Passing:
    """A stream that somebody else reads. What else it has is the other's."""

    def __init__(self, stream: Stream[Any]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def aclose(self) -> None:
        """Give the other up."""
        await self._stream.aclose()


class _Outgoing(_Passing):
    """Instances on their way to the client: each is whole when what follows it is asked for."""

    def __init__(self, instances: InstanceStream, account: Account, begin: Callable[[Tally], None] | None) -> None:
        super().__init__(instances)
        self._account = account
        self._begin = begin
        self._last: tuple[Tally, str] | None = None

    def __aiter__(self) -> "_Outgoing":
        return self

    async def __anext__(self) -> Instance:
        if self._last is not None:
            tally, counted_under = self._last
            self._last = None
            tally.ends(counted_under, whole=True)
        instance: Instance = await self._stream.__anext__()
        tally = self._account.of_instance(instance)
        if self._begin is not None and not tally.begun:
            try:
                self._begin(tally)
            except BaseException:
                await self._stream.aclose()
                raise
        self._last = (tally, tally.begins(instance.sop_class_uid))
        return instance


class _Incoming(_Passing):
    """Instances on their way to the archive."""

    def __init__(self, instances: InstanceStream, account: Account, begin: Callable[[Tally], None]) -> None:
        super().__init__(instances)
        self._account = account
        self._begin = begin

    def __aiter__(self) -> "_Incoming":
        return self

    async def __anext__(self) -> Instance:
        instance: Instance = await self._stream.__anext__()
        tally = self._account.of_instance(instance)
        self._begin(tally)
        self._account.waits(tally, tally.begins(instance.sop_class_uid))
        return instance


class _Results(_Passing):
    """What the archive says of each instance."""

    def __init__(self, results: Stream[StoreResult], account: Account) -> None:
        super().__init__(results)
        self._account = account

    def __aiter__(self) -> "_Results":
        return self

    async def __anext__(self) -> StoreResult:
        result: StoreResult = await self._stream.__anext__()
        self._account.answered(stored=category(result.status) is not Category.FAILURE)
        return result
