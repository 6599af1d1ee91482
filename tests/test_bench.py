"""The benchmarks' own parts at their smallest: what they measure with has to be right before a figure is."""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Thread

import pydicom
import pytest

from bench import __main__ as command_line
from bench import besiegers, objects, reader, relay, requestor, sender, synthetic, wire
from bench.report import Figure
from bench.synthetic import Study
from harmonygw.dicom.dataset.header_scan import HeaderScan
from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.commands import CGetRQ, CGetRSP, CStoreRQ, CStoreRSP, encode_command
from harmonygw.dicom.dimse.messages import CommandReceived, DataSetFragment, MessageReader, pdvs
from harmonygw.dicom.upperlayer.events import AssociateConfirm, Fragment, ReleaseConfirm
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ, ProposedContext
from harmonygw.dicom.upperlayer.provider import UpperLayer

STUDY = Study(instances=3, frames=1)


@contextmanager
def serving(serve: Callable[..., None], *arguments: int) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=serve, args=(listener, *arguments))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@pytest.fixture
def source_port() -> Iterator[int]:
    with serving(synthetic.serve) as port:
        yield port


class Client:
    """The gateway's own words on a blocking socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._upper_layer = UpperLayer(requestor=True)

    def associate(self, *contexts: ProposedContext) -> dict[int, str]:
        self._upper_layer.associate(AssociateRQ("SYNTHETIC", "TEST", contexts), 0)
        self._upper_layer.connected(0)
        assert isinstance(next(self._events()), AssociateConfirm)
        return {one.context_id: one.transfer_syntax for one in self._upper_layer.contexts.values()}

    def send(self, command: CGetRQ | CStoreRSP, context_id: int, data_set: bytes | None = None) -> None:
        length = self._upper_layer.max_send_length
        self._upper_layer.send(pdvs(context_id, encode_command(command), is_command=True, max_length=length), 0)
        if data_set is not None:
            self._upper_layer.send(pdvs(context_id, data_set, is_command=False, max_length=length), 0)

    def messages(self) -> Iterator[CommandReceived | DataSetFragment]:
        reader = MessageReader()
        for event in self._events():
            assert isinstance(event, Fragment)
            message = reader.feed(event.context_id, event.is_command, event.is_last, event.data)
            if message is not None:
                yield message

    def release(self) -> object:
        self._upper_layer.release(0)
        event = next(self._events())
        self._socket.close()
        return event

    def _events(self) -> Iterator[object]:
        while True:
            self._socket.sendall(b"".join(self._upper_layer.take()))
            yield from self._upper_layer.receive(self._socket.recv(wire.READ_SIZE), 0)


def stored(store: CStoreRQ) -> CStoreRSP:
    return CStoreRSP(store.message_id, store.affected_sop_class_uid, store.affected_sop_instance_uid, statuses.SUCCESS)


def test_the_synthetic_source_sends_our_own_client_every_instance(source_port: int) -> None:
    client = Client(source_port)
    syntaxes = client.associate(
        ProposedContext(1, wire.STUDY_ROOT_GET, (wire.IMPLICIT_VR_LITTLE_ENDIAN,)),
        ProposedContext(3, synthetic.MULTI_FRAME_WORD_SC, (wire.IMPLICIT_VR_LITTLE_ENDIAN,), False, True),
        ProposedContext(5, synthetic.MULTI_FRAME_WORD_SC, (wire.EXPLICIT_VR_LITTLE_ENDIAN,), False, True),
    )
    assert syntaxes == {1: wire.IMPLICIT_VR_LITTLE_ENDIAN, 5: wire.EXPLICIT_VR_LITTLE_ENDIAN}
    identifier = wire.element(0x00080052, "STUDY") + wire.element(0x0020000D, wire.uid(STUDY.uid))
    client.send(CGetRQ(7, wire.STUDY_ROOT_GET), 1, identifier)
    received: list[tuple[CStoreRQ, bytearray]] = []
    for message in client.messages():
        if isinstance(message, DataSetFragment):
            store, data_set = received[-1]
            data_set += message.data
            if message.is_last:
                client.send(stored(store), message.context_id)
        elif isinstance(message.command, CStoreRQ):
            received.append((message.command, bytearray()))
        else:
            assert message.command == CGetRSP(
                7, wire.STUDY_ROOT_GET, statuses.SUCCESS, completed=3, failed=0, warning=0
            )
            break
    assert isinstance(client.release(), ReleaseConfirm)
    uids = [store.affected_sop_instance_uid for store, _ in received]
    assert uids == [STUDY.instance_uid(index) for index in range(3)]
    for uid, (_, data_set) in zip(uids, received, strict=True):
        scan = HeaderScan(wire.EXPLICIT_VR_LITTLE_ENDIAN)
        assert scan.feed(bytes(data_set))
        assert (scan.values["SOPInstanceUID"], scan.values["StudyInstanceUID"]) == (uid, STUDY.uid)
        assert data_set.endswith(synthetic.pixels(synthetic.FRAME_SIZE))


def test_the_requestor_finds_and_retrieves(source_port: int) -> None:
    peer = requestor.Requestor(source_port, "SYNTHETIC", storage_class=synthetic.MULTI_FRAME_WORD_SC)
    assert peer.find({0x0020000D: wire.uid(STUDY.uid)})[1] == 1
    first_object, received = peer.get(STUDY.uid)
    peer.close()
    assert received == 3
    assert first_object > 0


def test_the_relay_passes_on_the_bytes_of_the_sub_operations(source_port: int) -> None:
    heads, tail = synthetic.encoded(STUDY, 1, wire.MAX_PDU_LENGTH)
    with serving(relay.serve, source_port) as port:
        (reading,) = reader.perform_all([reader.Demand(port, raw=STUDY.uid)])
    assert reading.complete
    assert reading.size == sum(map(len, heads)) + 3 * len(tail)


@pytest.mark.parametrize(
    ("reply", "complete"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n6\r\n--b--\r\n\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n6\r\n--b--\r\n", False),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n6\r\n--b--\r\n\r\n0\r\n\r\n", False),
    ],
)
def test_the_reader_tells_a_whole_reply_from_one_that_was_broken_off(reply: bytes, complete: bool) -> None:
    def serve(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with accepted:
            accepted.recv(4096)
            accepted.sendall(reply)

    with serving(serve) as port:
        (reading,) = reader.perform_all([reader.Demand(port, path="/studies")])
    assert reading.complete is complete


ANSWER = b'{"00081199": {"vr": "SQ", "Value": [{}, {}, {}]}}'


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"a\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (ANSWER[:10], len(ANSWER) - 10, ANSWER[10:]),
    ],
)
def test_the_sender_sends_every_file_and_counts_what_was_stored(reply: bytes, tmp_path: Path) -> None:
    received = bytearray()
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(name.encode() * 1000)

    def serve(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with accepted:
            while not received.endswith(b"--\r\n"):
                received.extend(accepted.recv(65_536))
            accepted.sendall(reply)

    with serving(serve) as port:
        sent = sender.perform(sender.Sending(port, "/studies", str(tmp_path)))
    assert (sent.status, sent.stored) == (200, 3)
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    boundary = head.partition(b"boundary=")[2].partition(b"\r\n")[0]
    _, first, second, end = (b"\r\n" + body).split(b"\r\n--" + boundary)
    assert first.endswith(b"\r\n\r\n" + b"a" * 1000)
    assert second.endswith(b"\r\n\r\n" + b"b" * 1000)
    assert end == b"--\r\n"


def test_the_large_instance_is_one_whose_pixels_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LARGE_MULTI_FRAMES", 3)
    [path] = objects.large_multi_frame(tmp_path)
    image = pydicom.dcmread(path)
    assert len(image.PixelData) == 3 * synthetic.FRAME_SIZE
    assert image.NumberOfFrames == 3


def test_each_kind_of_besieger_is_there_and_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(besiegers, "TURN_SECS", 0.01)
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener, ours, theirs:
        listener.settimeout(10)
        arguments = (listener.getsockname()[1], len(besiegers.SAID), theirs)
        thread = Thread(target=besiegers.besiege, args=arguments)
        thread.start()
        accepted = [listener.accept() for _ in besiegers.SAID]
        for (client, (address, _)), (kind, words) in zip(accepted, besiegers.SAID.items(), strict=True):
            client.settimeout(10)
            trickle = b"xxx" if kind in besiegers.TRICKLES else b""
            said = b""
            while len(said) < len(words) + len(trickle):
                said += client.recv(len(words) + len(trickle) - len(said))
            assert (address, said) == (besiegers.ADDRESSES[0], words + trickle)
        for client, _ in accepted:
            client.close()
        for client, _ in [listener.accept() for _ in besiegers.SAID]:
            client.close()
        ours.send(b"x")
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("share", [0.9, 0.1, 0.65], at_least=0.65), True),
        (Figure("share", [0.9, 0.1, 0.64], at_least=0.65), False),
        (Figure("time", [1.0, 9.0, 1.25], at_most=1.25), True),
        (Figure("time", [1.0, 9.0, 1.26], at_most=1.25), False),
        (Figure("rate", [1.0]), True),
    ],
)
def test_a_figure_is_its_runs_median_held_against_its_target(figure: Figure, met: bool) -> None:
    assert figure.met is met
    assert ("MISSED" in figure.line()) is not met


def test_every_measurement_is_there() -> None:
    for name in command_line.MEASUREMENTS:
        assert callable(import_module(f"bench.{name}").measure)


def test_a_measurement_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "luck"])
    with pytest.raises(SystemExit):
        command_line.main()
    assert "luck is none of throughput" in capsys.readouterr().err
