"""A Store into the archive: what is filed and how, what is refused, and what a failure leaves."""

import errno
import os
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.errors import NotFound, PeerError, TransportError
from harmonygw.operations import Level, Retrieve, Store
from harmonygw.streams import Feed, Pieces
from tests.backends.storage.objects import (
    LARGE,
    STORED,
    arriving_slowly,
    ct,
    data_set,
    encoded,
    files_below,
    instance,
    pieces_of,
    respond,
    retrieve,
    running,
    search,
    statuses,
    store,
    stream_of,
    study,
    until,
    values,
)
from tests.dicom.dataset.encoded import element


@pytest.mark.parametrize(
    ("again", "status"),
    [
        (b"", STORED),
        (element(0x00100020, "LO", b"P2"), 0xA900),
        (element(0x0020000D, "UI", b"1.9\0"), 0xA900),
        (element(0x0020000E, "UI", b"1.9\0"), 0xA900),
        (element(0x00100020, "LO", b"P1"), STORED),
    ],
)
@ensureDeferred
async def test_what_says_further_on_that_it_is_somebody_elses_is_not_filed(
    tmp_path: Path, again: bytes, status: int
) -> None:
    told = {"study_instance_uid": "1.2", "series_instance_uid": "1.2.3", "leading": {"PatientID": "P1"}}
    content = data_set()
    async with running(tmp_path) as backend:
        sent = instance(content, data_set=pieces_of((encoded(content), again)), **told)
        assert await statuses(backend, sent) == [status]
        assert len(files_below(tmp_path)) == (status == STORED)


@ensureDeferred
async def test_results_come_in_the_order_of_the_instances(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        results = await store(backend, *(ct(SOPInstanceUID=f"1.2.3.{n}") for n in range(5)))

    assert [result.sop_instance_uid for result in results] == [f"1.2.3.{n}" for n in range(5)]


@ensureDeferred
@pytest.mark.parametrize(
    ("identity", "part"),
    [
        ({"sop_instance_uid": "1.9"}, "SOP Instance UID"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}, "SOP Class UID"),
    ],
)
async def test_an_instance_that_is_not_what_the_command_says_is_refused(
    tmp_path: Path, identity: dict[str, str], part: str
) -> None:
    async with running(tmp_path) as backend:
        wrong, right = await store(backend, instance(data_set(), **identity), ct())

    assert wrong.status == 0xA900
    assert part in wrong.detail
    assert right.status == STORED
    assert len(files_below(tmp_path)) == 1


@ensureDeferred
@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID"])
async def test_an_instance_without_study_or_series_is_refused(tmp_path: Path, missing: str) -> None:
    async with running(tmp_path) as backend:
        assert await statuses(backend, ct(**{missing: None})) == [0xA900]
    assert files_below(tmp_path) == []


@ensureDeferred
@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2\0.3", "1" * 65, "1.2.3 4", "a\\b", ""])
async def test_a_hostile_sop_instance_uid_is_refused(tmp_path: Path, uid: str) -> None:
    async with running(tmp_path) as backend:
        assert await statuses(backend, instance(data_set(), sop_instance_uid=uid)) == [0x0117]
    assert files_below(tmp_path) == []


@ensureDeferred
async def test_a_data_set_that_breaks_off_leaves_nothing_and_the_others_go_on(tmp_path: Path) -> None:
    whole = encoded(data_set())
    broken = [
        instance(data_set(), data_set=pieces_of((whole[:100],), error=TransportError("the connection was lost"))),
        instance(data_set(), data_set=pieces_of((whole[:-3],))),
        instance(data_set(), data_set=pieces_of((whole[:100],), error=PeerError("nonsense"))),
        instance(data_set(), data_set=pieces_of()),
    ]
    async with running(tmp_path) as backend:
        results = await statuses(backend, *broken, ct(SOPInstanceUID="1.2.3.5"))
        found = values(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None)), "SOPInstanceUID")

    assert results[0] == 0x0110
    assert results[1:3] == [0xC000, 0xC000]
    assert results[3] == 0xA900
    assert results[4] == STORED
    assert found == ["1.2.3.5"]
    assert len(files_below(tmp_path)) == 1


