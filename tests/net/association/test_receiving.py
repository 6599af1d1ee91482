"""Objects of a C-GET as they arrive: what is released, what is refused, and what slows the peer down."""

from struct import pack
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from harmonygw.dicom.dataset.header_scan import HEADER_SCAN_LIMIT
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CCancelRQ, CGetRSP, CStoreRQ, CStoreRSP, encode_command
from harmonygw.errors import PeerError, TransportError
from harmonygw.net.association.operations import INSTANCE_WINDOW, GetOperation
from harmonygw.net.association.receiving import DATA_SET_WINDOW, PIECE_COST, Admission, InstanceReceiver, Refusal
from harmonygw.net.association.requestor import Association
from harmonygw.streams import Cancelled, Feed, Instance
from tests.alerted import alerts
from tests.net.association.peers import (
    CT,
    EXPLICIT,
    GET,
    MR,
    PACS,
    Network,
    content,
    ct,
    element,
    failure,
    header,
    message,
    p_data,
    pending,
    read,
    result,
    spawn,
    store_rq,
)

STUDY = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "0020000D": {"vr": "UI", "Value": ["1.2"]}}
FINAL = CGetRSP(1, GET, 0x0000, completed=1)


class Retrieval:
    """A C-GET under way."""

    def __init__(self, network: Network, decide: Any = None) -> None:
        self.association: Association
        self.peer: PACS
        self.association, self.peer = network.associate()
        self.admitted: list[tuple[CStoreRQ, Instance]] = []
        self.decide = decide or (lambda command, instance: Admission(self.operation.instances))
        self.operation: GetOperation = self.association.get(GET, STUDY, admit=self._admit)
        self.peer.take()
        _ = self.peer.new

    def _admit(self, command: CStoreRQ, instance: Instance) -> Any:
        self.admitted.append((command, instance))
        return self.decide(command, instance)

    def next(self) -> Instance:
        return result(spawn(self.operation.instances.__anext__()))

    def store(self, data: bytes, sop: str = "1.2.3.4", message_id: int = 1) -> None:
        """Send an object in PDUs of 16 KB."""
        layer = self.peer.layer
        self.peer.put(9, encode_command(store_rq(sop, message_id)), is_command=True)
        for start in range(0, len(data), 16376):
            self.peer.put(9, data[start : start + 16376], is_last=start + 16376 >= len(data))
        self.peer.raw(b"".join(layer.take()))

    @property
    def statuses(self) -> list[int]:
        return [command.status for command in self.peer.commands() if isinstance(command, CStoreRSP)]


@pytest.fixture
def retrieval(network: Network) -> Retrieval:
    return Retrieval(network)


def test_an_object_flows_once_its_identity_is_known(retrieval: Retrieval) -> None:
    data = ct(size=1000)
    retrieval.peer.raw(p_data(9, encode_command(store_rq()), is_command=True))
    retrieval.peer.raw(p_data(9, data[:50], is_last=False))
    assert retrieval.admitted == []
    retrieval.peer.raw(p_data(9, data[50:400], is_last=False))
    [(command, instance)] = retrieval.admitted
    assert command == store_rq()
    assert retrieval.next() is instance
    assert (instance.sop_class_uid, instance.sop_instance_uid) == (CT, "1.2.3.4")
    assert (instance.study_instance_uid, instance.series_instance_uid) == ("1.2", "1.2.3")
    assert (instance.transfer_syntax_uid, instance.source_ae_title) == (EXPLICIT, "ARCHIVE")
    assert instance.leading["StudyInstanceUID"] == "1.2"
    reads = read(instance.data_set)
    assert retrieval.peer.new == b""
    retrieval.peer.raw(p_data(9, data[400:]))
    assert content(result(reads)) == data
    assert retrieval.peer.new == message(9, CStoreRSP(1, CT, "1.2.3.4", 0x0000))


def test_what_one_read_brings_is_one_piece_list_and_empty_fragments_are_none(retrieval: Retrieval) -> None:
    retrieval.peer.raw(p_data(9, encode_command(store_rq()), is_command=True), p_data(9, header(), is_last=False))
    data_set = retrieval.next().data_set
    retrieval.peer.raw(p_data(9, b"ab", is_last=False), p_data(9, b"", is_last=False), p_data(9, b"cd", is_last=False))
    retrieval.peer.raw(p_data(9, b""))
    assert [list(map(bytes, pieces)) for pieces in result(read(data_set))] == [[header()], [b"ab", b"cd"]]


