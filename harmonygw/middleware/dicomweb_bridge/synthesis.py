"""What an archive leaves out of a study's match, made of its series: study lists depend on it.

A count that cannot be had is left out, never 0, and so is ModalitiesInStudy: viewers crash on it when it has no
value. Every query that this costs counts against one bound for the whole request.
"""

from contextlib import aclosing
from typing import Any

from harmonygw.dicom.web.attributes import MODALITIES_IN_STUDY, UNIQUE_KEYS
from harmonygw.middleware.dicomweb_bridge.hierarchy import Ask
from harmonygw.operations import Find, Level
from harmonygw.streams import Match

NUMBER_OF_STUDY_RELATED_SERIES = "00201206"
NUMBER_OF_STUDY_RELATED_INSTANCES = "00201208"
NUMBER_OF_SERIES_RELATED_INSTANCES = "00201209"
MODALITY = "00080060"

SYNTHESISED = (
    MODALITIES_IN_STUDY,
    NUMBER_OF_STUDY_RELATED_SERIES,
    NUMBER_OF_STUDY_RELATED_INSTANCES,
)
"""Of a study, in this order."""

MAX_CHILDREN = 5000
"""Series of a study, or instances of a series, that are counted; a count beyond it is not given."""


class Synthesis:
    """The queries that one request may still spend on what its matches lack."""

    def __init__(self, ask: Ask, budget: int) -> None:
        self._ask = ask
        self._budget = budget
        self.exhausted = False
        """Whether something was left out for want of budget."""

    async def complete(self, row: Match, level: Level, wanted: set[str]) -> None:
        """Fill in what `row` lacks of `wanted`, and drop what stays without value."""
        if level is Level.STUDY and any(_lacks(row, tag) for tag in SYNTHESISED if tag in wanted):
            await self._study(row, wanted)
        elif level is Level.SERIES and NUMBER_OF_SERIES_RELATED_INSTANCES in wanted:
            await self._series(row)
        for tag in (*SYNTHESISED, NUMBER_OF_SERIES_RELATED_INSTANCES):
            if tag in row and _lacks(row, tag):
                del row[tag]

    async def _study(self, row: Match, wanted: set[str]) -> None:
        uid = row.get(UNIQUE_KEYS[Level.STUDY], {})
        series = await self._children(
            Find(
                Level.SERIES,
                {UNIQUE_KEYS[Level.STUDY]: uid},
                {MODALITY: {"vr": "CS"}, NUMBER_OF_SERIES_RELATED_INSTANCES: {"vr": "IS"}},
            )
        )
        if not series:
            return
        if _lacks(row, MODALITIES_IN_STUDY):
            modalities = sorted({value for one in series for value in _values(one, MODALITY) if value})
            if modalities:
                row[MODALITIES_IN_STUDY] = {"vr": "CS", "Value": modalities}
        if _lacks(row, NUMBER_OF_STUDY_RELATED_SERIES):
            row[NUMBER_OF_STUDY_RELATED_SERIES] = {"vr": "IS", "Value": [len(series)]}
        if NUMBER_OF_STUDY_RELATED_INSTANCES in wanted and _lacks(row, NUMBER_OF_STUDY_RELATED_INSTANCES):
            total = 0
            for one in series:
                one.setdefault(UNIQUE_KEYS[Level.STUDY], uid)
                await self._series(one)
                counts = _values(one, NUMBER_OF_SERIES_RELATED_INSTANCES)
                if not counts or not isinstance(counts[0], int):
                    return
                total += counts[0]
            row[NUMBER_OF_STUDY_RELATED_INSTANCES] = {"vr": "IS", "Value": [total]}

    async def _series(self, row: Match) -> None:
        if not _lacks(row, NUMBER_OF_SERIES_RELATED_INSTANCES):
            return
        above = (UNIQUE_KEYS[Level.STUDY], UNIQUE_KEYS[Level.SERIES])
        if any(_lacks(row, tag) for tag in above):
            return
        instances = await self._children(Find(Level.IMAGE, {tag: row[tag] for tag in above}))
        if instances:
            row[NUMBER_OF_SERIES_RELATED_INSTANCES] = {"vr": "IS", "Value": [len(instances)]}

    async def _children(self, find: Find) -> list[Match]:
        """Return all children, or none when there are too many to count or the budget is spent."""
        if self._budget <= 0:
            self.exhausted = True
            return []
        self._budget -= 1
        rows: list[Match] = []
        async with aclosing(await self._ask(find)) as matches:
            async for row in matches:
                rows.append(row)
                if len(rows) > MAX_CHILDREN:
                    self.exhausted = True
                    return []
        return rows


def _values(row: Match, tag: str) -> list[Any]:
    values: list[Any] = row.get(tag, {}).get("Value", [])
    return values


def _lacks(row: Match, tag: str) -> bool:
    return not any(value not in (None, "") for value in _values(row, tag))
