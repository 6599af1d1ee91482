"""Store against an archive that fails in every way it can, and clients that do."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.errors import (
    BadRequest,
    Busy,
    HarmonyError,
    Incomplete,
    NotAcceptable,
    PeerError,
    RequestTimedOut,
    TimedOut,
    TooLarge,
    TransportError,
    UnsupportedMediaType,
)
from harmonygw.middleware.dicomweb_bridge import storing_metadata, storing_report
from harmonygw.operations import Store, StoreResult
from harmonygw.streams import Body, Cancelled, Instance
from tests.interop.embedded import CT, encoded, image
from tests.interop.stow import BOUNDARY, MULTIPART, related
from tests.middleware.dicomweb_bridge.stores import Archive, Coming, bridge, content_of, file_of, files, multipart

FILES = files(3)
BODY = multipart(*FILES)


# What the archive says


@ensureDeferred
async def test_statuses_of_the_archive_are_passed_on(tmp_path: Path) -> None:
    async with bridge(tmp_path, Archive([0xA700, 0xB000, 0x0122])) as one:
        status, module = await one.module(BODY)
    assert (status, module.stored, module.failed) == (202, ["1.2.3.2"], {"1.2.3.1": 0xA700, "1.2.3.3": 0x0122})
    assert module.document["00081199"]["Value"][0]["00081196"]["Value"] == [0xB000]


@pytest.mark.parametrize(("answers", "status"), [([], 200), ([0xB007], 202), ([0xA700, 0xC000, 0x0110], 409)])
@ensureDeferred
async def test_the_status_says_whether_all_some_or_none_are_stored(
    tmp_path: Path, answers: list[Any], status: int
) -> None:
    async with bridge(tmp_path, Archive(answers)) as one:
        got, _ = await one.module(BODY)
    assert got == status


@pytest.mark.parametrize("error", [TransportError("refused"), TimedOut("slow"), Busy("full")])
@ensureDeferred
async def test_an_archive_that_is_down_is_said_to_be(tmp_path: Path, error: HarmonyError) -> None:
    for archive in (Archive(down=error), Archive([error]), Archive([0xA700, error])):
        async with bridge(tmp_path, archive) as one:
            with pytest.raises(type(error)) as caught:
                await one.store(BODY)
            assert caught.value is error


@ensureDeferred
async def test_an_archive_that_gives_up_midway_leaves_the_rest_reported_as_failed(tmp_path: Path) -> None:
    parts = [*FILES, b"no file", file_of(image(9, study="1.9"))]
    async with bridge(tmp_path, Archive([0, TransportError("gone")])) as one:
        status, module = await one.module(multipart(*parts), path="studies/1.2")
        assert one.request is not None
        notes = one.request.record.notes
    assert (status, module.stored) == (202, ["1.2.3.1"])
    assert module.failed == {"1.2.3.2": 0x0110, "1.2.3.3": 0x0110, "1.2.3.9": 0xA901}
    assert module.other == [0xC000]
    assert "the archive gave up: gone" in notes


@ensureDeferred
async def test_an_archive_that_ends_early_has_not_stored_the_rest(tmp_path: Path) -> None:
    async with bridge(tmp_path, Archive(ends_after=1)) as one:
        status, module = await one.module(BODY)
    assert (status, module.stored, module.failed) == (202, ["1.2.3.1"], {"1.2.3.2": 0x0110, "1.2.3.3": 0x0110})


class Careless(Archive):
    """Says that it has stored what it has not read."""

    async def result(self, instance: Instance) -> StoreResult:
        await instance.data_set.aclose()
        return StoreResult(instance.sop_class_uid, instance.sop_instance_uid, 0)


@ensureDeferred
async def test_what_was_not_read_to_its_end_is_not_stored(tmp_path: Path) -> None:
    async with bridge(tmp_path, Careless()) as one:
        status, module = await one.module(BODY)
    assert (status, module.failed) == (409, dict.fromkeys(["1.2.3.1", "1.2.3.2", "1.2.3.3"], 0x0110))


class Confused(Archive):
    """Answers for what it was not asked."""

    def __init__(self, *answers: str) -> None:
        super().__init__()
        self.uids = answers

    async def results(self, store: Store) -> AsyncGenerator[StoreResult, None]:
        async for instance in store.instances:
            async for _ in instance.data_set:
                pass
            break
        for uid in self.uids:
            yield StoreResult(CT, uid, 0)


@pytest.mark.parametrize(
    ("uids", "what"), [(["1.2.3.2"], "in another order"), (["1.2.3.1", "1.2.3.1"], "was not given")]
)
@ensureDeferred
async def test_an_archive_that_answers_for_something_else_is_in_error(
    tmp_path: Path, uids: list[str], what: str
) -> None:
    async with bridge(tmp_path, Confused(*uids)) as one:
        if len(uids) == 1:
            with pytest.raises(PeerError, match=what):
                await one.store(BODY)
        else:
            status, module = await one.module(BODY)
            assert (status, module.stored) == (202, ["1.2.3.1"])
            assert module.failed == {"1.2.3.2": 0x0110, "1.2.3.3": 0x0110}


class Ahead(Archive):
    """Answers when it has everything."""

    async def results(self, store: Store) -> AsyncGenerator[StoreResult, None]:
        for result in [await self.result(instance) async for instance in store.instances]:
            yield result


@ensureDeferred
async def test_answers_may_come_late_as_long_as_they_come_in_order(tmp_path: Path) -> None:
    async with bridge(tmp_path, Ahead()) as one:
        status, module = await one.module(multipart(FILES[0], FILES[1][:-1], FILES[2]))
    assert (status, module.stored, module.failed) == (202, ["1.2.3.1", "1.2.3.3"], {"1.2.3.2": 0xC000})


# What the client does


@ensureDeferred
async def test_instances_flow_while_the_request_arrives(tmp_path: Path) -> None:
    archive, coming = Archive(), Coming()
    async with bridge(tmp_path, archive) as one:
        reply = one.store(coming.body)
        begun = BODY.index(FILES[1])
        coming.send(BODY[:begun])
        assert archive.taken == {"1.2.3.1": encoded(image(1, PixelData=bytes(100)))}
        coming.send(BODY[begun : begun + len(FILES[1])])
        assert (archive.begun, list(archive.taken)) == (["1.2.3.1", "1.2.3.2"], ["1.2.3.1"])
        coming.send(BODY[begun + len(FILES[1]) :])
        coming.end()
        assert (await reply).status == 200


@ensureDeferred
async def test_the_end_of_an_instance_is_not_passed_on_before_the_request_says_that_it_is_the_end(
    tmp_path: Path,
) -> None:
    archive, coming = Archive(), Coming()
    async with bridge(tmp_path, archive) as one:
        reply = one.store(coming.body)
        coming.send(BODY[: BODY.index(FILES[0]) + len(FILES[0])])
        assert (archive.begun, archive.taken) == (["1.2.3.1"], {})
        coming.fail(TransportError("the client has gone away"))
        with pytest.raises(TransportError, match="gone away"):
            await reply
        assert archive.taken == {}


@ensureDeferred
async def test_a_single_file_ends_with_the_request(tmp_path: Path) -> None:
    archive, coming = Archive(), Coming()
    async with bridge(tmp_path, archive) as one:
        reply = one.store(coming.body, "application/dicom")
        coming.send(FILES[0])
        assert (archive.begun, archive.taken) == (["1.2.3.1"], {})
        coming.end()
        assert (await reply).status == 200


@pytest.mark.parametrize("size", [1, 100, 400, 10_000])
@pytest.mark.parametrize("content_type", ["application/dicom", MULTIPART])
@ensureDeferred
async def test_an_instance_may_come_in_any_pieces_and_end_with_its_series(
    tmp_path: Path, size: int, content_type: str
) -> None:
    short = image()
    for keyword in ("SeriesNumber", "InstanceNumber", "Rows", "Columns", "BitsAllocated", "PixelData"):
        del short[keyword]
    archive = Archive()
    async with bridge(tmp_path, archive) as one:
        for data_set in (short, image()):
            body = file_of(data_set) if content_type != MULTIPART else multipart(file_of(data_set))
            pieces = Body.of(*(body[at : at + size] for at in range(0, len(body), size)))
            status, _ = await one.module(pieces, content_type)
            assert (status, archive.taken) == (200, {"1.2.3.1": encoded(data_set)})


@ensureDeferred
async def test_a_data_set_that_was_given_up_gives_no_more(tmp_path: Path) -> None:
    class Returning(Archive):
        async def result(self, instance: Instance) -> StoreResult:
            await instance.data_set.aclose()
            with pytest.raises(Cancelled, match="given up"):
                await instance.data_set.__anext__()
            return StoreResult(CT, instance.sop_instance_uid, 0xA700)

    async with bridge(tmp_path, Returning()) as one:
        status, module = await one.module(BODY)
    assert (status, list(module.failed.values())) == (409, [0xA700] * 3)


@ensureDeferred
async def test_metadata_may_break_off_too(tmp_path: Path) -> None:
    coming = Coming()
    async with bridge(tmp_path) as one:
        reply = one.store(coming.body, "application/dicom+json")
        coming.send(b"[")
        coming.fail(BadRequest("chunks"))
        with pytest.raises(BadRequest, match="chunks"):
            await reply


@pytest.mark.parametrize("error", [RequestTimedOut("slow"), TooLarge("long"), BadRequest("chunks")])
@pytest.mark.parametrize("where", ["in the second", "in its header", "at its end"])
@ensureDeferred
async def test_what_breaks_the_request_off_is_told_with_what_was_stored(
    tmp_path: Path, error: HarmonyError, where: str
) -> None:
    archive, coming = Archive(), Coming()
    second = BODY.index(FILES[1])
    cut = {"in the second": second + 500, "in its header": second - 10, "at its end": second + len(FILES[1])}[where]
    async with bridge(tmp_path, archive) as one:
        reply = one.store(coming.body)
        coming.send(BODY[:cut])
        coming.fail(error)
        with pytest.raises(type(error), match="; 1 instance had been stored by then") as caught:
            await reply
        assert caught.value is error
        assert list(archive.taken) == ["1.2.3.1"]


@ensureDeferred
async def test_what_breaks_the_request_off_comes_before_what_the_archive_makes_of_it(tmp_path: Path) -> None:
    class Wrapping(Archive):
        async def results(self, store: Store) -> AsyncGenerator[StoreResult, None]:
            try:
                async for result in super().results(store):
                    yield result
            except HarmonyError as error:
                error.args = (f"PACS: {error.detail}",)
                raise PeerError("something happened") from error

    for archive in (Wrapping(), Wrapping([0])):
        coming = Coming()
        async with bridge(tmp_path, archive) as one:
            reply = one.store(coming.body)
            coming.send(BODY[:100] if not archive.answers else BODY[: BODY.index(FILES[1])])
            coming.fail(TooLarge("long"))
            with pytest.raises(TooLarge, match=r"^long"):
                await reply


@ensureDeferred
async def test_an_archive_that_says_nothing_of_a_broken_request_cannot_hide_it(tmp_path: Path) -> None:
    class Silent(Archive):
        async def results(self, store: Store) -> AsyncGenerator[StoreResult, None]:
            try:
                async for result in super().results(store):
                    yield result
            except HarmonyError:
                return

    coming = Coming()
    async with bridge(tmp_path, Silent()) as one:
        reply = one.store(coming.body)
        coming.send(BODY[: BODY.index(FILES[1])])
        coming.fail(TooLarge("long"))
        with pytest.raises(TooLarge, match="1 instance"):
            await reply


@ensureDeferred
async def test_the_request_may_break_off_while_the_rest_is_being_refused(tmp_path: Path) -> None:
    coming = Coming()
    async with bridge(tmp_path, Archive([0, TransportError("gone")])) as one:
        reply = one.store(coming.body)
        coming.send(BODY[: BODY.index(FILES[2])])
        coming.fail(RequestTimedOut("slow"))
        with pytest.raises(RequestTimedOut, match="1 instance"):
            await reply


@pytest.mark.parametrize("where", [10, 600])
@ensureDeferred
async def test_cancelling_reaches_the_archive(tmp_path: Path, where: int) -> None:
    cancelled: list[BaseException] = []

    class Waiting(Archive):
        async def results(self, store: Store) -> AsyncGenerator[StoreResult, None]:
            try:
                async for result in super().results(store):
                    yield result
            except BaseException as error:
                cancelled.append(error)
                raise

    coming = Coming()
    async with bridge(tmp_path, Waiting()) as one:
        reply = one.store(coming.body)
        coming.send(BODY[:where])
        reply.cancel()
        with pytest.raises(CancelledError):
            await reply
    assert isinstance(cancelled[0], CancelledError)


@ensureDeferred
async def test_an_archive_that_was_cut_off_cannot_leave_parts_unmentioned(tmp_path: Path) -> None:
    class Cut(Archive):
        async def results(self, store: Store) -> AsyncGenerator[StoreResult, None]:
            async for instance in store.instances:
                yield await self.result(instance)
                break
            nothing: Deferred[None] = Deferred.fromCoroutine(store.instances.__anext__())
            nothing.cancel()
            try:
                await nothing
            except CancelledError:
                return

    coming = Coming()
    async with bridge(tmp_path, Cut()) as one:
        reply = one.store(coming.body)
        coming.send(BODY[: BODY.index(FILES[1])])
        with pytest.raises(Incomplete, match="not read to its end; 1 instance had been stored"):
            await reply


# What is refused before anything is read


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"accept": "image/png"}, NotAcceptable),
        ({"content_type": "image/png"}, UnsupportedMediaType),
        ({"content-encoding": "gzip"}, UnsupportedMediaType),
    ],
)
@ensureDeferred
async def test_the_header_is_judged_first(tmp_path: Path, headers: dict[str, str], error: type[Exception]) -> None:
    async with bridge(tmp_path) as one:
        with pytest.raises(error):
            await one.store(Coming().body, **headers)
        with pytest.raises(BadRequest, match="no body"):
            await one.store(None)


@ensureDeferred
async def test_a_malformed_body_of_which_something_was_stored_is_reported(tmp_path: Path) -> None:
    async with bridge(tmp_path) as one:
        body = BODY[: BODY.index(FILES[2])].replace(b"Content-Type", b"Content Type", 2)
        with pytest.raises(BadRequest, match="malformed"):
            await one.store(body)
        rest = multipart(FILES[0]).removesuffix(b"--\r\n") + b"\r\nno colon\r\n\r\n"
        status, module = await one.module(rest)
        assert (status, module.stored, module.other) == (202, ["1.2.3.1"], [0xC000])


@ensureDeferred
async def test_a_malformed_body_is_the_client_s_fault_though_the_archive_complains(tmp_path: Path) -> None:
    class Complaining(Archive):
        async def result(self, instance: Instance) -> StoreResult:
            async for _ in instance.data_set:
                pass
            return StoreResult(CT, instance.sop_instance_uid, 0)

    async with bridge(tmp_path, Complaining()) as one:
        with pytest.raises(BadRequest, match="closing delimiter"):
            await one.store(multipart(FILES[0])[:-60])


# Limits


@ensureDeferred
async def test_a_report_that_is_full_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing_report, "MAX_REPORT_BYTES", 300)
    async with bridge(tmp_path) as one:
        reply = await one.store(BODY)
        content = await content_of(reply)
    assert reply.status == 202
    assert content.count(b"00081155") == 2
    (warning,) = (value for name, value in reply.headers if name == "Warning")
    assert "not read, and not stored" in warning


@ensureDeferred
async def test_parts_with_bulk_data_have_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing_metadata, "MAX_BULK_PARTS", 2)
    metadata = (b"[]", {"Content-Type": "application/dicom+json"})
    bulk = (b"x", {"Content-Type": "a/b", "Content-Location": "c"})
    content_type = f"multipart/related; type=application/dicom+json; boundary={BOUNDARY}"
    async with bridge(tmp_path) as one:
        status, module = await one.module(related(metadata, bulk, bulk), content_type)
        assert (status, module.other) == (409, [0xC000] * 2)
        with pytest.raises(TooLarge, match="MAX_BULK_PARTS"):
            await one.store(related(metadata, bulk, bulk, bulk), content_type)


@ensureDeferred
async def test_many_results_wait_on_the_disk(tmp_path: Path) -> None:
    count = 3000
    async with bridge(tmp_path) as one:
        small = [file_of(image(number)) for number in range(count)]
        status, module = await one.module(multipart(*small))
    assert (status, len(module.stored), len(set(module.stored))) == (200, count, count)


@ensureDeferred
async def test_no_room_for_the_report_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harmonygw.middleware.dicomweb_bridge.spooling.MEMORY_BYTES", 100)
    monkeypatch.setattr("harmonygw.middleware.dicomweb_bridge.spooling._append", full)
    async with bridge(tmp_path) as one:
        with pytest.raises(TransportError, match="no room"):
            await one.store(BODY)
