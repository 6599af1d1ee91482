"""The archive as a backend: its life, its name, and who uses it at the same time."""

import sqlite3
import threading
from pathlib import Path

import pytest
from pydicom import dcmread
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.dicom.dataset.patient import Patient
from harmonygw.errors import BadRequest, Busy, ConfigurationError, TransportError
from harmonygw.exchange import AssociationOrigin, Request
from harmonygw.operations import Echo, Level, Store
from tests.backends.storage.objects import (
    CT,
    EXPLICIT,
    LARGE,
    STORED,
    arriving_slowly,
    ct,
    data_set,
    encoded,
    files_below,
    instance,
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
)


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