def test_objects_follow_one_another_in_one_read(retrieval: Retrieval) -> None:
    retrieval.peer.raw(*(message(9, store_rq(f"1.2.{n}", n), ct(f"1.2.{n}")) for n in (1, 2, 3)))
    assert [retrieval.next().sop_instance_uid for _ in range(3)] == ["1.2.1", "1.2.2", "1.2.3"]
    assert retrieval.peer.new == b"".join(message(9, CStoreRSP(n, CT, f"1.2.{n}", 0x0000)) for n in (1, 2, 3))
    assert [content(result(read(one.data_set))) for _, one in retrieval.admitted] == [ct(f"1.2.{n}") for n in (1, 2, 3)]


# Refusals


def refusals() -> list[Any]:
    cut_short = header()[:-5]
    nested = pack("<HH2sxxI", 8, 0x1140, b"SQ", 0xFFFFFFFF) + pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    late = element(0x00080008, "CS", b"X") + pack("<HH2sxxI", 9, 0x10, b"OB", HEADER_SCAN_LIMIT) + bytes(65536)
    return [
        pytest.param(cut_short, "cut short", id="cut short in its header"),
        pytest.param(nested, "cut short", id="cut short in a sequence"),
        pytest.param(element(0x00080016, "UI", CT.encode()) * 2, "it occurs twice", id="malformed"),
        pytest.param(nested * 40, "MAX_NESTING_DEPTH", id="nested too deep"),
        pytest.param(element(0x0020000D, "UI", b"../x"), "is not a UID", id="a UID that is none"),
        pytest.param(late + header(), "HEADER_SCAN_LIMIT", id="no study in its first 64 KB"),
    ]


@pytest.mark.parametrize(("data", "complaint"), refusals())
def test_an_object_whose_header_cannot_be_read_is_refused_and_fails_the_retrieval(
    retrieval: Retrieval, data: bytes, complaint: str
) -> None:
    instances = read(retrieval.operation.instances)
    with alerts() as raised:
        retrieval.store(data)
    error = failure(instances)
    assert isinstance(error, PeerError)
    assert complaint in error.detail
    [alert] = raised
    assert alert.kind == "hostile_bytes"
    assert "../x" not in alert.sentence, "whatever stood there, it may be a name"
    assert retrieval.admitted == []
    cancel, refusal = sorted(retrieval.peer.commands(), key=lambda one: type(one).__name__)
    assert cancel == CCancelRQ(1)
    assert isinstance(refusal, CStoreRSP)
    assert (refusal.status, refusal.error_comment) == (statuses.CANNOT_UNDERSTAND, error.detail[:64])
    retrieval.store(ct("1.2.9"), "1.2.9", 2)
    assert retrieval.statuses == [statuses.SUCCESS]  # taken, and dropped
    retrieval.peer.send(CGetRSP(1, GET, 0x0000, completed=2), context_id=5)
    assert retrieval.operation.outcome is not None
    assert retrieval.operation.outcome.failed == 1
    assert (retrieval.association.busy, retrieval.association.is_closed) == (False, False)


def test_an_object_that_says_it_is_another_is_refused(retrieval: Retrieval) -> None:
    retrieval.store(ct("1.2.3.5"))
    refusal = retrieval.peer.command()
    assert refusal == CStoreRSP(1, CT, "1.2.3.4", 0xA900, "the data set's SOP Instance UID is not the command's")
    assert retrieval.admitted == []
    retrieval.peer.send(FINAL, context_id=5)
    assert retrieval.operation.outcome is not None
    assert retrieval.operation.outcome.failed == 1


def test_a_sop_class_that_is_not_its_contexts_is_refused_unseen(retrieval: Retrieval) -> None:
    retrieval.peer.raw(message(9, CStoreRQ(1, MR, "1.2.3.4"), b"nonsense"))
    assert retrieval.statuses == [statuses.SOP_CLASS_NOT_SUPPORTED]
    retrieval.store(ct())
    assert retrieval.statuses == [statuses.SUCCESS]


def test_what_is_not_admitted_is_refused_as_it_was_decided(network: Network) -> None:
    retrieval = Retrieval(network, lambda command, instance: Refusal(0x0124, "not asked for"))
    retrieval.store(ct(size=40_000))
    assert retrieval.peer.command() == CStoreRSP(1, CT, "1.2.3.4", 0x0124, "not asked for")
    assert retrieval.operation.instances.held == 0


@pytest.mark.parametrize(("fire", "status"), [("callback", 0xB000), ("errback", 0xA700)])
def test_a_response_may_wait_for_what_becomes_of_the_object(network: Network, fire: str, status: int) -> None:
    kept: Deferred[int] = Deferred()
    retrieval = Retrieval(network, lambda command, instance: Admission(retrieval.operation.instances, kept))
    retrieval.store(ct())
    assert retrieval.peer.new == b""
    getattr(kept, fire)(status if fire == "callback" else TransportError("lost"))
    assert retrieval.statuses == [status]


