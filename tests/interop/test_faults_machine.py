"""What the gateway runs on fails: descriptors are used up, readers are slow and many, a decoder crashes or hangs."""

import errno
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from harmonygw.dicom.upperlayer.negotiation import AssociateRQ, ProposedContext
from harmonygw.net.association.operations import Timing
from harmonygw.net.association.requestor import Association
from harmonygw.net.connecting import target_endpoint
from tests.interop import house as house_module
from tests.interop.held import IMPLICIT, VERIFICATION, Held, study_of
from tests.interop.hospital import Hospital
from tests.interop.house import ANY_DICOM, CLIENT, CONFIGURATION, STUDY, Client, House, reactor
from tests.interop.pacs import PACS

MIB = 1024 * 1024
SEARCH = "/dicom/studies?StudyInstanceUID=1.2"
CLIENTS = 60
STREAMS = 4
MOST_GROWTH = 96 * MIB
"""Bytes of resident memory that these clients may cost, the PACS of this process included."""
ROWS = COLUMNS = 64
PIXELS = {
    "00280002": {"vr": "US", "Value": [1]},
    "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
    "00280010": {"vr": "US", "Value": [ROWS]},
    "00280011": {"vr": "US", "Value": [COLUMNS]},
    "00280100": {"vr": "US", "Value": [16]},
    "00280101": {"vr": "US", "Value": [16]},
    "00280102": {"vr": "US", "Value": [15]},
    "00280103": {"vr": "US", "Value": [0]},
}
RENDERED = f"{STUDY}/series/1.2.3/instances/1.2.3.4/rendered"


@contextmanager
def no_descriptors() -> Iterator[Callable[[], None]]:
    """Let this process have no descriptor that it has not yet; what is given takes those that were closed since."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def take() -> None:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)

    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        take()
        yield take
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@ensureDeferred
async def test_without_a_descriptor_for_the_pacs_it_is_503_and_no_fault_of_the_pacs(tmp_path: Path) -> None:
    pacs = PACS(study_of(1))
    async with House(tmp_path, pacs) as house:
        clients = [await house.connect() for _ in range(4)]
        with no_descriptors() as take:
            for client in clients:
                take()
                client.request(SEARCH)
                reply = await client.reply()
                assert reply.status == 503
                assert int(reply.headers["retry-after"]) >= 1
                assert "descriptor" not in reply.content.decode()
            assert "Too many open files" in (await house.logged(4))["reason"]
        assert pacs.seen == []
        assert house.target["last_failure"] == "", "the circuit counts what the target does, and not what we lack"
        await house.audited(*["Query 8"] * 4, users=CLIENT)


@ensureDeferred
async def test_without_a_descriptor_an_association_is_dropped_and_the_next_one_accepted(tmp_path: Path) -> None:
    async with Hospital(tmp_path, {"A": PACS(study_of(1)), "B": PACS()}, scp=True) as hospital:
        with socket.socket() as peer:
            peer.setblocking(False)
            with no_descriptors():
                assert peer.connect_ex(("127.0.0.1", hospital.scp_port)) == errno.EINPROGRESS
                used = os.times()
                while (gone := _dropped(peer)) is None:
                    await _turn()
                assert gone
                # Nothing is left to be accepted, which would keep the reactor busy.
                for _ in range(20):
                    await _turn(0.01)
                spent = os.times()
                assert spent.user + spent.system - used.user - used.system < 0.15
        association = Association(
            clock=reactor, timing=Timing(first_answer=5, cancel_grace=1), silence_timeout=5, association_timeout=5
        )
        rq = AssociateRQ("HARMONYGW", "PEER", (ProposedContext(1, VERIFICATION, (IMPLICIT,)),))
        await association.request(target_endpoint(reactor, "127.0.0.1", hospital.scp_port, 5), rq)
        await association.echo()
        association.release()
        ended: Deferred[None] = Deferred()
        association.on_disconnect(lambda: ended.callback(None))
        await ended


def _dropped(peer: socket.socket) -> bool | None:
    """Whether a connection has been ended by the other side; None while nothing has come."""
    try:
        return peer.recv(1) == b""
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return True
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        return None


async def _turn(secs: float = 0.001) -> None:
    turn: Deferred[None] = Deferred()
    reactor.callLater(secs, turn.callback, None)
    await turn


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@ensureDeferred
async def test_many_clients_that_do_not_read_cost_little_memory_and_the_rest_is_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = PACS([Held(size=512 * MIB)])
    long = CONFIGURATION.replace("write_timeout_secs = 0.5", "write_timeout_secs = 30")
    monkeypatch.setattr(house_module, "CONFIGURATION", long)
    async with House(tmp_path, pacs, max_associations=STREAMS + 1, queue_timeout_secs=0.3) as house:
        assert (await house.ask(SEARCH)).status == 200
        before = resident()
        clients: list[Client] = [await house.connect(receive_buffer=65_536) for _ in range(CLIENTS)]
        for one in clients:
            one.request(STUDY, ANY_DICOM)
        await house.logged(1 + CLIENTS - STREAMS)

        def begun() -> list[Client]:
            return [one for one in clients if one.received.startswith(b"HTTP/1.1 200")]

        await house._until(lambda: len(begun()) == STREAMS)
        streaming = begun()
        for one in streaming:
            one.transport.pauseProducing()
        refused = [one for one in clients if one not in streaming]
        for reply in await gatherResults([Deferred.fromCoroutine(one.reply()) for one in refused]):
            assert (reply.status, "retry-after" in reply.headers) == (503, True)
        sent = -1
        while sent != (sent := sum(one.sent for one in pacs.connections)):
            await _turn(0.1)
        assert resident() - before < MOST_GROWTH
        assert (await house.ask(SEARCH)).status == 200
        for one in streaming:
            one.transport.abortConnection()
        await house.freed()
        pacs.held = study_of(1)


def workers() -> list[int]:
    """The worker processes of this one."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == os.getpid() and b"worker" in command:
            found.append(int(folder.name))
    return found


@pytest.mark.parametrize("crashes", [False, True], ids=["hangs", "crashes"])
@ensureDeferred
async def test_a_decoder_that_hangs_or_crashes_costs_its_request_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crashes: bool
) -> None:
    pytest.importorskip("imagecodecs")
    options = "max_results = 50, rendering_processes = 1, rendering_timeout_secs = 1"
    monkeypatch.setattr(house_module, "CONFIGURATION", CONFIGURATION.replace("max_results = 50", options))
    pacs = PACS([Held(size=2 * ROWS * COLUMNS, more=PIXELS)])
    async with House(tmp_path, pacs) as house:
        await house.gateway.when_ready()
        assert (await house.ask(RENDERED, "image/png")).status == 200
        [worker] = workers()
        os.kill(worker, signal.SIGSTOP)
        started = house.now
        hit = Deferred.fromCoroutine(house.ask(RENDERED, "image/png"))
        await pacs.saw("C-GET-RQ", 2)
        assert (await house.ask(SEARCH)).status == 200
        await _turn(0.2)
        assert not hit.called
        if crashes:
            os.kill(worker, signal.SIGKILL)
        reply = await hit
        assert (reply.status, "worker" in reply.content.decode()) == (500, False)
        assert house.now - started < (0.9 if crashes else 3)
        assert house.exchanges[-1]["reason"].startswith("RenderingFailed")
        reply = await house.ask(RENDERED, "image/png")
        assert (reply.status, reply.content[:8]) == (200, b"\x89PNG\r\n\x1a\n")
        assert workers() != [worker]
        await house.audited("Accessed 0", "Query 0", "Accessed 8", "Accessed 0", users=CLIENT[:2])
