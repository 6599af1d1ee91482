import os
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.errors import Conflict, Incomplete, NotFound
from harmonygw.operations import Level, Retrieve
from tests.backends.storage.objects import (
    EXPLICIT,
    IMPLICIT,
    ct,
    data_set,
    encoded,
    instance,
    respond,
    retrieve,
    running,
    search,
    store,
    study,
    until,
    values,
)


@ensureDeferred
async def test_instances_come_by_series_number_and_instance_number(tmp_path: Path) -> None:
    def image(series: int, number: int | None) -> Any:
        return ct(
            SOPInstanceUID=f"1.2.{series}.{number or 99}",
            SeriesInstanceUID=f"1.2.{series}",
            SeriesNumber=series,
            InstanceNumber=number,
        )

    async with running(tmp_path) as backend:
        await store(backend, image(2, 1), image(1, None), image(1, 10), image(1, 9), image(2, 2))
        order = [one.sop_instance_uid for one, _ in await retrieve(backend, study())]
        series = await retrieve(backend, Retrieve(Level.SERIES, "1.2", "1.2.2"))
        images = await retrieve(backend, Retrieve(Level.IMAGE, "1.2", "1.2.1", ("1.2.1.10", "1.2.1.9", "1.9")))

    assert order == ["1.2.1.9", "1.2.1.10", "1.2.1.99", "1.2.2.1", "1.2.2.2"]
    assert [one.sop_instance_uid for one, _ in series] == ["1.2.2.1", "1.2.2.2"]
    assert [one.sop_instance_uid for one, _ in images] == ["1.2.1.9", "1.2.1.10"]


@ensureDeferred
@pytest.mark.parametrize(
    "operation",
    [
        study("1.9"),
        study(patient_id="P2"),
        Retrieve(Level.SERIES, "1.2", "1.9"),
        Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.9",)),
        Retrieve(Level.IMAGE, "1.2", "1.2.3"),
    ],
)
async def test_what_is_not_there_is_not_found(tmp_path: Path, operation: Retrieve) -> None:
    async with running(tmp_path) as backend:
        await store(backend, ct())
        with pytest.raises(NotFound):
            await respond(backend, operation)


@ensureDeferred
async def test_one_study_uid_of_two_patients_is_never_merged(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        await store(backend, ct(), ct(SOPInstanceUID="1.5", PatientID="P2", PatientName="Roe^Richard"))
        matches = await search(backend, Level.STUDY, PatientID=("LO", None), PatientName=("PN", None))
        with pytest.raises(Conflict):
            await respond(backend, study())
        [(one, _)] = await retrieve(backend, study(patient_id="P2"))

    assert values(matches, "PatientID") == ["P1", "P2"]
    assert values(matches, "PatientName") == [{"Alphabetic": "Doe^Jane"}, {"Alphabetic": "Roe^Richard"}]
    assert one.sop_instance_uid == "1.5"


@ensureDeferred
async def test_a_large_object_comes_in_pieces_of_a_bounded_size(tmp_path: Path) -> None:
    content = data_set(PixelData=os.urandom(600_000))
    async with running(tmp_path) as backend:
        await store(backend, instance(content))
        reply = await respond(backend, study())
        one = await reply.result.__anext__()
        pieces = [piece async for group in one.data_set for piece in group]
        await reply.result.aclose()

    assert [len(piece) for piece in pieces[:-1]] == [262144, 262144]
    assert b"".join(pieces) == encoded(content)


@ensureDeferred
async def test_taking_the_next_instance_discards_the_rest_of_the_one_before(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        big = os.urandom(3_000_000)
        await store(backend, *(ct(SOPInstanceUID=f"1.{n}", InstanceNumber=n, PixelData=big) for n in (1, 2)))
        reply = await respond(backend, study())
        first = await reply.result.__anext__()
        await first.data_set.__anext__()
        second = await reply.result.__anext__()
        with pytest.raises(Exception, match="gave the stream up"):
            await first.data_set.__anext__()
        assert sum([len(piece) async for group in second.data_set for piece in group]) > len(big)
        await reply.result.aclose()
        await until(lambda: open_files_below(tmp_path, ".dcm") == [])


@ensureDeferred
async def test_native_objects_are_converted_to_what_is_acceptable(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        await store(backend, ct(), instance(data_set(SOPInstanceUID="1.2.3.5", InstanceNumber=2), IMPLICIT))
        implicit = await retrieve(backend, study(transfer_syntaxes=(IMPLICIT,)))
        explicit = await retrieve(backend, study(transfer_syntaxes=("1.2.840.10008.1.2.4.90", EXPLICIT)))
        stored = await retrieve(backend, study(transfer_syntaxes=("1.2.840.10008.1.2.4.90",)))

    assert [one.transfer_syntax_uid for one, _ in implicit] == [IMPLICIT, IMPLICIT]
    assert [one.transfer_syntax_uid for one, _ in explicit] == [EXPLICIT, EXPLICIT]
    assert [one.transfer_syntax_uid for one, _ in stored] == [EXPLICIT, IMPLICIT]
    assert implicit[0][1] == encoded(data_set(), IMPLICIT)
    assert explicit[1][1] == encoded(data_set(SOPInstanceUID="1.2.3.5", InstanceNumber=2))


@ensureDeferred
@pytest.mark.parametrize("damage", ["missing", "short", "long", "changed"])
async def test_a_missing_or_damaged_file_fails_its_instance_and_not_the_others(tmp_path: Path, damage: str) -> None:
    async with running(tmp_path, write_pattern="{InstanceNumber}.dcm") as backend:
        await store(backend, *(ct(SOPInstanceUID=f"1.{n}", InstanceNumber=n) for n in (1, 2)))
        file = tmp_path / "1.dcm"
        content = file.read_bytes()
        match damage:
            case "missing":
                file.unlink()
            case "short":
                file.write_bytes(content[:-1])
            case "long":
                file.write_bytes(content + b"\0")
            case "changed":
                file.write_bytes(content[:-1] + b"\xff")
        reply = await respond(backend, study())
        first = await reply.result.__anext__()
        with pytest.raises(Incomplete, match=r"1\.1 is missing or damaged"):
            [piece async for piece in first.data_set]
        second = await reply.result.__anext__()
        data = b"".join([bytes(piece) async for group in second.data_set for piece in group])
        with pytest.raises(StopAsyncIteration):
            await reply.result.__anext__()

    assert data == encoded(data_set(SOPInstanceUID="1.2", InstanceNumber=2))


@ensureDeferred
async def test_more_instances_than_a_batch_come_once_each(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        await store(backend, *(ct(SOPInstanceUID=f"1.{n}", InstanceNumber=1) for n in range(130)))
        retrieved = [one.sop_instance_uid for one, _ in await retrieve(backend, study())]

    assert sorted(retrieved) == sorted(f"1.{n}" for n in range(130))


def open_files_below(root: Path, suffix: str) -> list[str]:
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(str(root)) and link.endswith(suffix)]
