"""Which instance stands for a study or a series in its thumbnail."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from harmonygw.dicom.web.resources import Resource
from harmonygw.errors import NotFound
from harmonygw.exchange import Request
from harmonygw.middleware.dicomweb_bridge.checking import text
from harmonygw.middleware.dicomweb_bridge.inquiry import Inquiry
from harmonygw.middleware.dicomweb_bridge.retrieving import NOTHING
from harmonygw.operations import Find, Level
from harmonygw.pipeline import Proceed
from harmonygw.streams import Match

MAX_ROWS: Final = 5000
"""Rows of series or instances that are looked at."""

WITHOUT_PICTURES: Final = frozenset(
    {"SR", "KO", "PR", "DOC", "AU", "ECG", "HD", "EPS", "REG", "RTPLAN", "RTSTRUCT", "RTRECORD", "FID", "PLAN", "ANN"}
)
"""Modalities whose instances are no images: another series stands for the study, if there is one."""

_SERIES: Final = "0020000E"
_INSTANCE: Final = "00080018"
_INSTANCE_NUMBER: Final = "00200013"
_SERIES_NUMBER: Final = "00200011"
_MODALITY: Final = "00080060"


async def representative(request: Request, resource: Resource, proceed: Proceed) -> Resource:
    """Return the resource of an instance: the middle one of the series, the first series with pictures of the study.

    Raises `NotFound` when there is none, and what a Find raises.
    """
    if resource.instance:
        return resource
    series = resource.series
    if not series:
        rows = await _rows(request, proceed, Level.SERIES, {"0020000D": resource.study}, (_MODALITY, _SERIES_NUMBER))
        rows.sort(key=lambda row: (text(row, _MODALITY) in WITHOUT_PICTURES, _number(row, _SERIES_NUMBER)))
        series = _first(rows, 0, _SERIES)
    uids = {"0020000D": resource.study, _SERIES: series}
    rows = await _rows(request, proceed, Level.IMAGE, uids, (_INSTANCE_NUMBER,))
    rows.sort(key=lambda row: _number(row, _INSTANCE_NUMBER))
    return replace(resource, series=series, instance=_first(rows, len(rows) // 2, _INSTANCE))


async def _rows(
    request: Request, proceed: Proceed, level: Level, uids: dict[str, str], wanted: Sequence[str]
) -> list[Match]:
    keys = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
    vrs = {_MODALITY: "CS"}
    find = Find(level, keys, {tag: {"vr": vrs.get(tag, "IS")} for tag in wanted})
    rows: list[Match] = []
    async with aclosing(Inquiry(request, proceed).matches(find)) as matches:
        async for match in matches:
            rows.append(match)
            if len(rows) == MAX_ROWS:
                break
    return rows


def _first(rows: Sequence[Match], index: int, tag: str) -> str:
    uid = text(rows[index], tag) if rows else ""
    if not uid:
        raise NotFound(NOTHING)
    return uid


def _number(row: Match, tag: str) -> float:
    values: Any = row.get(tag, {}).get("Value", ())
    try:
        return float(values[0])
    except (IndexError, TypeError, ValueError):
        return float("inf")
