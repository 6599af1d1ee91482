"""C-MOVE to somebody else: the archive sends instances where it is told to, and we are told how many (PS3.4 §C.4.2)."""

from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError

from harmonygw.backends.dicom_scu.attempts import unique_keys, useless
from harmonygw.backends.dicom_scu.information_models import InformationModel
from harmonygw.backends.dicom_scu.requesting import Requesting
from harmonygw.dicom.dataset.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from harmonygw.dicom.dimse.statuses import Category, category, describe
from harmonygw.dicom.upperlayer.negotiation import ProposedContext
from harmonygw.errors import NotFound, RejectedError, TransportError
from harmonygw.exchange import Request
from harmonygw.net.association.destination import MESSAGE_IDS
from harmonygw.net.association.operations import MoveOperation, Outcome
from harmonygw.net.association.pool import AssociationPool
from harmonygw.operations import Move, MoveResult


async def move_elsewhere(
    pool: AssociationPool, requesting: Requesting, request: Request, model: InformationModel, move: Move
) -> MoveResult:
    """Request a C-MOVE and wait for its end; who gives the wait up has it cancelled.

    Raises `RejectedError` when it failed, or any of its sub-operations, `NotFound` when there were none, and what a
    lease of an association raises.
    """
    # Unique among those to ourselves too: what comes to a listener of this process is matched by it.
    message_id = MESSAGE_IDS.take()
    begin = partial(_begin, pool, requesting, request, model, move, message_id)
    try:
        operation = await begin(fresh=False)
        try:
            outcome = await _end(operation)
        except TransportError:
            if operation.answered:
                raise
            request.record.note("the association was lost before the first answer; tried once more")
            outcome = await _end(await begin(fresh=True))
    finally:
        MESSAGE_IDS.give_back(message_id)
    return _judged(outcome, request, move)


async def _begin(
    pool: AssociationPool,
    requesting: Requesting,
    request: Request,
    model: InformationModel,
    move: Move,
    message_id: int,
    *,
    fresh: bool,
) -> MoveOperation:
    rq = requesting.rq(ProposedContext(1, model.move, (IMPLICIT_VR_LITTLE_ENDIAN,)))
    association = await pool.acquire(rq, client=request.client, light=False, deadline=request.deadline, fresh=fresh)
    try:
        if not association.contexts_for(model.move):
            raise useless(association, f"{model.move} (C-MOVE)", IMPLICIT_VR_LITTLE_ENDIAN)
        return association.move(
            model.move,
            unique_keys(model, move),
            destination=move.destination,
            message_id=message_id,
            on_final=_nothing,
            elsewhere=True,
        )
    finally:
        pool.give_back(association)


async def _end(operation: MoveOperation) -> Outcome:
    try:
        return await operation.done
    except CancelledError as cancelled:
        operation.cancel(cancelled)
        raise


def _judged(outcome: Outcome, request: Request, move: Move) -> MoveResult:
    record = request.record
    record.dimse_status = outcome.status
    record.instances += outcome.completed or 0
    if category(outcome.status) is not Category.SUCCESS or outcome.failed:
        error = RejectedError(
            f"the archive did not send everything to {move.destination}: status {describe(outcome.status)}, "
            f"{_counted(outcome.completed)} sub-operations completed, {_counted(outcome.failed)} failed",
            status=outcome.status,
            log_detail=outcome.error_comment,
        )
        counts: dict[str, Any] = {
            "completed": outcome.completed,
            "failed": outcome.failed,
            "warning": outcome.warning,
            "failed_sop_instance_uids": list(outcome.failed_sop_instance_uids),
        }
        error.members.update({name: count for name, count in counts.items() if count is not None})
        raise error
    if outcome.completed == 0 and not outcome.warning:
        raise NotFound("the archive has nothing under these unique keys")
    return MoveResult(outcome.completed, outcome.warning)


def _counted(count: int | None) -> str:
    return "an untold number of" if count is None else str(count)


def _nothing() -> None:
    """Stand in for who waits for what arrives here: nothing does."""
