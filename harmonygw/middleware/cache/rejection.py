"""What a rejection note rejects: a Key Object Selection by which an archive withdraws instances (IHE RAD IOCM)."""

from typing import Any, Final

import orjson

from harmonygw.middleware.cache.entries import Entry

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"

REJECTIONS: Final = frozenset({"113001", "113037", "113038", "113039"})
"""Document titles, codes of DCM (PS3.16 CID 7011): for quality, for patient safety, wrong worklist entry, expired."""


def rejected(entry: Entry) -> dict[str, set[str]]:
    """Return the SOP Instance UIDs that an instance rejects, by their series; nothing unless it is a rejection note."""
    layout = entry.file.layout
    if entry.sop_class_uid != KEY_OBJECT_SELECTION or layout is None:
        return {}
    note = orjson.loads(layout.metadata)
    titles = {(_text(item, "00080100"), _text(item, "00080102")) for item in _items(note, "0040A043")}
    if not any((code, "DCM") in titles for code in REJECTIONS):
        return {}
    found: dict[str, set[str]] = {}
    for study in _items(note, "0040A375"):
        if _text(study, "0020000D") == entry.study_instance_uid:
            for series in _items(study, "00081115"):
                uids = (_text(one, "00081155") for one in _items(series, "00081199"))
                found.setdefault(_text(series, "0020000E"), set()).update(uids)
    return found


def _items(data_set: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return [item for item in data_set.get(tag, {}).get("Value", ()) if isinstance(item, dict)]


def _text(data_set: dict[str, Any], tag: str) -> str:
    values = data_set.get(tag, {}).get("Value", ())
    return values[0] if values and isinstance(values[0], str) else ""