@ensureDeferred
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_a_disk_that_does_not_take_an_instance_costs_that_instance_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    write, marked = os.write, b"X" * 100_000

    def limited(descriptor: int, data: Any) -> int:
        if len(data) == len(marked):
            raise OSError(code, os.strerror(code))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", limited)
    content = data_set(SOPInstanceUID="1.2.3.5", PixelData=marked)
    head = encoded(content)[: -len(marked)]
    async with running(tmp_path) as backend:
        results = await store(
            backend, ct(), instance(content, data_set=pieces_of((head, marked))), ct(SOPInstanceUID="1.2.3.6")
        )
        assert [result.status for result in results] == [STORED, 0xA700, STORED]
        assert len(files_below(tmp_path)) == 2
        found = values(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None)), "SOPInstanceUID")
        assert found == ["1.2.3.4", "1.2.3.6"]


@ensureDeferred
async def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:7])))
    async with running(tmp_path) as backend:
        await store(backend, ct())
        [(_, data)] = await retrieve(backend, study())

    assert data == encoded(data_set())


@ensureDeferred
async def test_a_file_is_not_indexed_when_it_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "no")

    async with running(tmp_path) as backend:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            assert await statuses(backend, ct()) == [0xA700]
        with pytest.raises(NotFound):
            await respond(backend, study())
    assert files_below(tmp_path) == []


@ensureDeferred
async def test_an_instance_sent_again_replaces_the_one_before(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        await store(backend, ct(), ct(Rows=4, PatientName="Doe^Janet"))
        [(_, data)] = await retrieve(backend, study())
        names = values(await search(backend, Level.STUDY, PatientName=("PN", None)), "PatientName")

    assert data == encoded(data_set(Rows=4, PatientName="Doe^Janet"))
    assert names == [{"Alphabetic": "Doe^Janet"}]
    assert len(files_below(tmp_path)) == 1


@pytest.mark.parametrize("piece", [7, 1 << 20])
@ensureDeferred
async def test_the_same_instance_sent_again_changes_nothing(tmp_path: Path, piece: int) -> None:
    async with running(tmp_path, write_pattern="{uuid}.dcm") as backend:
        await store(backend, ct())
        before = files_below(tmp_path)
        whole = encoded(data_set())
        pieces = [(whole[start : start + piece],) for start in range(0, len(whole), piece)]
        [result] = await store(backend, instance(data_set(), data_set=pieces_of(*pieces)))
        assert result.status == STORED
        assert files_below(tmp_path) == before
        assert len(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None))) == 1


@ensureDeferred
async def test_the_same_instance_sent_again_mends_one_that_is_damaged(tmp_path: Path) -> None:
    async with running(tmp_path, write_pattern="{uuid}.dcm") as backend:
        for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!")):
            await store(backend, ct())
            [name] = files_below(tmp_path)
            damage(tmp_path / name)
            await store(backend, ct())
            [(_, data)] = await retrieve(backend, study())
            assert data == encoded(data_set())
            assert len(files_below(tmp_path)) == 1


@ensureDeferred
async def test_a_checksum_alone_does_not_make_two_instances_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zlib, "crc32", lambda data, start=0: 7)
    async with running(tmp_path) as backend:
        await store(backend, ct(), ct(PatientName="Doe^Jean"))
        [(_, data)] = await retrieve(backend, study())
    assert data == encoded(data_set(PatientName="Doe^Jean"))


