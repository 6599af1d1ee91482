"""From a request to an operation, and from its result to a document or a problem."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from harmonygw import errors
from harmonygw.config.system import StorageSettings
from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.exchange import AssociationOrigin, Reply, Request
from harmonygw.middleware.dimse_over_http import bridge as module
from harmonygw.middleware.dimse_over_http import folders as folders_module
from harmonygw.middleware.dimse_over_http.folders import WRITE_LENGTH
from harmonygw.operations import Echo, Find, Level, Move, MoveResult, Operation, Retrieve, Store, StoreResult
from harmonygw.streams import Body
from tests.interop.held import CT, EXPLICIT, Held
from tests.middleware.cache.archive import Ticking, settled, until
from tests.middleware.dimse_over_http.objects import LOCAL_AE_TITLE, Bridge, Found, arriving, content, left, stream
from tests.net.http.wire import Source

STUDY = {"study_instance_uid": "1.2"}
FILE = file_header(CT, "1.2.3.4", EXPLICIT) + Held().data_set()
DICOM = {"content-type": "application/dicom"}


async def nothing(operation: Operation) -> Any:
    return None


def row(study: str, patient: str = "P1") -> dict[str, Any]:
    return {"0020000D": {"vr": "UI", "Value": [study]}, "00100020": {"vr": "LO", "Value": [patient]}}


# Words


@pytest.mark.parametrize(("path", "body"), [("/echo", {}), ("", {"operation": "C-ECHO"})])
@ensureDeferred
async def test_an_echo_is_asked_by_the_path_or_by_the_body(tmp_path: Path, path: str, body: Any) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        assert await bridge.ask(path, body) == {"operation": "C-ECHO", "success": True}
        assert bridge.operations == [Echo()]
        assert bridge.request.record.operation == "C-ECHO"


@ensureDeferred
async def test_what_is_no_request_of_ours_passes(tmp_path: Path) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        request = Request(AssociationOrigin("A", "B"), "192.0.2.1", "id", operation=Echo())
        assert await bridge.middleware.intercept(request, bridge._proceed) == Reply()
        await bridge.send("/anything", None, method="GET", operation=Echo())
        assert bridge.operations == [Echo(), Echo()]


@pytest.mark.parametrize("path", ["/finds", "/find/more", "/STORE", "/a/b"])
@pytest.mark.parametrize("body", [{}, {"query": {"PatientID": "*"}}, ["operation"]])
@ensureDeferred
async def test_any_other_path_is_not_found_unless_the_body_says_the_operation(
    tmp_path: Path, path: str, body: Any
) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        with pytest.raises(errors.NotFound, match='/echo, /find, /get, /move, /store, or "operation"'):
            await bridge.ask(path, body)
        with pytest.raises(errors.NotFound):
            await bridge.send(path, None, method="GET")
        assert bridge.operations == []
        assert await bridge.ask(path, {"operation": "C-ECHO"}) == {"operation": "C-ECHO", "success": True}
        with pytest.raises(errors.BadRequest):
            await bridge.ask(path, {"operation": "C-STORE"})


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["", "/echo", "/find", "/store"])
@ensureDeferred
async def test_it_is_asked_by_post(tmp_path: Path, path: str, method: str) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        with pytest.raises(errors.MethodNotAllowed) as caught:
            await bridge.send(path, None, method=method)
        assert caught.value.allowed == ("POST",)
        assert bridge.operations == []


@ensureDeferred
async def test_options_says_so(tmp_path: Path) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        assert await bridge.send("/find", None, method="OPTIONS") == Reply(204, (("Allow", "OPTIONS, POST"),))


@ensureDeferred
async def test_a_body_that_was_parsed_before_is_taken_as_it_is(tmp_path: Path) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        reply = await bridge.send("", Body.of(b"nonsense"), attributes={"json": {"operation": "C-ECHO"}})
        assert reply.status == 200


@pytest.mark.parametrize(
    ("path", "body", "members"),
    [
        ("/find", {"levle": 1}, {"operation": "C-FIND", "success": False}),
        ("", {}, {"success": False}),
        ("", {"operation": "C-GET"}, {"operation": "C-GET", "success": False}),
    ],
)
@ensureDeferred
async def test_a_refusal_says_that_it_was_no_success(tmp_path: Path, path: str, body: Any, members: Any) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        with pytest.raises(errors.BadRequest) as caught:
            await bridge.ask(path, body)
        assert caught.value.members == members


@ensureDeferred
async def test_a_failure_of_the_archive_says_so_too(tmp_path: Path) -> None:
    async def fail(operation: Operation) -> Any:
        raise errors.RejectedError("no", status=0xA700)

    async with Bridge(tmp_path, fail) as bridge:
        for word in ("echo", "find", "get", "move"):
            with pytest.raises(errors.RejectedError) as caught:
                await bridge.ask(f"/{word}", STUDY)
            assert caught.value.members == {"operation": f"C-{word.upper()}", "success": False}
        assert bridge.middleware.state()["answers"] == 0
        await until(lambda: not left(tmp_path))


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({}, True),
        ({"content-type": "application/x-www-form-urlencoded"}, True),
        ({"origin": "https://evil.example", "content-type": "application/x-www-form-urlencoded"}, False),
        ({"origin": "https://evil.example", "content-type": "text/plain; a=application/json"}, False),
        ({"origin": "null"}, False),
        ({"origin": "https://gateway.example", "content-type": "application/json; charset=utf-8"}, True),
        ({"origin": "https://gateway.example", "content-type": "application/dicom+json"}, True),
    ],
)
@ensureDeferred
async def test_a_page_of_another_site_cannot_have_a_browser_ask(
    tmp_path: Path, headers: dict[str, str], taken: bool
) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        if taken:
            await bridge.ask("/echo", headers=headers)
        else:
            with pytest.raises(errors.UnsupportedMediaType):
                await bridge.ask("/echo", headers=headers)
        assert bridge.operations == [Echo()] * taken


# Find


@ensureDeferred
async def test_a_find_is_asked_and_its_matches_are_told(tmp_path: Path) -> None:
    async def answer(operation: Operation) -> Any:
        return Found(row("1.2"))

    async with Bridge(tmp_path, answer) as bridge:
        told = await bridge.ask("/find", {"query_level": "STUDY", "patient_id": "P1"})
        assert told == {"operation": "C-FIND", "matches": [row("1.2")], "count": 1, "success": True}
        [find] = bridge.operations
        assert isinstance(find, Find)
        assert (find.level, find.keys) == (Level.STUDY, {"00100020": {"vr": "LO", "Value": ["P1"]}})


# Get and move


@pytest.mark.parametrize("word", ["get", "move"])
@ensureDeferred
async def test_instances_come_as_files_in_a_folder(tmp_path: Path, word: str) -> None:
    async def answer(operation: Operation) -> Any:
        return stream(arriving("1.2.3.4"), arriving("1.2.3.5"))

    async with Bridge(tmp_path, answer, max_age_secs=10.0) as bridge:
        told = await bridge.ask(f"/{word}", STUDY)
        assert bridge.operations == [Retrieve(Level.STUDY, "1.2", service=word)]  # type: ignore[arg-type]
        assert (told["operation"], told["success"], told["file_count"]) == (f"C-{word.upper()}", True, 2)
        assert told["instances"][1] == {
            "sop_class_uid": CT,
            "sop_instance_uid": "1.2.3.5",
            "transfer_syntax_uid": EXPLICIT,
            "file": "000002.dcm",
        }
        folder = Path(told["folder_path"])
        assert folder.is_relative_to(tmp_path)
        assert left(folder) == ["000001.dcm", "000002.dcm"]
        assert told["max_age_secs"] == 10
        bridge.clock.advance(10)
        await until(lambda: not folder.exists())


@pytest.mark.parametrize("error", [errors.Incomplete("one is missing"), CancelledError(), ZeroDivisionError()])
@ensureDeferred
async def test_of_a_retrieval_that_breaks_off_nothing_is_left(tmp_path: Path, error: Exception) -> None:
    async def answer(operation: Operation) -> Any:
        return stream(arriving("1.2.3.4"), error)

    async with Bridge(tmp_path, answer) as bridge:
        with pytest.raises(type(error)):
            await bridge.ask("/get", STUDY)
        await until(lambda: not left(tmp_path))
        assert (bridge.middleware.state()["answers"], bridge.middleware.state()["bytes"]) == (0, 0)


@ensureDeferred
async def test_a_client_that_goes_away_in_the_midst_leaves_nothing(tmp_path: Path) -> None:
    source = Source()

    async def answer(operation: Operation) -> Any:
        return stream(arriving("1.2.3.4"), waiting(source))

    async with Bridge(tmp_path, answer) as bridge:
        asking = Deferred.fromCoroutine(bridge.ask("/get", STUDY))
        source.feed.put((bytes(WRITE_LENGTH),), 1)
        await until(lambda: any(name.endswith(".part") for name in left(tmp_path)))
        await settled()
        asking.cancel()
        with pytest.raises(CancelledError):
            await asking
        assert source.aborted
        await until(lambda: not left(tmp_path))


def waiting(source: Source) -> Any:
    instance = arriving("1.2.3.5")
    instance.data_set = source.feed
    return instance


@ensureDeferred
async def test_an_answer_has_a_limit_of_instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(operation: Operation) -> Any:
        return stream(*[arriving(f"1.{number}") for number in range(3)])

    async with Bridge(tmp_path, answer) as bridge:
        monkeypatch.setattr(module, "MAX_FILES", 3)
        assert (await bridge.ask("/get", STUDY))["file_count"] == 3
        monkeypatch.setattr(module, "MAX_FILES", 2)
        with pytest.raises(errors.TooLarge, match="MAX_FILES"):
            await bridge.ask("/get", STUDY)


# Of which patient


@ensureDeferred
async def test_a_patient_has_all_studies_that_the_archive_lists_of_just_him(tmp_path: Path) -> None:
    async def answer(operation: Operation) -> Any:
        if isinstance(operation, Find):
            return Found(row("1"), row("2", "P10"), row("3", "P1 "), row("1"), {})
        return stream(arriving())

    async with Bridge(tmp_path, answer) as bridge:
        told = await bridge.ask("/get", {"level": "PATIENT", "patient_id": "P1"})
        find, *retrieves = bridge.operations
        assert (find.level, find.keys["00100020"]["Value"]) == (Level.STUDY, ["P1"])
        assert [one.study_instance_uid for one in retrieves] == ["1", "3"]
        assert told["file_count"] == 2


@ensureDeferred
async def test_a_study_of_another_patient_is_not_found(tmp_path: Path) -> None:
    async def answer(operation: Operation) -> Any:
        assert isinstance(operation, Find), "nothing is retrieved"
        return Found(row("1.2", "P2"))

    async with Bridge(tmp_path, answer) as bridge:
        for word, more in (("get", {}), ("move", {}), ("move", {"destination": "ELSEWHERE"})):
            with pytest.raises(errors.NotFound, match="of that patient"):
                await bridge.ask(f"/{word}", {**STUDY, "patient_id": "P1", **more})


@ensureDeferred
async def test_a_patient_level_names_a_patient(tmp_path: Path) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        with pytest.raises(errors.BadRequest, match="PatientID is missing"):
            await bridge.ask("/get", {"level": "PATIENT"})


@ensureDeferred
async def test_a_patient_has_a_limit_of_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(operation: Operation) -> Any:
        return Found(row("1"), row("2"), row("3")) if isinstance(operation, Find) else stream()

    async with Bridge(tmp_path, answer) as bridge:
        monkeypatch.setattr(module, "MAX_STUDIES", 2)
        with pytest.raises(errors.TooLarge, match="MAX_STUDIES"):
            await bridge.ask("/get", {"level": "PATIENT", "patient_id": "P1"})


# To somebody else


@ensureDeferred
async def test_a_move_elsewhere_tells_its_counts(tmp_path: Path) -> None:
    async def answer(operation: Operation) -> Any:
        return MoveResult(3, 1)

    async with Bridge(tmp_path, answer) as bridge:
        told = await bridge.ask("/move", {"study_instance_uid": ["1.2", "1.3"], "destination": "ELSEWHERE"})
        assert told == {
            "operation": "C-MOVE",
            "success": True,
            "destination": "ELSEWHERE",
            "completed": 6,
            "warning": 2,
        }
        assert bridge.operations == [Move(Level.STUDY, "1.2", "ELSEWHERE"), Move(Level.STUDY, "1.3", "ELSEWHERE")]


@ensureDeferred
async def test_a_move_to_our_own_ae_title_brings_the_instances_here(tmp_path: Path) -> None:
    async def answer(operation: Operation) -> Any:
        return stream(arriving())

    async with Bridge(tmp_path, answer) as bridge:
        told = await bridge.ask("/move", {**STUDY, "destination": LOCAL_AE_TITLE})
        assert bridge.operations == [Retrieve(Level.STUDY, "1.2", service="move")]
        assert (told["file_count"], len(list(Path(told["folder_path"]).iterdir()))) == (1, 1)


@ensureDeferred
async def test_counts_that_the_archive_does_not_tell_are_not_told(tmp_path: Path) -> None:
    async def answer(operation: Operation) -> Any:
        return MoveResult(None, None)

    async with Bridge(tmp_path, answer) as bridge:
        told = await bridge.ask("/move", {**STUDY, "destination": "ELSEWHERE"})
        assert told == {"operation": "C-MOVE", "success": True, "destination": "ELSEWHERE"}


# Store


async def told(*results: StoreResult) -> Any:
    for result in results:
        yield result


async def stored(operation: Operation, *results: StoreResult) -> Any:
    assert isinstance(operation, Store)
    pieces: list[Any] = []
    async for instance in operation.instances:
        uid = instance.sop_instance_uid
        pieces += [piece async for some in instance.data_set for piece in some]
    assert (uid, b"".join(pieces)) == ("1.2.3.4", Held().data_set())
    return told(*results)


def result(status: int, detail: str = "") -> StoreResult:
    return StoreResult(CT, "1.2.3.4", status, detail)


@pytest.mark.parametrize(
    ("status", "more"),
    [
        (0, {}),
        (0xB000, {"warnings": ["B000H (Warning: elements were coerced, or sub-operations failed or had warnings)"]}),
    ],
)
@ensureDeferred
async def test_a_file_is_stored(tmp_path: Path, status: int, more: Any) -> None:
    async with Bridge(tmp_path, lambda operation: stored(operation, result(status))) as bridge:
        reply = await bridge.send("/store", Body.of(FILE), headers=DICOM)
        assert module.orjson.loads(await content(reply)) == {
            "operation": "C-STORE",
            "success": True,
            "dimse_status": f"{status:04X}H",
            "sop_class_uid": CT,
            "sop_instance_uid": "1.2.3.4",
            "transfer_syntax_uid": EXPLICIT,
            **more,
        }


@ensureDeferred
async def test_a_file_that_was_not_stored_is_a_failure_with_its_status(tmp_path: Path) -> None:
    async with Bridge(tmp_path, lambda operation: stored(operation, result(0xA700, "full"))) as bridge:
        with pytest.raises(errors.RejectedError, match=r"A700H.*: full") as caught:
            await bridge.send("/store", Body.of(FILE), headers=DICOM)
        assert caught.value.members == {"operation": "C-STORE", "success": False}
        assert bridge.request.record.dimse_status == 0xA700


@ensureDeferred
async def test_an_archive_that_says_nothing_has_not_stored_it(tmp_path: Path) -> None:
    async with Bridge(tmp_path, stored) as bridge:
        with pytest.raises(errors.PeerError):
            await bridge.send("/store", Body.of(FILE), headers=DICOM)


@ensureDeferred
async def test_a_file_that_is_cut_short_is_the_clients_fault(tmp_path: Path) -> None:
    async def answer(operation: Operation) -> Any:
        assert isinstance(operation, Store)
        async for instance in operation.instances:
            with pytest.raises(errors.BadRequest):
                [pieces async for pieces in instance.data_set]
        return told(result(0x0110))

    async with Bridge(tmp_path, answer) as bridge:
        with pytest.raises(errors.BadRequest, match="is cut short"):
            await bridge.send("/store", Body.of(FILE[:-1]), headers=DICOM)


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}, {**DICOM, "content-encoding": "gzip"}])
@ensureDeferred
async def test_another_media_type_is_415(tmp_path: Path, headers: dict[str, str]) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        with pytest.raises(errors.UnsupportedMediaType):
            await bridge.send("/store", Body.of(FILE), headers=headers)


@ensureDeferred
async def test_an_empty_body_stores_nothing(tmp_path: Path) -> None:
    async with Bridge(tmp_path, nothing) as bridge:
        with pytest.raises(errors.BadRequest, match="is empty"):
            await bridge.send("/store", None, headers=DICOM)
        with pytest.raises(errors.BadRequest, match="not a DICOM file"):
            await bridge.send("/store", Body.of(b"x" * 200), headers=DICOM)
        assert bridge.operations == []


# Its life


@ensureDeferred
async def test_a_place_that_cannot_be_is_a_fault_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders_module, "MEMORY", tmp_path / "missing")
    configuration: Any = SimpleNamespace(storage=StorageSettings("memory"), backends={})
    middleware = module.DIMSEOverHTTP(module.Context(None, configuration, Ticking()))
    with pytest.raises(errors.ConfigurationError, match="storage: there can be no files"):
        await middleware.start()
    await middleware.stop()
