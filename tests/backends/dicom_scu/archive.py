"""An archive that answers queries from a table, and notes what it was asked."""

from typing import Any

from harmonygw.operations import Find, Level
from harmonygw.streams import Match


def row(**values: Any) -> Match:
    """A row in the DICOM JSON model: `_0020000D="1.2"`."""
    return {
        tag[1:]: {"vr": "??", "Value": value if isinstance(value, list) else [value]} for tag, value in values.items()
    }


def study(uid: str = "1.2", patient: str = "P1", **more: Any) -> Match:
    return row(_0020000D=uid, _00100020=patient, **more)


def series(uid: str = "1.2.3", modality: str = "CT", **more: Any) -> Match:
    return row(_0020000E=uid, _00080060=modality, **more)


def instance(uid: str, sop_class: str = "1.2.840.10008.5.1.4.1.1.2", **more: Any) -> Match:
    return row(_00080018=uid, _00080016=sop_class, **more)


class Archive:
    """Answers by level; IMAGE level by series when the answer is a dictionary."""

    def __init__(self, studies: list[Match], series_: list[Match], instances: Any = ()) -> None:
        self.answers: dict[Level, Any] = {Level.STUDY: studies, Level.SERIES: series_, Level.IMAGE: instances}
        self.asked: list[Find] = []

    async def search(self, find: Find) -> list[Match]:
        self.asked.append(find)
        answer = self.answers[find.level]
        if isinstance(answer, dict):
            answer = answer.get(find.keys["0020000E"]["Value"][0], ())
        wanted = find.keys.get("00080018", {}).get("Value")
        return [one for one in answer if wanted is None or one["00080018"]["Value"][0] in wanted]