def test_a_response_that_comes_after_the_end_is_not_sent(network: Network) -> None:
    kept: Deferred[int] = Deferred()
    retrieval = Retrieval(network, lambda command, instance: Admission(retrieval.operation.instances, kept))
    retrieval.store(ct())
    retrieval.peer.abort()
    kept.callback(0)
    assert retrieval.peer.new == b""


def test_who_reads_is_told_the_valve_and_the_body_before_the_object(network: Network) -> None:
    told: list[Any] = []

    def through(*those: Any) -> None:
        told.append((*those, retrieval.operation.instances.held))

    retrieval = Retrieval(network, lambda *_: Admission(retrieval.operation.instances, through=through))
    retrieval.store(ct())
    assert told == [(retrieval.association.protocol.valve, retrieval.admitted[0][1].data_set, 0)]


# Backpressure


def test_a_reader_that_does_not_read_an_object_pauses_the_peer(retrieval: Retrieval) -> None:
    big = ct(size=4 * DATA_SET_WINDOW)
    retrieval.store(big)
    assert retrieval.peer.transport.paused
    assert content(result(read(retrieval.next().data_set))) == big
    assert not retrieval.peer.transport.paused


def test_a_reader_that_waits_pauses_nobody(retrieval: Retrieval) -> None:
    big = ct(size=4 * DATA_SET_WINDOW)
    instance = spawn(retrieval.operation.instances.__anext__())
    reads = instance.addCallback(lambda one: read(one.data_set))
    retrieval.store(big)
    assert not retrieval.peer.transport.paused
    assert content(result(reads)) == big


