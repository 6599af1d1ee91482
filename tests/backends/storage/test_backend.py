import errno
import os
import sqlite3
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.dicom.dataset.patient import Patient
from harmonygw.errors import (
    BadRequest,
    Busy,
    ConfigurationError,
    NotFound,
    PeerError,
    TransportError,
)
from harmonygw.exchange import AssociationOrigin, Request
from harmonygw.operations import Echo, Level, Retrieve, Store
from harmonygw.streams import Feed, Pieces
from tests.backends.storage.objects import (
    CT,
    EXPLICIT,
    ct,
    data_set,
    encoded,
    files_below,
    instance,
    pieces_of,
    request,
    respond,
    retrieve,
    running,
    search,
    statuses,
    storage,
    store,
    stream_of,
    study,
    until,
    values,
)
from tests.dicom.dataset.encoded import element

STORED = 0x0000


@ensureDeferred
async def test_what_is_stored_comes_back_byte_for_byte_even_after_a_restart(tmp_path: Path) -> None:
    content = data_set()
    backend = storage(tmp_path)
    await backend.start()
    [result] = await store(backend, instance(content))
    await backend.stop()
    again = storage(tmp_path)
    await again.start()
    [(one, data)] = await retrieve(again, study())
    await again.stop()

    assert (result.sop_class_uid, result.sop_instance_uid, result.status) == (CT, "1.2.3.4", STORED)
    assert data == encoded(content)
    assert (one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid) == (CT, "1.2.3.4", EXPLICIT)
    assert (one.study_instance_uid, one.series_instance_uid, one.source_ae_title) == (
        "1.2",
        "1.2.3",
        "MODALITY",
    )
    assert one.leading["PatientID"] == "P1"


@ensureDeferred
async def test_a_file_is_a_part_10_file_that_says_who_sent_it(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        await store(backend, ct())
    [name] = files_below(tmp_path)
    file = dcmread(tmp_path / name)

    assert file.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert file.file_meta.TransferSyntaxUID == EXPLICIT
    assert file.file_meta.SendingApplicationEntityTitle == "MODALITY"
    assert file.PatientName == "Doe^Jane"


@ensureDeferred
async def test_an_echo_is_answered_with_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        assert (await respond(backend, Echo())).result is None


@ensureDeferred
async def test_its_name_is_what_a_client_and_the_log_hear_and_not_its_folder(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        request = Request(AssociationOrigin("MODALITY", "GATEWAY"), "192.0.2.1", "c1", operation=Echo())
        await backend.respond(request)
        assert request.record.target == backend._name
        assert str(tmp_path) not in request.record.target


@ensureDeferred
async def test_a_request_without_an_operation_is_a_bad_one(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        with pytest.raises(BadRequest, match="bridge"):
            await respond(backend, None)


@ensureDeferred
async def test_it_is_busy_before_start_and_after_stop_and_says_so_in_its_state(tmp_path: Path) -> None:
    backend = storage(tmp_path)
    with pytest.raises(Busy):
        await respond(backend, Echo())
    states = [backend.state()]
    await backend.start()
    states.append(backend.state())
    await backend.stop()
    states.append(backend.state())
    with pytest.raises(Busy):
        await respond(backend, Echo())

    assert [state["ready"] for state in states] == [False, True, False]
    assert states[0]["target"] == str(tmp_path)


@ensureDeferred
async def test_whoever_asks_learns_its_name_and_not_where_it_lies(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        asked = request(Echo())
        await backend.respond(asked)
        assert asked.record.target == "archive"


@ensureDeferred
async def test_leading_attributes_are_as_in_an_object_whatever_the_letters(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        await store(backend, instance(data_set(PatientID="Łódź-1", SpecificCharacterSet="ISO_IR 192")))
        [(one, _)] = await retrieve(backend, study())
        assert Patient.of_instance(one.leading, one.default_character_set) == Patient("Łódź-1")


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
async def test_a_root_that_is_a_file_is_a_configuration_error_and_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("not a folder")
    backend = storage(tmp_path / "root")
    before = threading.active_count()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await backend.start()
    await backend.stop()

    assert threading.active_count() <= before + 1
    assert backend.state()["ready"] is False


@ensureDeferred
async def test_a_stop_right_after_the_start_wins_and_leaves_nothing(tmp_path: Path) -> None:
    backend = storage(tmp_path)
    starting = backend.start()
    await backend.stop()
    with pytest.raises(TransportError, match="being opened"):
        await starting

    assert backend.state()["ready"] is False
    assert list((tmp_path / ".harmonygw" / "incoming").iterdir()) == []


# Store


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


LARGE = data_set(PixelData=bytes(1_000_000))


def arriving_slowly(**options: Any) -> Feed[Pieces]:
    """A large data set of which 300,000 bytes have arrived."""
    feed: Feed[Pieces] = Feed(limit=1 << 30, **options)
    feed.put((encoded(LARGE)[:300_000],))
    return feed


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


@ensureDeferred
async def test_stop_cuts_off_what_still_runs(tmp_path: Path) -> None:
    backend = storage(tmp_path)
    await backend.start()
    await store(backend, ct(), ct(SOPInstanceUID="1.2.3.5", InstanceNumber=2))
    storing = await respond(backend, Store(stream_of([instance(LARGE, data_set=arriving_slowly())])))
    await until(lambda: len(files_below(tmp_path)) == 3)
    reading = await respond(backend, study())
    await reading.result.__anext__()
    await backend.stop()

    with pytest.raises(TransportError, match="closed"):
        await storing.result.__anext__()
    second = await reading.result.__anext__()
    with pytest.raises(TransportError, match="closed"):
        await second.data_set.__anext__()
    with pytest.raises(TransportError, match="closed"):
        await reading.result.__anext__()
    assert len(files_below(tmp_path)) == 2
    assert list((tmp_path / ".harmonygw" / "incoming").iterdir()) == []


# Concurrency


@ensureDeferred
async def test_store_and_find_go_on_side_by_side(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        storing = [
            Deferred.fromCoroutine(statuses(backend, *(ct(SOPInstanceUID=f"1.{s}.{n}") for n in range(10))))
            for s in range(3)
        ]
        seen = [len(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None))) for _ in range(5)]
        results = [await one for one in storing]
        total = len(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None)))

    assert results == [[STORED] * 10] * 3
    assert seen == sorted(seen)
    assert total == 30


@ensureDeferred
async def test_two_backends_share_a_root_and_spare_each_others_arrivals(tmp_path: Path) -> None:
    old = storage(tmp_path)
    await old.start()
    whole = encoded(LARGE)
    arriving = arriving_slowly()
    reply = await respond(old, Store(stream_of([instance(LARGE, data_set=arriving)])))
    await until(lambda: files_below(tmp_path) != [])
    async with running(tmp_path) as new:
        arriving.put((whole[300_000:],))
        arriving.end()
        assert [result.status async for result in reply.result] == [STORED]
        assert [data for _, data in await retrieve(new, study())] == [whole]
    await old.stop()


@ensureDeferred
async def test_a_broken_index_is_a_transport_error(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        await store(backend, ct())
        index = sqlite3.connect(tmp_path / ".harmonygw" / "index.sqlite3")
        index.execute("DROP TABLE instance")
        index.close()
        with pytest.raises(TransportError, match="index"):
            await respond(backend, study())
