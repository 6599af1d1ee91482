"""Rejection notes: what they reject leaves the cache (IHE RAD IOCM)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.middleware.cache.rejection import KEY_OBJECT_SELECTION
from harmonygw.operations import Level, Retrieve
from tests.middleware.cache.archive import SERIES, STUDY, Archive, House, Item, image, items, series, until

FIRST, SECOND = f"{SERIES}.1", f"{SERIES}.2"


def sequence(*items: dict[str, Any]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def note(code: str, *uids: str, scheme: str = "DCM", study: str = STUDY, **others: Any) -> Item:
    """A Key Object Selection that names instances."""
    more = {
        "0040A043": sequence({"00080100": {"vr": "SH", "Value": [code]}, "00080102": {"vr": "SH", "Value": [scheme]}}),
        "0040A375": sequence(
            {
                "0020000D": {"vr": "UI", "Value": [study]},
                "00081115": sequence(
                    {
                        "0020000E": {"vr": "UI", "Value": [SERIES]},
                        "00081199": sequence(*({"00081155": {"vr": "UI", "Value": [uid]}} for uid in uids)),
                    }
                ),
            }
        ),
    }
    return Item("1.2.9.1", series="1.2.9", sop_class=KEY_OBJECT_SELECTION, more={**more, **others})


async def sent_again_after(house: House, one: Item) -> list[str]:
    """What of a cached series is fetched again once a note has come into the cache."""
    archive = house.archive
    await house.filled()
    archive.items.append(one)
    archive.counts = True
    await house.filled(Retrieve(Level.SERIES, one.study, one.series))
    archive.sent.clear()
    assert len(await house.ask(series())) == 3
    await until(lambda: not house.state["under_way"])
    return archive.sent


class Steady(Archive):
    """An archive whose word on the study does not change when a note comes."""

    def _row(self, item: Item, level: Any) -> Any:
        row = super()._row(item, level)
        for tag in ("00201208", "00201206"):
            if tag in row:
                row[tag] = {"vr": "IS", "Value": [3]}
        return row


@pytest.mark.parametrize("code", ["113001", "113037", "113038", "113039"])
@ensureDeferred
async def test_what_a_note_rejects_is_purged(tmp_path: Path, code: str) -> None:
    async with House(tmp_path, Steady(items(3))) as house:
        assert await sent_again_after(house, note(code, FIRST, SECOND, "1.2.3.99")) == [FIRST, SECOND]


@ensureDeferred
async def test_a_note_in_another_study_counts_too(tmp_path: Path) -> None:
    async with House(tmp_path, Steady(items(3))) as house:
        elsewhere = replace(note("113037", FIRST), uid="1.8.9.1", series="1.8.9", study="1.8")
        assert await sent_again_after(house, elsewhere) == [FIRST]


@pytest.mark.parametrize("named", [((),), ((), (FIRST,)), ((FIRST,), ())])
@ensureDeferred
async def test_a_series_without_its_instances_is_rejected_whole(tmp_path: Path, named: tuple[tuple[str, ...]]) -> None:
    evidence = [item for uids in named for item in note("113039", *uids).more["0040A375"]["Value"]]
    async with House(tmp_path, Steady(items(3))) as house:
        one = note("113039", **{"0040A375": sequence(*evidence)})
        assert len(await sent_again_after(house, one)) == 3


@pytest.mark.parametrize(
    "other",
    [
        note("113000", FIRST),
        note("113001", FIRST, scheme="99LOCAL"),
        note("113001", FIRST, study="1.9"),
        note("113001", FIRST, **{"0040A375": {"vr": "SQ"}}),
        note("113001", FIRST, **{"0040A043": sequence({})}),
        Item("1.2.9.1", series="1.2.9"),
        Item("1.2.9.1", series="1.2.9", sop_class=KEY_OBJECT_SELECTION, raw=b"\x08\x00\x16\x00UI\xff\x00no"),
    ],
    ids=["of interest", "another scheme", "another study", "no evidence", "no code", "no note", "malformed"],
)
@ensureDeferred
async def test_nothing_is_purged_by_anything_else(tmp_path: Path, other: Item) -> None:
    async with House(tmp_path, Steady(items(3))) as house:
        assert await sent_again_after(house, other) == []


@ensureDeferred
async def test_a_malformed_instance_is_to_be_had_whole_and_has_no_layout(tmp_path: Path) -> None:
    raw = b"\x08\x00\x16\x00UI\xff\x00no"
    archive = Archive([Item(FIRST, raw=raw)])
    async with House(tmp_path, archive) as house:
        for _ in range(2):
            assert await house.ask(series()) == {FIRST: raw}
            [one] = [one async for one in (await house.reply(image(FIRST))).result]
            assert one.file is not None
            assert one.file.layout is None
            await until(lambda: not house.state["under_way"])
        assert len(archive.retrieved) == 1