def test_the_window_is_what_it_says(retrieval: Retrieval) -> None:
    head = header()
    retrieval.peer.raw(p_data(9, encode_command(store_rq()), is_command=True))
    retrieval.peer.raw(p_data(9, head, is_last=False))
    body = retrieval.next().data_set
    left = DATA_SET_WINDOW - max(len(head), PIECE_COST) - 1
    for size in (16_000,) * (left // 16_000) + (left % 16_000,):
        retrieval.peer.raw(p_data(9, bytes(size), is_last=False))
    assert not retrieval.peer.transport.paused
    retrieval.peer.raw(p_data(9, b"\0", is_last=False))
    assert retrieval.peer.transport.paused
    spawn(body.aclose())
    assert not retrieval.peer.transport.paused


def test_a_fragment_counts_for_what_it_takes(retrieval: Retrieval) -> None:
    retrieval.peer.raw(p_data(9, encode_command(store_rq()), is_command=True), p_data(9, header(), is_last=False))
    body = retrieval.next().data_set
    for _ in range(DATA_SET_WINDOW // PIECE_COST - 2):
        retrieval.peer.raw(p_data(9, b"a", is_last=False))
    assert not retrieval.peer.transport.paused
    retrieval.peer.raw(p_data(9, b"a", is_last=False))
    assert retrieval.peer.transport.paused
    spawn(body.aclose())


def test_an_object_of_another_class_than_it_says_is_refused(retrieval: Retrieval) -> None:
    retrieval.peer.raw(message(9, store_rq(), header().replace(CT.encode(), MR.encode())))
    assert retrieval.statuses == [statuses.DATA_SET_DOES_NOT_MATCH]
    assert retrieval.admitted == []


LARGEST = 1000


@pytest.mark.parametrize("head", [len(header()), 10])
def test_an_object_at_its_limit_is_taken_and_one_byte_more_is_not(network: Network, head: int) -> None:
    association, peer = network.associate(max_object_bytes=LARGEST)
    operation = association.get(GET, STUDY, admit=lambda command, instance: Admission(operation.instances))
    data = ct(size=LARGEST - len(ct(size=0)))
    assert len(data) == LARGEST
    peer.raw(message(9, store_rq(), data))
    assert content(result(read(result(spawn(operation.instances.__anext__())).data_set))) == data
    peer.raw(p_data(9, encode_command(store_rq("1.2.3.5", 2)), is_command=True))
    peer.raw(p_data(9, header("1.2.3.5")[:head], is_last=False))
    began = spawn(operation.instances.__anext__()) if head > 10 else None
    peer.raw(p_data(9, bytes(LARGEST - head), is_last=False) if head > 10 else p_data(9, bytes(LARGEST), is_last=False))
    peer.raw(p_data(9, bytes(1), is_last=False), p_data(9, bytes(20)))
    [_, refused] = [one for one in peer.commands() if isinstance(one, CStoreRSP)]
    assert (refused.status, "max_object_bytes" in refused.error_comment) == (statuses.OUT_OF_RESOURCES, True)
    if began is not None:
        why = failure(read(result(began).data_set))
        assert (type(why), "max_object_bytes" in str(why)) == (PeerError, True)
    assert not association.is_closed


def test_instances_that_nobody_takes_pause_the_peer(retrieval: Retrieval) -> None:
    for n in range(INSTANCE_WINDOW - 1):
        retrieval.store(ct(f"1.2.{n}"), f"1.2.{n}", n)
    assert not retrieval.peer.transport.paused
    retrieval.store(ct("1.2.99"), "1.2.99", 99)
    assert retrieval.peer.transport.paused
    for _ in range(INSTANCE_WINDOW // 2):
        retrieval.next()
    assert not retrieval.peer.transport.paused


def test_an_object_that_is_given_up_is_dropped_while_the_retrieval_goes_on(retrieval: Retrieval) -> None:
    big = ct(size=DATA_SET_WINDOW)
    retrieval.peer.raw(p_data(9, encode_command(store_rq()), is_command=True), p_data(9, big[:9000], is_last=False))
    result(spawn(retrieval.next().data_set.aclose()))
    for start in range(9000, len(big), 9000):
        retrieval.peer.raw(p_data(9, big[start : start + 9000], is_last=start + 9000 >= len(big)))
    assert not retrieval.peer.transport.paused
    assert retrieval.statuses == [statuses.SUCCESS]
    retrieval.store(ct("1.2.5"), "1.2.5", 2)
    assert content(result(read(retrieval.next().data_set))) == ct("1.2.5")


def test_the_last_window_stays_readable_after_the_end_and_holds_nobody_up(retrieval: Retrieval) -> None:
    big = ct(size=2 * DATA_SET_WINDOW)
    retrieval.store(big)
    assert retrieval.peer.transport.paused
    retrieval.peer.send(FINAL, context_id=5)
    assert not retrieval.association.busy
    assert not retrieval.peer.transport.paused
    [instance] = result(read(retrieval.operation.instances))
    assert content(result(read(instance.data_set))) == big


# The end of an object that is under way


def test_an_object_is_cut_short_with_its_association(retrieval: Retrieval) -> None:
    retrieval.peer.raw(p_data(9, encode_command(store_rq()), is_command=True), p_data(9, ct()[:300], is_last=False))
    instances = read(retrieval.operation.instances)
    body = read(retrieval.admitted[0][1].data_set)
    retrieval.peer.abort()
    for deferred in (instances, body):
        assert isinstance(failure(deferred), TransportError)


def test_a_retrieval_that_is_given_up_drops_the_object_under_way(retrieval: Retrieval) -> None:
    retrieval.store(ct("1.2.1", size=DATA_SET_WINDOW), "1.2.1")
    assert retrieval.peer.transport.paused
    retrieval.peer.raw(p_data(9, encode_command(store_rq()), is_command=True), p_data(9, ct()[:300], is_last=False))
    bodies = [one.data_set for _, one in retrieval.admitted]
    result(spawn(retrieval.operation.instances.aclose()))
    assert not retrieval.peer.transport.paused
    assert isinstance(failure(read(bodies[1])), Cancelled)
    assert retrieval.peer.commands()[-1] == CCancelRQ(1)
    retrieval.peer.raw(p_data(9, ct()[300:]))
    assert retrieval.statuses == [statuses.SUCCESS]


def test_a_receiver_without_a_command_takes_nothing(network: Network) -> None:
    association, _ = network.associate()
    receiver = InstanceReceiver(
        association.protocol, lambda *_: Refusal(0, ""), source_ae_title="", receiving_ae_title=""
    )
    receiver.fragment(memoryview(b"ab"), True)
    receiver.drop(TransportError("nothing"))
    receiver.lost(TransportError("nothing"))
    receiver.read_ended()
    assert (receiver.receiving, receiver.refused) == (False, 0)


def test_who_is_not_told_of_malformed_objects_has_them_refused_all_the_same(network: Network) -> None:
    association, peer = network.associate()
    receiver = InstanceReceiver(
        association.protocol, lambda *_: Refusal(0, ""), source_ae_title="", receiving_ae_title=""
    )
    receiver.command(9, store_rq())
    receiver.fragment(memoryview(header()[:-5]), True)
    assert receiver.refused == 1
    [refusal] = peer.commands()
    assert isinstance(refusal, CStoreRSP)
    assert refusal.status == statuses.CANNOT_UNDERSTAND


def test_an_admission_to_a_stream_that_nobody_reads_drops_the_object(network: Network) -> None:
    done: Feed[Instance] = Feed(limit=1)
    done.end()
    retrieval = Retrieval(network, lambda *_: Admission(done))
    instances = read(retrieval.operation.instances)
    retrieval.store(ct(size=3 * DATA_SET_WINDOW))
    assert retrieval.statuses == [statuses.SUCCESS]
    assert pending(instances)
    assert not retrieval.peer.transport.paused
    retrieval.peer.send(FINAL, context_id=5)
    assert result(instances) == []
