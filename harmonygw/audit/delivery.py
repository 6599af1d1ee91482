"""The audit trail's way out: onto the disk, then to the collector, in order, as often as it takes.

A message that `put` has taken is delivered once at least. It is delivered twice when nobody can tell whether it was:
after the loss of a connection, or of the machine.
"""

import os
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import uniform
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from harmonygw.audit.collector import Collector
from harmonygw.audit.file_writer import FileWriter
from harmonygw.audit.folder import Position
from harmonygw.audit.spool import Spool
from harmonygw.audit.syslog import NOTICE, Sender
from harmonygw.audit.tls_collector import TLSCollector
from harmonygw.audit.udp_collector import UDPCollector
from harmonygw.config.audit import Audit
from harmonygw.disk import Disk
from harmonygw.errors import HarmonyError, TimedOut, Unrecorded
from harmonygw.journal import describe

FIRST_BACKOFF: Final = 1.0
"""Seconds until a collector that is away is tried again; each failure doubles them."""

LONGEST_BACKOFF: Final = 60.0
"""Seconds between attempts at most: a collector that came back is noticed within a minute."""

JITTER: Final = 0.5
"""The part of a wait that is left to chance, so that gateways do not all come back at once."""

LOOK_SECS: Final = 0.5
"""Seconds between looks at what has been taken."""

STALL_SECS: Final = 60.0
"""Seconds in which a collector has to take something of what was sent; then it counts as lost."""

MAX_UNSETTLED_BYTES: Final = 64 * 1024 * 1024
"""Bytes that have been sent and may have to be sent again. Default 64 MiB: over TLS 12 MiB/s, with 5 s to settle. They
lie on the disk."""

STOP_SECS: Final = 5.0
"""Seconds that the stop waits for what can be delivered; the rest waits for the next start."""

log = Logger(namespace="harmonygw.audit")


@dataclass(slots=True)
class _Sent:
    size: int
    messages: int
    number: int
    """Messages since the collector was reached, with these."""
    end: Position
    taken_at: float | None = None


def collector_for(settings: Audit, reactor: Any, disk: Disk) -> Collector:
    """Return who takes the messages; raises `ConfigurationError` when a certificate or key cannot be used."""
    match settings.transport:
        case "syslog_tls":
            return TLSCollector(settings, reactor)
        case "syslog_udp":
            return UDPCollector(settings.host, settings.effective_port, reactor, disk)
        case "file":
            return FileWriter(settings.path, disk)


