"""Queries in the Patient Root model without relational queries: the patients first, then below each of them.

There a query below PATIENT level carries one Patient ID and nothing else of the patient's (PS3.4 §C.6.1.2), while a
Find is asked as in Study Root, where the patient's attributes are the study's. What a Find asks of the patient is
asked at PATIENT level, and what it asks of the rest under each patient that was found.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from harmonygw.dicom.web.attributes import UNIQUE_KEYS, level_of
from harmonygw.errors import Conflict, TooLarge
from harmonygw.operations import DataSet, Find, Level, Matches
from harmonygw.streams import Match

MAX_PATIENTS = 200
"""Patients that are walked through for one query: each costs a C-FIND. Beyond it the query must be restricted."""

PATIENT_ID = UNIQUE_KEYS[Level.PATIENT]

Ask = Callable[[Find], Awaitable[Matches]]
"""Puts one hierarchical C-FIND to the archive."""


class PatientRootMatches:
    """The matches of a Find below PATIENT level."""

    def __init__(self, find: Find, ask: Ask) -> None:
        self._find = find
        self._ask = ask
        self._matches = self._walk()
        self.warnings: list[str] = []

    def __aiter__(self) -> "PatientRootMatches":
        return self

    async def __anext__(self) -> Match:
        return await self._matches.__anext__()

    async def aclose(self) -> None:
        """Cancel the C-FIND under way."""
        await self._matches.aclose()

    async def _walk(self) -> AsyncGenerator[Match, None]:
        find = self._find
        keys, patient_keys = _apart(find.keys)
        return_keys, patient_return_keys = _apart(find.return_keys)
        for patient_id, attributes in await self._patients(patient_keys, patient_return_keys):
            unique = {PATIENT_ID: {"vr": "LO", "Value": [patient_id]}}
            below = replace(find, keys={**keys, **unique}, return_keys=return_keys)
            async with aclosing(await self._ask(below)) as matches:
                async for match in matches:
                    if _patient_id(match) in ("", patient_id):
                        yield {**attributes, **match, **unique}
            self._warn(*matches.warnings)

    async def _patients(self, keys: DataSet, return_keys: DataSet) -> list[tuple[str, Match]]:
        """Return Patient IDs, each with the attributes that were asked for."""
        named = _literal(keys.get(PATIENT_ID, {}))
        if named and not {*keys, *return_keys} - {PATIENT_ID}:
            return [(named, {})]
        found: dict[str, Match] = {}
        query = Find(Level.PATIENT, keys, return_keys, fuzzy_matching=self._find.fuzzy_matching)
        async with aclosing(await self._ask(query)) as matches:
            async for match in matches:
                patient_id = _patient_id(match)
                if not patient_id:
                    self._warn("Patients without a Patient ID could not be searched.")
                elif patient_id in found:
                    raise Conflict("the archive has several patients with one Patient ID")
                else:
                    found[patient_id] = {tag: value for tag, value in match.items() if level_of(tag) is Level.PATIENT}
                if len(found) > MAX_PATIENTS:
                    raise TooLarge(
                        f"The search would walk through more than {MAX_PATIENTS} patients (MAX_PATIENTS), since the "
                        "archive is asked in Patient Root and has no relational queries. Restrict it, by PatientID "
                        "for example."
                    )
        self._warn(*matches.warnings)
        return list(found.items())

    def _warn(self, *sentences: str) -> None:
        self.warnings.extend(one for one in sentences if one not in self.warnings)


def _apart(attributes: DataSet) -> tuple[DataSet, DataSet]:
    """Return what belongs below PATIENT level, and what belongs to it."""
    patient = {tag: element for tag, element in attributes.items() if level_of(tag) is Level.PATIENT}
    return {tag: element for tag, element in attributes.items() if tag not in patient}, patient


def _patient_id(match: Match) -> str:
    return "".join(str(value) for value in match.get(PATIENT_ID, {}).get("Value", ())[:1] if value)


def _literal(element: Mapping[str, Any]) -> str:
    values = element.get("Value", ())
    return str(values[0]) if len(values) == 1 and not set("*?") & set(str(values[0])) else ""
