"""FindWorklist: scheduled procedure steps whose answers say what is demanded (PS3.4 Table K.6-1).

A worklist has neither series nor equipment. What it does not say cannot be checked, and who is confined to it is
refused.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from harmonygw.confining.constraints import Constraints, Judgement
from harmonygw.confining.searching import Confined
from harmonygw.dicom.dataset.references import items
from harmonygw.dicom.web.attributes import vr_of_tag
from harmonygw.dicom.web.worklist import RETURNED, RETURNED_OF_STEP, SCHEDULED_PROCEDURE_STEP_SEQUENCE
from harmonygw.errors import Denied
from harmonygw.exchange import Reply, Request
from harmonygw.operations import FindWorklist, Matches
from harmonygw.pipeline import Proceed
from harmonygw.streams import Match


async def found(request: Request, find: FindWorklist, constraints: Constraints, proceed: Proceed) -> Reply:
    """Answer a FindWorklist; raises `Denied` when a worklist does not say what is demanded, and what it raises."""
    step = tuple(tag for tag in constraints.allowed if tag in RETURNED_OF_STEP)
    rest = tuple(tag for tag in constraints.allowed if tag in RETURNED and tag not in step)
    if len(step) + len(rest) < len(constraints.allowed):
        raise Denied("You are not authorized to see the worklist.", log_detail=constraints.reasons)
    identifier: dict[str, Any] = dict(find.identifier)
    added = {tag for tag in rest if tag not in identifier}
    identifier.update((tag, {"vr": vr_of_tag(tag)}) for tag in added)
    added_of_step: set[str] = set()
    if step:
        asked = items(identifier, SCHEDULED_PROCEDURE_STEP_SEQUENCE)
        if not asked and SCHEDULED_PROCEDURE_STEP_SEQUENCE not in identifier:
            added.add(SCHEDULED_PROCEDURE_STEP_SEQUENCE)
            asked = [{}]
        # A sequence without an item is asked for whole (PS3.4 §C.2.2.2.6).
        if any(asked) or SCHEDULED_PROCEDURE_STEP_SEQUENCE in added:
            added_of_step = {tag for tag in step if tag not in asked[0]}
            item = {**asked[0], **{tag: {"vr": vr_of_tag(tag)} for tag in added_of_step}}
            identifier[SCHEDULED_PROCEDURE_STEP_SEQUENCE] = {"vr": "SQ", "Value": [item]}
    reply: Reply = await proceed(replace(request, operation=FindWorklist(identifier)))
    rows = _complying(reply.result, constraints, rest, step, frozenset(added), frozenset(added_of_step))
    return replace(reply, result=Confined(reply.result, rows))


async def _complying(
    matches: Matches,
    constraints: Constraints,
    rest: tuple[str, ...],
    step: tuple[str, ...],
    added: frozenset[str],
    added_of_step: frozenset[str],
) -> AsyncGenerator[Match, None]:
    async with aclosing(matches):
        async for row in matches:
            steps = items(row, SCHEDULED_PROCEDURE_STEP_SEQUENCE)
            complies = constraints.judge(row, rest) is Judgement.COMPLIES
            if step:
                complies = complies and bool(steps)
                complies = complies and all(constraints.judge(one, step) is Judgement.COMPLIES for one in steps)
            if not complies:
                continue
            made = {tag: element for tag, element in row.items() if tag not in added}
            if added_of_step and SCHEDULED_PROCEDURE_STEP_SEQUENCE in made:
                values = [{tag: one[tag] for tag in one if tag not in added_of_step} for one in steps]
                made[SCHEDULED_PROCEDURE_STEP_SEQUENCE] = {"vr": "SQ", "Value": values}
            yield made
