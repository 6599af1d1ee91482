"""What an archive leaves out of a match, made of the level below: study lists depend on it.

A count that cannot be had is left out, never 0, and so is ModalitiesInStudy: viewers crash on it when it has no value.
Every query that this costs counts against one bound for the whole request.
"""

import re
from collections.abc import Iterable
from contextlib import aclosing
from typing import Final

from harmonygw.dicom.web.attributes import IF_KNOWN, MODALITIES_IN_STUDY, UNIQUE_KEYS
from harmonygw.errors import RejectedError
from harmonygw.middleware.dicomweb_bridge.checking import down_to, identity, lacks, text
from harmonygw.middleware.dicomweb_bridge.inquiry import Inquiry
from harmonygw.operations import Find, Level
from harmonygw.streams import Match

NUMBER_OF_STUDY_RELATED_SERIES: Final = "00201206"
NUMBER_OF_STUDY_RELATED_INSTANCES: Final = "00201208"
NUMBER_OF_SERIES_RELATED_INSTANCES: Final = "00201209"
_MODALITY: Final = "00080060"

SYNTHESISED: Final = {
    Level.STUDY: (MODALITIES_IN_STUDY, NUMBER_OF_STUDY_RELATED_SERIES, NUMBER_OF_STUDY_RELATED_INSTANCES),
    Level.SERIES: (NUMBER_OF_SERIES_RELATED_INSTANCES,),
    Level.IMAGE: (),
}
"""What can be made of the level below, by level."""

NEVER_WITHOUT_VALUE: Final = IF_KNOWN.union(*SYNTHESISED.values())
"""What a match has with a value or not at all."""

MAX_CHILDREN: Final = 5000
"""Series of a study, or instances of a series, that are counted; a count beyond it is not given."""

LEFT_OUT: Final = "attributes that the archive does not give were left out (synthesis_limit, MAX_CHILDREN)"


class Synthesis:
    """The queries that one request may still spend on what its matches lack."""

    def __init__(self, inquiry: Inquiry, budget: int) -> None:
        self._inquiry = inquiry
        self._budget = budget

    async def complete(self, row: Match, level: Level, tags: Iterable[str]) -> None:
        """Fill in what `row` lacks of `tags`, as far as it can be made and the budget allows."""
        lacking = {tag for tag in tags if tag in SYNTHESISED[level] and lacks(row, tag)}
        if not lacking:
            return
        if level is Level.STUDY:
            await self._complete_study(row, lacking)
        else:
            await self._count_instances(row)

    async def _complete_study(self, row: Match, lacking: set[str]) -> None:
        return_keys = {UNIQUE_KEYS[Level.SERIES]: {"vr": "UI"}}
        if MODALITIES_IN_STUDY in lacking:
            return_keys[_MODALITY] = {"vr": "CS"}
        if NUMBER_OF_STUDY_RELATED_INSTANCES in lacking:
            return_keys[NUMBER_OF_SERIES_RELATED_INSTANCES] = {"vr": "IS"}
        series = await self._children(Level.SERIES, row, return_keys)
        modalities = sorted({text(one, _MODALITY) for one in series} - {""})
        if modalities and MODALITIES_IN_STUDY in lacking:
            row[MODALITIES_IN_STUDY] = {"vr": "CS", "Value": modalities}
        if series and NUMBER_OF_STUDY_RELATED_SERIES in lacking:
            row[NUMBER_OF_STUDY_RELATED_SERIES] = {"vr": "IS", "Value": [len(series)]}
        if series and NUMBER_OF_STUDY_RELATED_INSTANCES in lacking:
            await self._sum_up_instances(row, series)

    async def _sum_up_instances(self, row: Match, series: list[Match]) -> None:
        uncounted = [one for one in series if _count(one) is None]
        if len(uncounted) > self._budget:
            self._inquiry.note(LEFT_OUT)
            return
        study = UNIQUE_KEYS[Level.STUDY]
        for one in uncounted:
            one[study] = row[study]
            await self._count_instances(one)
        counts = [_count(one) for one in series]
        if None not in counts:
            row[NUMBER_OF_STUDY_RELATED_INSTANCES] = {"vr": "IS", "Value": [sum(filter(None, counts))]}

    async def _count_instances(self, series: Match) -> None:
        instances = await self._children(Level.IMAGE, series, {UNIQUE_KEYS[Level.IMAGE]: {"vr": "UI"}})
        if instances:
            series[NUMBER_OF_SERIES_RELATED_INSTANCES] = {"vr": "IS", "Value": [len(instances)]}

    async def _children(self, level: Level, parent: Match, return_keys: dict[str, dict[str, str]]) -> list[Match]:
        """Return all children, or none when they cannot be had: nameless, too many, refused, or the budget is spent."""
        uids = {UNIQUE_KEYS[one]: text(parent, UNIQUE_KEYS[one]) for one in down_to(level)[:-1]}
        if self._budget <= 0 or not all(uids.values()):
            self._inquiry.note(LEFT_OUT)
            return []
        self._budget -= 1
        keys = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
        found: dict[str, Match] = {}
        try:
            async with aclosing(self._inquiry.matches(Find(level, keys, return_keys), parent)) as rows:
                async for row in rows:
                    found[identity(row, level)] = row
                    if len(found) > MAX_CHILDREN:
                        self._inquiry.note(LEFT_OUT)
                        return []
        except RejectedError as error:
            self._budget = 0
            self._inquiry.note(f"the archive refused to tell more of its matches: {error}")
            return []
        return list(found.values())


def _count(series: Match) -> int | None:
    given = text(series, NUMBER_OF_SERIES_RELATED_INSTANCES)
    return int(given) if re.fullmatch("[0-9]{1,12}", given) else None
