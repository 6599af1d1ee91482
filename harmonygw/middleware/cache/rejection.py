"""What a rejection note rejects: a Key Object Selection by which an archive withdraws instances (IHE RAD IOCM)."""

from typing import Any, Final

import orjson

from harmonygw.middleware.cache.entries import Entry
from harmonygw.middleware.cache.store import SeriesKey

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"

REJECTIONS: Final = frozenset({"113001", "113037", "113038", "113039"})
"""Document titles, codes of DCM (PS3.16 CID 7011): for quality, for patient safety, wrong worklist entry, expired."""


def rejected(entry: Entry) -> dict[SeriesKey, set[str]]:
    """Return the SOP Instance UIDs that an instance rejects, by their study and series; nothing unless it is a
    rejection note.

    None of a series is all of it: a note may be at odds with PS3.3 §C.17.2, which demands the instances.
    """
    layout = entry.file.layout
    if entry.sop_class_uid != KEY_OBJECT_SELECTION or layout is None:
        return {}
    note = orjson.loads(layout.metadata)
    titles = {(_text(item, "00080100"), _text(item, "00080102")) for item in _items(note, "0040A043")}
    if not any((code, "DCM") in titles for code in REJECTIONS):
        return {}
    found: dict[SeriesKey, set[str]] = {}
    for study in _items(note, "0040A375"):
        for series in _items(study, "00081115"):
            key = (_text(study, "0020000D"), _text(series, "0020000E"))
            uids = {_text(one, "00081155") for one in _items(series, "00081199")}
            found[key] = found.get(key, uids) | uids if uids and found.get(key, uids) else set()
    return found


def _items(data_set: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return [item for item in data_set.get(tag, {}).get("Value", ()) if isinstance(item, dict)]


def _text(data_set: dict[str, Any], tag: str) -> str:
    values = data_set.get(tag, {}).get("Value", ())
    return values[0] if values and isinstance(values[0], str) else ""