class Delivery:
    """Takes messages and delivers them, from `start` to `stop`."""

    def __init__(
        self,
        settings: Audit,
        reactor: Any,
        *,
        disk: Disk | None = None,
        collector: Collector | None = None,
        hostname: str = "",
        now: Callable[[], float] = time.time,
        chance: Callable[[float, float], float] = uniform,
    ) -> None:
        """Raises `ConfigurationError` when a certificate or key cannot be used."""
        self._settings = settings
        self._reactor = reactor
        self._disk = disk or Disk(reactor, threads=2, name="audit")
        self._collector = collector or collector_for(settings, reactor, self._disk)
        self._spool = Spool(settings, reactor, self._disk, now=now)
        self._sender = Sender(settings.facility, hostname or socket.gethostname(), str(os.getpid()))
        self._now = now
        self._chance = chance
        self._window: deque[_Sent] = deque()
        self._number = 0
        self._unsettled = 0
        self._progress = 0.0
        self._backoff = FIRST_BACKOFF
        self._is_away = False
        self._connected = False
        self._stopping = False
        self._failure = ""
        self._lost: HarmonyError | None = None
        self._change: Deferred[None] | None = None
        self._timers: dict[str, IDelayedCall] = {}
        self._running: Deferred[None] | None = None
        self._refused = 0

    async def start(self) -> None:
        """Take what an earlier process has left, and messages from now on; the collector need not be there.

        Raises `ConfigurationError` when the spool's folder cannot be used.
        """
        self._disk.start()
        try:
            await self._spool.start()
        except BaseException:
            await self._disk.stop()
            raise
        if self._spool.waiting:
            log.info("audit: {waiting} records wait since before the start", waiting=self._spool.waiting)
        self._running = Deferred.fromCoroutine(self._run())

    async def stop(self) -> None:
        """Deliver what can be in `STOP_SECS`, and take no more; the rest is on the disk."""
        self._stopping = True
        running, self._running = self._running, None
        if running is None:
            return
        ended: Deferred[None] = Deferred()
        running.addErrback(lambda failure: failure.trap(CancelledError)).addBoth(ended.callback)
        if self._connected:
            self._set("stop", STOP_SECS, running.cancel)
            self._notify()
        else:
            running.cancel()
        await ended
        self._cancel(*self._timers)
        await self._spool.stop()
        await self._disk.stop()

    def put(self, xml: bytes, severity: int = NOTICE) -> None:
        """Take a message, UTF-8, at most `max_xml_bytes`. When this returns it outlives our death, and `sync_secs`
        later that of the machine.

        Raises `Unrecorded` when it is not taken: the spool is full or cannot be written, or the message is too long.
        """
        message = self._sender.message(xml, severity, self._now())
        try:
            if len(message) > self._settings.max_message_bytes:
                sentence = f"a message of {len(message)} bytes is longer than max_message_bytes"
                log.error("audit: {sentence}: it is lost", sentence=sentence)
                raise Unrecorded("the audit trail takes no record", log_detail=sentence)
            self._spool.append(message)
        except Unrecorded:
            self._refused += 1
            raise
        self._notify()

    @property
    def accepting(self) -> bool:
        """Whether a message of any allowed length would be taken."""
        return not self._spool.refusal

    @property
    def max_xml_bytes(self) -> int:
        """Bytes of XML that are taken: `max_message_bytes` without the header of syslog."""
        return self._settings.max_message_bytes - self._sender.overhead

    def state(self) -> dict[str, Any]:
        """Return how it stands, for whoever runs the gateway; nothing of any message."""
        oldest = self._spool.oldest()
        return {
            "collector": self._collector.name,
            "connected": self._connected and not self._is_away,
            "accepting": self.accepting,
            "refusal": self._spool.refusal,
            "waiting": self._spool.waiting,
            "spool_bytes": self._spool.size,
            "max_spool_bytes": self._settings.max_spool_bytes,
            "oldest": None if oldest is None else datetime.fromtimestamp(oldest, UTC).isoformat(timespec="seconds"),
            "lost": self._refused + self._spool.damaged,
            "set_aside": self._spool.aside,
            "failure": self._failure,
        }

    # The collector

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._reach()
                await self._drain()
                if await self._collector.close():
                    self._deliver(len(self._window))
            except CancelledError:
                raise
            except HarmonyError as error:
                self._go_away(self._lost or error)
            except Exception:  # noqa: BLE001 - a trail that ended here would end without anybody's notice
                log.failure("audit: the delivery failed, and begins again")
            finally:
                self._forget()
            if not self._stopping:
                await self._pause()

    async def _reach(self) -> None:
        self._lost = None
        await self._collector.open(self._lose)
        self._connected = True
        self._progress = self._reactor.seconds()
        self._set("prove", self._collector.settle_secs, self._come_back)

    def _forget(self) -> None:
        """Have everything that may not have arrived sent again."""
        self._connected = False
        self._cancel("prove", "look")
        self._collector.abort()
        self._window.clear()
        self._number = self._unsettled = 0

    async def _pause(self) -> None:
        wait = self._backoff * self._chance(1 - JITTER, 1)
        self._backoff = min(self._backoff * 2, LONGEST_BACKOFF)
        over: Deferred[None] = Deferred()
        self._set("pause", wait, lambda: over.callback(None))
        try:
            await over
        finally:
            self._cancel("pause")

    def _lose(self, error: HarmonyError) -> None:
        self._lost = error
        self._notify()

    def _go_away(self, error: HarmonyError) -> None:
        self._failure = describe(error)
        if not self._is_away:
            self._is_away = True
            log.warn(
                "audit: {collector} is away: {failure}; records wait in {path}",
                collector=self._collector.name,
                failure=self._failure,
                path=self._settings.spool_path,
            )

    def _come_back(self) -> None:
        if self._lost is not None:
            return
        self._backoff = FIRST_BACKOFF
        if self._is_away:
            self._is_away = False
            self._failure = ""
            log.info("audit: {collector} is there again", collector=self._collector.name)

    # What goes to it

    async def _drain(self) -> None:
        """Send what waits and what comes, until it is lost, or all is sent and we stop."""
        cursor = self._spool.confirmed
        while True:
            if self._lost is not None:
                raise self._lost
            if self._unsettled >= MAX_UNSETTLED_BYTES:
                await self._changed()
                continue
            batch = await self._spool.read(cursor, self._collector.batch_bytes)
            cursor = batch.end
            if batch.messages:
                await self._send(batch.messages, batch.end)
                continue
            if not self._window:
                self._spool.settle(cursor)
            if self._stopping:
                return
            await self._changed()

    async def _send(self, messages: list[bytes], end: Position) -> None:
        self._number += len(messages)
        size = sum(map(len, messages))
        self._unsettled += size
        if not self._window:
            self._progress = self._reactor.seconds()
        self._window.append(_Sent(size, len(messages), self._number, end))
        if "look" not in self._timers:
            self._set("look", LOOK_SECS, self._look)
        for unfit in await self._collector.send(messages):
            await self._spool.set_aside(unfit)
        if not self._collector.settle_secs:
            self._look()

    def _look(self) -> None:
        """See what has been taken, and for how long."""
        now, taken, settled = self._reactor.seconds(), self._collector.taken(), 0
        for sent in self._window:
            if sent.taken_at is None and sent.number <= taken:
                sent.taken_at = self._progress = now
            if sent.taken_at is not None and now - sent.taken_at >= self._collector.settle_secs:
                settled += 1
        self._deliver(settled)
        if self._window and self._window[-1].taken_at is None and now - self._progress >= STALL_SECS:
            self._lose(TimedOut(f"the collector has taken nothing for {STALL_SECS:g} seconds"))
            self._collector.abort()
        elif self._window:
            self._set("look", LOOK_SECS, self._look)

    def _deliver(self, batches: int) -> None:
        """Take batches off the window: they have arrived."""
        if batches:
            arrived = [self._window.popleft() for _ in range(batches)]
            self._unsettled -= sum(sent.size for sent in arrived)
            self._spool.deliver(arrived[-1].end, sum(sent.messages for sent in arrived))
            self._notify()

    # Waiting

    async def _changed(self) -> None:
        self._change = Deferred()
        await self._change

    def _notify(self) -> None:
        change, self._change = self._change, None
        if change is not None:
            change.callback(None)

    def _set(self, name: str, seconds: float, function: Callable[[], object]) -> None:
        def due() -> None:
            self._timers.pop(name, None)
            function()

        self._cancel(name)
        self._timers[name] = self._reactor.callLater(seconds, due)

    def _cancel(self, *names: str) -> None:
        for name in names:
            timer = self._timers.pop(name, None)
            if timer is not None and timer.active():
                timer.cancel()
