"""Routes: which of several archives a request is for, by what it says and by who asks.

An instance says all that a route can speak of, and goes to one archive. A query says some of it: `Modality = CT`
decides about a route for MG, a patient's name does not. So a query goes to every archive that may be meant, in the
order of the routes, down to the first that is meant for certain; and what they find is merged.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from harmonygw.config.pipeline_options import CALLED_AE_TITLE, CALLING_AE_TITLE, SourceRoute
from harmonygw.dicom.dataset.dictionary import tag_of, vr_of
from harmonygw.dicom.dataset.leading import text_of
from harmonygw.dicom.dataset.matching import Matcher
from harmonygw.dicom.web.attributes import MODALITIES_IN_STUDY
from harmonygw.exchange import AssociationOrigin, Request
from harmonygw.operations import DataSet, Find
from harmonygw.several.source import Source
from harmonygw.streams import Instance

MODALITY: Final = "00080060"

_RANGE: Final = re.compile(r"(\d{8})?\s*(?:(-)\s*(\d{8})?)?\Z", re.ASCII)
_FIRST, _LAST = "00000000", "99999999"


class Certainty(Enum):
    """Whether a route is meant."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


class Routes:
    """The routes of a pipeline, in their order."""

    def __init__(self, routes: Iterable[SourceRoute], default: str, sources: Iterable[Source]) -> None:
        by_name = {source.name: source for source in sources}
        self._routes = [(_Conditions(route.when), by_name[route.backend]) for route in routes]
        self._default = by_name[default]
        self._order = list(by_name.values())

    def candidates(self, request: Request) -> list[Source]:
        """Return the sources that a query or a retrieval may be for, in the configured order."""
        find = request.operation if isinstance(request.operation, Find) else Find
        keys: DataSet = find.keys if isinstance(find, Find) else {}
        found: set[Source] = set()
        for conditions, source in self._routes:
            certainty = conditions.of_keys(keys, request)
            if certainty is not Certainty.NO:
                found.add(source)
            if certainty is Certainty.YES:
                break
        else:
            found.add(self._default)
        return [source for source in self._order if source in found]

    def target(self, instance: Instance, request: Request) -> Source:
        """Return where an instance is stored."""
        for conditions, source in self._routes:
            if conditions.hold(instance, request):
                return source
        return self._default


class _Conditions:
    """What has to hold for one route."""

    def __init__(self, when: Mapping[str, Sequence[str]]) -> None:
        self._entities: dict[str, Matcher] = {}
        self._attributes: dict[str, tuple[str, str, Sequence[str], Matcher]] = {}
        for key, values in when.items():
            if key in (CALLING_AE_TITLE, CALLED_AE_TITLE):
                self._entities[key] = _matcher("", "AE", values)
                continue
            number = tag_of(key) or 0
            tag, vr = f"{number:08X}", vr_of(number)
            self._attributes[key] = (tag, vr, values, _matcher(tag, vr, values))

    def hold(self, instance: Instance, request: Request) -> bool:
        """Tell whether they hold for an instance, by its leading attributes."""
        if not self._by_entities(request):
            return False
        return all(
            matcher.matches({tag: {"vr": vr, "Value": _values(instance, keyword, vr)}})
            for keyword, (tag, vr, _, matcher) in self._attributes.items()
        )

    def of_keys(self, keys: DataSet, request: Request) -> Certainty:
        """Tell whether what a query with these keys looks for is what they hold for."""
        if not self._by_entities(request):
            return Certainty.NO
        found = {self._of_key(keys, *attribute) for attribute in self._attributes.values()}
        if Certainty.NO in found:
            return Certainty.NO
        return Certainty.MAYBE if Certainty.MAYBE in found else Certainty.YES

    def _by_entities(self, request: Request) -> bool:
        origin = request.origin
        if not self._entities:
            return True
        if not isinstance(origin, AssociationOrigin):
            return False
        named = {CALLING_AE_TITLE: origin.calling_ae_title, CALLED_AE_TITLE: origin.called_ae_title}
        return all(
            matcher.matches({"": {"vr": "AE", "Value": [named[key]]}}) for key, matcher in self._entities.items()
        )

    @staticmethod
    def _of_key(keys: DataSet, tag: str, vr: str, wanted: Sequence[str], matcher: Matcher) -> Certainty:
        key = keys.get(tag) or (keys.get(MODALITIES_IN_STUDY) if tag == MODALITY else None)
        values = [str(value) for value in (key or {}).get("Value", ()) if value]
        if not values:
            return Certainty.MAYBE
        if vr == "DA":
            found = {_of_dates(value, wanted) for value in values}
        elif vr != "UI" and any(set(value) & set("*?") for value in values):
            return Certainty.MAYBE
        else:
            matched = (matcher.matches({tag: {"vr": vr, "Value": [value]}}) for value in values)
            found = {Certainty.YES if one else Certainty.NO for one in matched}
        return found.pop() if len(found) == 1 else Certainty.MAYBE


def _values(instance: Instance, keyword: str, vr: str) -> list[str]:
    if keyword == "SOPClassUID":
        return [instance.sop_class_uid]
    return text_of(instance.leading, keyword, vr, instance.default_character_set).split("\\")


def _matcher(tag: str, vr: str, values: Sequence[str]) -> Matcher:
    return Matcher({tag: {"vr": vr, "Value": list(values)}})


def _of_dates(value: str, wanted: Sequence[str]) -> Certainty:
    """Compare a date or a range with those of a route."""
    asked = _dates(value)
    ranges: list[Any] = [_dates(one) for one in wanted]
    if asked is None or None in ranges:
        return Certainty.MAYBE
    first, last = asked
    if any(begin <= first and last <= end for begin, end in ranges):
        return Certainty.YES
    overlapping = any(begin <= last and first <= end for begin, end in ranges)
    return Certainty.MAYBE if overlapping else Certainty.NO


def _dates(value: str) -> tuple[str, str] | None:
    """Return both ends of a date or a range, None for what is neither."""
    match = _RANGE.match(value.strip())
    if match is None or not (match[1] or match[3]):
        return None
    if not match[2]:
        return match[1], match[1]
    return match[1] or _FIRST, match[3] or _LAST
