"""SpecificCharacterSet (0008,0005) of what leaves here: the text is UTF-8, whatever it came in (PS3.18 §F.2.2)."""

from typing import Any

from harmonygw.dicom.web.attributes import SPECIFIC_CHARACTER_SET


def state_utf8(data_set: dict[str, Any]) -> dict[str, Any]:
    """Return the data set, changed to say ISO_IR 192 wherever it, or an item in it, names a character set."""
    for tag, element in data_set.items():
        if element["vr"] == "SQ":
            for item in element.get("Value", ()):
                state_utf8(item)
        elif tag == SPECIFIC_CHARACTER_SET:
            data_set[tag] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return data_set