@pytest.mark.parametrize(
    "changes",
    [
        {"PatientID": "P2"},
        {"IssuerOfPatientID": "ELSEWHERE"},
        {"StudyInstanceUID": "1.9"},
        {"PatientID": None},
    ],
)
@ensureDeferred
async def test_an_instance_never_takes_the_place_of_one_of_another_patient_or_study(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    async with running(tmp_path) as backend:
        results = await store(backend, ct(), ct(Rows=4, **changes))
        assert [result.status for result in results] == [STORED, 0x0111]
        assert "another study or of another patient" in results[1].detail
        [(_, data)] = await retrieve(backend, study())
        assert data == encoded(data_set())
        assert len(files_below(tmp_path)) == 1


@ensureDeferred
async def test_an_index_that_cannot_be_written_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(index: Any, entry: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with running(tmp_path, write_pattern="{PatientID}/{StudyInstanceUID}/{file}") as backend:
        with monkeypatch.context() as patch:
            patch.setattr("harmonygw.backends.storage.index.Index.add", refuse)
            assert await statuses(backend, ct()) == [0xA700]
        assert [path.name for path in tmp_path.iterdir()] == [".harmonygw"]
        assert await statuses(backend, ct()) == [STORED]


@ensureDeferred
async def test_a_write_pattern_names_files_and_values_cannot_climb_out(tmp_path: Path) -> None:
    async with running(tmp_path, write_pattern="{PatientID}/{Modality}/image.dcm") as backend:
        await store(
            backend,
            ct(),
            ct(SOPInstanceUID="1.5", PatientID="../../../var/x"),
            ct(SOPInstanceUID="1.6", PatientID=""),
        )
        assert len(await retrieve(backend, Retrieve(Level.STUDY, "1.2", patient_id="P1"))) == 1

    assert files_below(tmp_path) == [
        "P1/CT/image.dcm",
        "_.._.._var_x/CT/image.dcm",
        "_/CT/image.dcm",
    ]


@ensureDeferred
async def test_two_instances_of_one_name_do_not_overwrite_each_other_or_what_lies_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "CT.dcm").write_text("someone's notes")
    async with running(tmp_path, write_pattern="{Modality}.dcm") as backend:
        await store(backend, ct(), ct(SOPInstanceUID="1.5"))
        retrieved = [one.sop_instance_uid for one, _ in await retrieve(backend, study())]

    assert retrieved == ["1.2.3.4", "1.5"]
    assert (tmp_path / "CT.dcm").read_text() == "someone's notes"
    assert len(files_below(tmp_path)) == 3


@ensureDeferred
async def test_storing_waits_for_the_disk_before_it_asks_for_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    class Logged(Feed[Pieces]):
        async def __anext__(self) -> Pieces:
            log.append("asked")
            return await super().__anext__()

    feed = Logged(limit=1 << 30)
    whole = memoryview(encoded(LARGE))
    for start in range(0, len(whole), 200_000):
        feed.put((whole[start : start + 200_000],))
    feed.end()
    write = os.write

    def logged(descriptor: int, data: Any) -> int:
        # The reactor is woken up through a pipe, a byte at a time.
        if len(data) > 1:
            log.append(f"{len(data)}")
        return write(descriptor, data)

    async with running(tmp_path) as backend:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", logged)
            await store(backend, instance(LARGE, data_set=feed))

    assert log[:2] == ["asked", "asked"]
    assert int(log[2]) < 1000, "the file's header"
    assert log[3:7] == ["200000", "200000", "asked", "asked"]


@ensureDeferred
async def test_a_reader_that_gives_up_ends_the_store_and_leaves_no_file(tmp_path: Path) -> None:
    given_up: list[BaseException] = []
    arriving = arriving_slowly(on_abort=given_up.append)
    async with running(tmp_path) as backend:
        reply = await respond(backend, Store(stream_of([instance(LARGE, data_set=arriving)])))
        await until(lambda: files_below(tmp_path) != [])
        await reply.result.aclose()
        await until(lambda: files_below(tmp_path) == [] and given_up != [])

    assert len(given_up) == 1
