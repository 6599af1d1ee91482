"""The backend in front of a scripted PACS; its faults are in tests/interop/test_faults_*.py."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.logger import LogEvent, globalLogPublisher

from harmonygw.alerts import Alert
from harmonygw.backends.dicom_scu import DicomSCU
from harmonygw.backends.dicom_scu import backend as backend_module
from harmonygw.backends.dicom_scu.backend import LITERAL_MATCHING
from harmonygw.backends.dicom_scu.contexts import LOSSY
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commitment import Report
from harmonygw.errors import (
    BadRequest,
    ConfigurationError,
    Incomplete,
    NotAcceptable,
    RejectedError,
    TransportError,
)
from harmonygw.operations import Echo, Find, Level, Retrieve
from harmonygw.pipeline import Context
from tests.backends.dicom_scu.backends import Running, backend, settings
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, PATIENT_FIND, PATIENT_GET, PATIENT_MOVE, STUDY_FIND, STUDY_GET, Held, study_of
from tests.interop.pacs import PACS, deliver, drop
from tests.interop.processes import free_port

UID = {"vr": "UI", "Value": ["1.2"]}
STUDIES = Find(Level.STUDY, {"0020000D": UID})
STUDY = Retrieve(Level.STUDY, "1.2")
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
PATIENT_ROOT_ONLY = (PATIENT_FIND, PATIENT_MOVE, PATIENT_GET)


def test_only_with_tls_there_are_certificates_to_be_read_again() -> None:
    assert backend(104).certificates == []
    assert len(backend(104, use_tls=True).certificates) == 1


@ensureDeferred
async def test_a_pipeline_that_makes_no_operation_is_a_configuration_error() -> None:
    async with Running(PACS()) as running:
        with pytest.raises(ConfigurationError, match="dicomweb_bridge"):
            await running.ask(None)


# Echo


@ensureDeferred
async def test_an_echo_tells_its_status() -> None:
    async with Running(PACS()) as running:
        _, request = await running.ask(Echo())
        assert (request.record.target, request.record.dimse_status) == ("pacs", 0)
        assert running.pacs.seen == ["connected", "A-ASSOCIATE-RQ", "C-ECHO-RQ"]


@ensureDeferred
async def test_an_echo_without_a_context_fails_and_leaves_no_association() -> None:
    async def nothing(connection: Connection) -> None:
        connection.accept({})

    async with Running(PACS(associate=nothing)) as running:
        with pytest.raises(RejectedError, match=r"no presentation context for SOP class 1\.2\.840\.10008\.1\.1 "):
            await running.ask(Echo())
        await running.pacs.saw("A-ABORT 0 0")


@ensureDeferred
async def test_an_echo_that_fails_tells_its_status() -> None:
    pacs = PACS()
    pacs.echo_status = 0x0122
    async with Running(pacs) as running:
        with pytest.raises(RejectedError, match="C-ECHO failed with status 0122H") as caught:
            await running.ask(Echo())
        assert caught.value.status == 0x0122


# Find


@ensureDeferred
async def test_a_find_gives_rows_and_reuses_its_association() -> None:
    async with Running(PACS([Held(), Held(study="1.3")])) as running:
        [row] = await running.result(STUDIES)
        reply, request = await running.ask(Find(Level.STUDY))
        rows = [one async for one in reply.result]
        assert row["00100020"]["Value"] == ["P1"]
        assert len(rows) == request.record.matches == 2
        assert reply.result.warnings == []
        assert running.pacs.seen.count("A-ASSOCIATE-RQ") == 1
        assert running.backend.state()["information_model"] == "Study Root"


@ensureDeferred
async def test_a_find_that_cannot_be_encoded_is_the_clients_fault_and_costs_no_association() -> None:
    async with Running(PACS(study_of(1)), request_character_set="ISO_IR 100") as running:
        name = {"vr": "PN", "Value": [{"Alphabetic": "山田"}]}
        with pytest.raises(BadRequest, match=r"archive: \(0010,0010\) PN"):
            await running.ask(Find(Level.STUDY, {"00100010": name}))
        await running.result(STUDIES)
        assert running.pacs.seen.count("A-ASSOCIATE-RQ") == 1


@ensureDeferred
async def test_a_relational_find_is_refused_unless_it_was_negotiated() -> None:
    relational = Find(Level.SERIES, relational=True)
    async with Running(PACS(study_of(1))) as running:
        for _ in range(2):
            with pytest.raises(NotAcceptable, match="no relational queries"):
                await running.ask(relational)
        assert "C-FIND-RQ" not in running.pacs.seen
        assert running.backend.state()["relational_queries"] is False
    pacs = PACS(study_of(1))
    pacs.relational = True
    async with Running(pacs) as running:
        assert len(await running.result(relational)) == 1


@ensureDeferred
async def test_fuzzy_matching_that_is_not_negotiated_is_warned_of_and_asked_for_once() -> None:
    async with Running(PACS(study_of(1))) as running:
        for _ in range(2):
            reply, _ = await running.ask(Find(Level.STUDY, fuzzy_matching=True))
            assert reply.result.warnings == [LITERAL_MATCHING]
            await reply.result.aclose()
        asked = [one.rq.extended_negotiation[STUDY_FIND] for one in running.pacs.connections if one.rq]
        assert sorted(asked) == [b"\x01", b"\x01\x00\x01"]
        assert running.backend.state()["fuzzy_matching"] is False


@ensureDeferred
async def test_patients_are_asked_for_in_patient_root_where_studies_are_in_study_root() -> None:
    pacs = PACS(study_of(1))
    pacs.models = (STUDY_FIND, PATIENT_FIND)
    async with Running(pacs) as running:
        assert len(await running.result(Find(Level.PATIENT))) == 1
        assert len(await running.result(STUDIES)) == 1
        asked = [(one.level, one.command.affected_sop_class_uid) for one in pacs.asked]
        assert asked == [("PATIENT", PATIENT_FIND), ("STUDY", STUDY_FIND)]


@ensureDeferred
async def test_an_archive_without_patient_root_has_no_patients_to_ask_for() -> None:
    async with Running(PACS()) as running:
        with pytest.raises(NotAcceptable, match="no Patient Root"):
            await running.ask(Find(Level.PATIENT))


@ensureDeferred
async def test_an_association_lost_before_the_first_match_is_replaced_once() -> None:
    async def once(connection: Connection, asked: Asked) -> None:
        connection.pacs.behave()
        await drop(connection)

    async with Running(PACS(study_of(1), find=once)) as running:
        reply, request = await running.ask(STUDIES)
        assert len([row async for row in reply.result]) == 1
        assert request.record.notes == ["the association was lost before the first answer; tried once more"]


@ensureDeferred
async def test_an_association_lost_twice_before_the_first_match_is_an_error() -> None:
    async with Running(PACS(study_of(1), find=drop)) as running:
        with pytest.raises(TransportError):
            await running.ask(STUDIES)
        assert running.pacs.seen.count("C-FIND-RQ") == 2


# Information models


def patient_root(*held: Held, relational: bool = False) -> PACS:
    pacs = PACS(held)
    pacs.models = PATIENT_ROOT_ONLY
    pacs.relational = relational
    return pacs


@pytest.mark.parametrize("model", ["patient", "auto"])
@ensureDeferred
async def test_in_patient_root_studies_are_found_below_their_patients(model: str) -> None:
    pacs = patient_root(Held(), Held(study="1.3", patient="P2"))
    async with Running(pacs, information_model=model) as running:
        rows = await running.result(Find(Level.STUDY, return_keys={"00100010": {"vr": "PN"}}))
        assert [(row["0020000D"]["Value"], row["00100020"]["Value"]) for row in rows] == [
            (["1.2"], ["P1"]),
            (["1.3"], ["P2"]),
        ]
        assert [asked.level for asked in pacs.asked] == ["PATIENT", "STUDY", "STUDY"]
        assert running.backend.state()["information_model"] == "Patient Root"


@ensureDeferred
async def test_in_patient_root_with_relational_queries_one_query_is_enough() -> None:
    async with Running(patient_root(Held(), relational=True), information_model="patient") as running:
        assert len(await running.result(STUDIES)) == 1
        assert len(await running.result(Find(Level.PATIENT))) == 1
        assert [asked.level for asked in running.pacs.asked] == ["STUDY", "PATIENT"]


@ensureDeferred
async def test_in_patient_root_without_relational_queries_a_relational_find_is_refused() -> None:
    async with Running(patient_root(Held()), information_model="patient") as running:
        with pytest.raises(NotAcceptable, match="no relational queries"):
            await running.ask(Find(Level.SERIES, relational=True))


@pytest.mark.parametrize("patient_id", ["", "P1"])
@ensureDeferred
async def test_in_patient_root_a_retrieval_names_the_patient_it_has_resolved(patient_id: str) -> None:
    pacs = patient_root(Held(), Held(study="1.3", patient="P2"))
    async with Running(pacs, information_model="patient") as running:
        [one] = await running.result(Retrieve(Level.STUDY, "1.2", patient_id=patient_id))
        assert one.sop_instance_uid == "1.2.3.4"
        assert pacs.asked[-1].identifier["00100020"]["Value"] == ["P1"]
        assert pacs.asked[-1].command.affected_sop_class_uid == PATIENT_GET


@ensureDeferred
async def test_in_patient_root_a_study_without_patient_id_cannot_be_retrieved() -> None:
    pacs = patient_root(Held(patient=""), relational=True)
    async with Running(pacs, information_model="patient") as running:
        with pytest.raises(NotAcceptable, match="has no Patient ID"):
            await running.ask(STUDY)


@ensureDeferred
async def test_auto_prefers_study_root_and_fails_without_any() -> None:
    pacs = PACS([Held()])
    pacs.models = (*pacs.models, *PATIENT_ROOT_ONLY)
    async with Running(pacs, information_model="auto") as running:
        assert running.backend.state()["information_model"] == "not known yet"
        await running.result(STUDIES)
        assert running.backend.state()["information_model"] == "Study Root"
        assert pacs.asked[0].command.affected_sop_class_uid == STUDY_FIND
    pacs = PACS([Held()])
    pacs.models = ()
    async with Running(pacs, information_model="auto") as running:
        with pytest.raises(RejectedError, match=f"{STUDY_FIND} or {PATIENT_FIND} in transfer syntax"):
            await running.ask(STUDIES)


# Retrieve


@ensureDeferred
async def test_what_is_asked_beforehand_does_not_count_as_matches() -> None:
    async with Running(PACS(study_of(2))) as running:
        reply, request = await running.ask(STUDY)
        assert [one.sop_instance_uid async for one in reply.result] == ["1.2.3.4", "1.2.3.5"]
        assert (request.record.matches, request.record.instances, request.record.dimse_status) == (0, 2, 0)
        assert running.backend.state()["retrieve"] == "C-GET"


@ensureDeferred
async def test_too_many_rows_beforehand_are_not_cut_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "MAX_ROWS", 1)
    async with Running(PACS([Held(), Held(sop="1.2.3.5", patient="P2")])) as running:
        with pytest.raises(Incomplete, match="MAX_ROWS"):
            await running.ask(STUDY)


@ensureDeferred
async def test_what_fails_after_the_reply_names_the_target_too() -> None:
    async def refuse(connection: Connection, asked: Asked) -> None:
        connection.final(asked, statuses.OUT_OF_RESOURCES)

    async with Running(PACS(study_of(1), get=refuse)) as running:
        reply, request = await running.ask(STUDY)
        with pytest.raises(RejectedError) as caught:
            await reply.result.__anext__()
        assert str(caught.value).startswith("archive: the archive refused the retrieval with status A700H")
        assert request.record.dimse_status == 0xA700


@pytest.mark.parametrize(("lossy_contexts", "lossy"), [("last", set()), ("with_others", set(LOSSY))])
@ensureDeferred
async def test_lossy_syntaxes_are_proposed_when_the_configuration_says(lossy_contexts: str, lossy: set[str]) -> None:
    async with Running(PACS(study_of(1)), lossy_contexts=lossy_contexts) as running:
        await running.result(STUDY)
        rq = running.pacs.connections[1].rq
        assert rq is not None
        proposed = {syntax for one in rq.contexts for syntax in one.transfer_syntaxes}
        assert proposed & set(LOSSY) == lossy


@pytest.mark.parametrize(
    ("retrieve", "keys"),
    [
        (STUDY, {"0020000D": ["1.2"]}),
        (Retrieve(Level.SERIES, "1.2", "1.2.3"), {"0020000D": ["1.2"], "0020000E": ["1.2.3"]}),
        (
            Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4", "1.2.3.5")),
            {"0020000D": ["1.2"], "0020000E": ["1.2.3"], "00080018": ["1.2.3.4", "1.2.3.5"]},
        ),
    ],
)
@ensureDeferred
async def test_a_c_get_carries_its_level_and_the_unique_keys_down_to_it(
    retrieve: Retrieve, keys: dict[str, list[str]]
) -> None:
    async with Running(PACS(study_of(2))) as running:
        assert len(await running.result(retrieve)) == 2
        asked = running.pacs.asked[-1]
        found = {tag: element["Value"] for tag, element in asked.identifier.items()}
        assert found == {**keys, "00080052": [retrieve.level.value]}
        assert asked.command.affected_sop_class_uid == STUDY_GET


@pytest.mark.parametrize(("syntaxes", "error"), [((JPEG_LOSSLESS,), NotAcceptable), (("*",), RejectedError)])
@ensureDeferred
async def test_a_pacs_that_accepts_no_storage_context(syntaxes: tuple[str, ...], error: type[Exception]) -> None:
    pacs = PACS(study_of(1))
    pacs.syntaxes = ("1.2.3",)
    async with Running(pacs) as running:
        reply, _ = await running.ask(Retrieve(Level.STUDY, "1.2", transfer_syntaxes=syntaxes))
        with pytest.raises(error, match=CT) as caught:
            await reply.result.__anext__()
        assert type(caught.value) is error
        assert "C-GET-RQ" not in pacs.seen


@ensureDeferred
async def test_configured_to_move_it_never_asks_for_a_c_get() -> None:
    pacs = PACS(study_of(1))
    pacs.move_port = free_port()
    async with Running(pacs, dimse_retrieve_mode="move", incoming_store_port=pacs.move_port) as running:
        assert running.backend.state()["incoming_store_port"] == pacs.move_port
        assert len(await running.result(STUDY)) == 1
        assert "C-GET-RQ" not in pacs.seen
        assert not any(one.rq and STUDY_GET in {c.abstract_syntax for c in one.rq.contexts} for one in pacs.connections)


@ensureDeferred
async def test_configured_to_get_it_never_moves() -> None:
    pacs = PACS(study_of(1))
    pacs.models = (STUDY_FIND,)
    async with Running(pacs, dimse_retrieve_mode="get", incoming_store_port=0) as running:
        reply, _ = await running.ask(STUDY)
        with pytest.raises(RejectedError, match=r"\(C-GET\)"):
            await reply.result.__anext__()


@ensureDeferred
async def test_a_pacs_without_c_get_and_c_move_says_so() -> None:
    pacs = PACS(study_of(1))
    pacs.models = (STUDY_FIND,)
    async with Running(pacs, incoming_store_port=0) as running:
        reply, _ = await running.ask(STUDY)
        with pytest.raises(RejectedError, match=r"\(C-MOVE\)"):
            await reply.result.__anext__()
        assert running.backend.destination.under_way == 0


@ensureDeferred
async def test_a_move_that_cannot_come_in_is_forgotten() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        options = {"incoming_store_port": other.getsockname()[1], "persistent_store_scp": False}
        async with Running(PACS(study_of(1)), dimse_retrieve_mode="move", **options) as running:
            reply, _ = await running.ask(STUDY)
            with pytest.raises(TransportError, match="incoming_store_port"):
                await reply.result.__anext__()
            assert running.backend.destination.under_way == 0
            assert running.backend.pool.state()["idle"] == 2


@ensureDeferred
async def test_a_shared_port_is_left_to_the_endpoint() -> None:
    port = free_port()
    async with Running(PACS(), incoming_store_port=port, addresses=(port,)) as running:
        assert running.backend.state()["incoming_store_port"] is None


@ensureDeferred
async def test_an_instance_that_nobody_asked_for_is_refused_and_logged() -> None:
    events: list[LogEvent] = []
    pacs = PACS(study_of(1))
    pacs.move_port = free_port()
    answered: list[int] = []

    async def unasked(connection: Connection, asked: Asked) -> None:
        command: Any = type("Destination", (), {"move_destination": "HARMONYGW", "message_id": 7})
        answered.extend(await deliver(connection, Asked(1, command, {}), pacs.held))
        connection.found(asked)

    pacs.find = unasked
    globalLogPublisher.addObserver(events.append)
    try:
        async with Running(pacs, incoming_store_port=pacs.move_port) as running:
            await running.result(STUDIES)
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert answered == [statuses.NOT_AUTHORIZED]
    [event] = [event for event in events if "alert" in event]
    sentence = "pacs refused an instance that nobody asked for, from PACS: 1.2.3.4"
    assert event["alert"] == Alert("unsolicited_object", sentence, "PACS")


# A report of storage commitment


class Others:
    """The commitments of another backend."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Report]] = []

    def knows(self, transaction_uid: str) -> bool:
        return transaction_uid == "1.2.3"

    def take(self, peer_ae_title: str, report: Report) -> int:
        self.taken.append((peer_ae_title, report))
        return statuses.SUCCESS


def test_a_report_that_another_backend_of_ours_awaits_gets_there() -> None:
    others, configuration = Others(), SimpleNamespace(endpoints={}, authentications={})
    context = Context(settings(104), configuration, reactor, commitments=lambda: (others,))  # type: ignore[arg-type]
    one = DicomSCU(context)
    report = Report("1.2.3", frozenset(), {})
    assert one._take_report("PACS", report) == statuses.SUCCESS
    assert one._take_report("PACS", Report("9.9", frozenset(), {})) == statuses.INVALID_ARGUMENT_VALUE
    assert others.taken == [("PACS", report)]
