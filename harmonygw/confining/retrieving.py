"""Retrieve and Move: nothing goes out of what does not comply, and nothing looks complete that was cut short.

A Retrieve is checked twice. Before it, the archive is asked whether the study and the series comply; then each instance
is looked at before its first byte goes on. One that is hidden within a study that is shown is left out. One that
contradicts what the archive has said of its study ends the Retrieve: then either the archive or the object is wrong.
Nothing of a Move passes here: what goes is what the archive has listed as complying, instance by instance if need be.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from typing import Final

from twisted.internet.defer import CancelledError

from harmonygw import journal
from harmonygw.confining.constraints import Constraints, Judgement
from harmonygw.confining.scanning import look
from harmonygw.confining.sight import Sight
from harmonygw.errors import Incomplete, NotFound, PeerError, TooLarge
from harmonygw.exchange import Reply, Request
from harmonygw.operations import InstanceStream, Level, Move, MoveResult, Retrieve
from harmonygw.pipeline import Proceed
from harmonygw.streams import Begun, Instance

NOTHING: Final = "The archive has nothing under these UIDs."
"""Said of what is hidden and of what is not there alike."""

MAX_MOVES: Final = 500
"""C-MOVEs that one of a study is taken apart into: as many as there are series that comply. Default 500."""


async def retrieved(request: Request, retrieve: Retrieve, sight: Sight, proceed: Proceed) -> Reply:
    """Answer a Retrieve, whose first instance has been looked at.

    Raises `NotFound` for what is hidden, as for what is not there, and what a Retrieve and a Find raise. The stream
    raises `Incomplete` at an instance that contradicts its study, and at the end when one that was named is hidden.
    """
    constraints = sight.constraints
    study = retrieve.study_instance_uid
    try:
        if study not in await sight.studies((study,)) or not await _shows(retrieve, sight):
            raise NotFound(NOTHING)
        reply: Reply = await proceed(request)
        instances = await Begun.of(_complying(request, retrieve, reply.result, constraints))
    except NotFound:
        raise NotFound(NOTHING) from None
    digest = reply.digest
    if digest and constraints.below_study:
        # The same instances are not the same answer to somebody else.
        digest = sha256(f"{digest} {constraints.key}".encode()).hexdigest()[:32]
    return replace(reply, result=instances, digest=digest)


async def _shows(retrieve: Retrieve, sight: Sight) -> bool:
    """Tell whether the series complies, or any of the study's; what is of instances alone is looked for in them."""
    if not sight.constraints.series:
        return True
    if retrieve.level is Level.STUDY:
        return await sight.shows_any(retrieve.study_instance_uid)
    series = retrieve.series_instance_uid
    parts = await sight.parts(retrieve.study_instance_uid, named=(series,))
    return await sight.shows(retrieve.study_instance_uid, series, parts.get(series))


async def _complying(
    request: Request, retrieve: Retrieve, instances: InstanceStream, constraints: Constraints
) -> AsyncGenerator[Instance, None]:
    """Yield the instances that comply; raises `NotFound` when none does."""
    study, shown = retrieve.study_instance_uid, False
    left_out: list[str] = []
    async with aclosing(instances):
        async for instance in instances:
            uid = instance.sop_instance_uid
            try:
                own_study, values = await look(instance, constraints)
                contradicts = own_study != study or constraints.fails_as_instance(values, constraints.study)
            except PeerError:
                contradicts = True
            if contradicts:
                await instance.data_set.aclose()
                _alert(request, study, uid)
                if not shown:
                    raise NotFound(NOTHING)
                raise Incomplete("an instance is not what the archive says of its study", missing=(uid,))
            if constraints.fails_as_instance(values, (*constraints.series, *constraints.image)):
                await instance.data_set.aclose()
                left_out.append(uid)
                continue
            shown = True
            yield instance
    if not shown:
        raise NotFound(NOTHING)
    if left_out and retrieve.level is Level.IMAGE:
        raise Incomplete("some of the instances asked for are not there", missing=tuple(left_out))


def _alert(request: Request, study: str, instance: str) -> None:
    sentence = f"instance {instance} does not comply with what its study {study} was shown for, and was not sent"
    request.record.note(f"ALERT: {sentence}")
    journal.alert(journal.Alert("confined_study_differs", sentence, request.record.target, request.correlation_id))


async def moved(request: Request, move: Move, sight: Sight, proceed: Proceed) -> Reply:
    """Answer a Move, taken apart into what complies.

    Raises `NotFound` when nothing of it does, or not all of the instances that are named; `TooLarge` for more than
    `MAX_MOVES`; and what a Move and a Find raise. What one of several fails at fails the whole.
    """
    study = move.study_instance_uid
    try:
        if study not in await sight.studies((study,)):
            raise NotFound(NOTHING)
        if not sight.constraints.below_study:
            return await proceed(request)
        moves = await _taken_apart(move, sight)
        if not moves:
            raise NotFound(NOTHING)
        if len(moves) > MAX_MOVES:
            raise TooLarge(f"more than {MAX_MOVES} series of the study comply (MAX_MOVES)")
        results: list[MoveResult] = []
        for one in moves:
            reply: Reply = await proceed(replace(request, operation=one))
            results.append(reply.result)
    except CancelledError:
        raise
    except NotFound:
        raise NotFound(NOTHING) from None
    completed, warning = ([getattr(one, name) for one in results] for name in ("completed", "warning"))
    return Reply(result=MoveResult(_sum(completed), _sum(warning)))


async def _taken_apart(move: Move, sight: Sight) -> list[Move]:
    """Return a Move as it is where all of it complies, or what of it does."""
    study, named = move.study_instance_uid, move.series_instance_uid
    parts = await sight.parts(study, named=filter(None, (named,)))
    if move.level is not Level.STUDY:
        parts = {uid: part for uid, part in parts.items() if uid == named}
    if parts and all(part.judgement is Judgement.COMPLIES for part in parts.values()):
        return [move]
    moves: list[Move] = []
    for series, part in parts.items():
        if part.judgement is Judgement.FAILS:
            continue
        whole = replace(move, series_instance_uid=series)
        if part.judgement is Judgement.COMPLIES:
            moves.append(replace(whole, level=Level.SERIES))
            continue
        instances = await sight.instances(study, series, part)
        if move.level is Level.IMAGE:
            if not set(move.sop_instance_uids) <= set(instances):
                return []
            instances = move.sop_instance_uids
        if instances:
            moves.append(replace(whole, level=Level.IMAGE, sop_instance_uids=instances))
    return moves


def _sum(counts: list[int | None]) -> int | None:
    return None if None in counts else sum(count or 0 for count in counts)
