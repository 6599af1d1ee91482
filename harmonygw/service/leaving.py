"""The end of a house that another one has taken the place of: its exchanges end, and then what it alone has stops."""
# mypy: allow-untyped-calls

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from harmonygw.net.http.server import HTTPSite
from harmonygw.service.house import House
from harmonygw.service.life import Life, all_within, call

log = Logger()


class Leaving:
    """A house of before. `sites` are those that nothing of its successor listens for; `others` the houses that live.

    `older` are those that leave already: an association of theirs may have begun an exchange in this one.
    """

    def __init__(
        self,
        house: House,
        sites: Sequence[HTTPSite],
        others: Callable[[], Iterable[House]],
        life: Life,
        reactor: Any,
        older: "Sequence[Leaving]" = (),
    ) -> None:
        self.house = house
        self._older = older
        self._sites = sites
        self._others = others
        self._life = life
        self._reactor = reactor
        self._hastened = False
        self._waiting: Deferred[bool] | None = None
        self._watchers: list[Deferred[None]] = []
        self._ended = False
        self._running: Deferred[None] | None = None

    def begin(self) -> "Deferred[None]":
        """Begin to end; fires when that is done, or has been broken off."""
        self._running = Deferred.fromCoroutine(self._leave())
        self._running.addErrback(lambda failure: failure.trap(CancelledError) and None)
        return self.when_ended()

    def when_ended(self) -> "Deferred[None]":
        """Fire when nothing of it is left."""
        if self._ended:
            return succeed(None)
        watcher: Deferred[None] = Deferred()
        self._watchers.append(watcher)
        return watcher

    def hasten(self) -> None:
        """Give what is under way `drain_timeout_secs` more, and no longer."""
        if not self._hastened:
            self._hastened = True
            if self._waiting is not None:
                self._waiting.cancel()

    def break_off(self) -> None:
        """Break every exchange off that is still under way."""
        for entrance in self.house.entrances:
            call(entrance, "stop")
        for site in self._sites:
            site.connections.abort()

    def abandon(self) -> None:
        """Break it all off; its parts are for somebody else to stop."""
        self.break_off()
        if self._running is not None:
            self._running.cancel()
        self._end()

    async def _leave(self) -> None:
        proxy = self.house.configuration.proxy
        if not await self._within(proxy.reload_drain_timeout_secs, self._exchanges("retire", "drain")):
            log.info("exchanges of a configuration of before are told to end")
            drained = all_within(self._reactor, proxy.drain_timeout_secs, self._exchanges("drain"))
            if not await drained:
                log.warn("exchanges of a configuration of before have not ended; they are broken off")
        self.break_off()
        shared = {id(part) for house in self._others() for _, part in house.parts()}
        parts = [part for _, part in self.house.parts() if id(part) in shared]
        await self._within(proxy.reload_drain_timeout_secs, [call(part, "finish") for part in parts])
        # What was shared then may be nobody's now, and the other way round: a house may have come or gone.
        shared = {id(part) for house in self._others() for _, part in house.parts()}
        own = [(place, part) for place, part in self.house.parts() if id(part) not in shared]
        doors = {id(door) for door in self.house.doors.values()}
        draining = [call(part, "drain") for _, part in own if id(part) not in doors]
        await all_within(self._reactor, proxy.drain_timeout_secs, draining)
        await self._life.stop(own)
        self._end()

    def _exchanges(self, *names: str) -> "list[Deferred[Any]]":
        ending: list[Deferred[Any]] = [site.connections.drain() for site in self._sites]
        ending += [call(entrance, "drain") for entrance in self.house.entrances]
        ending += [one.when_ended() for one in self._older]
        return [*ending, *(call(door, *names) for door in self.house.doors.values())]

    async def _within(self, seconds: float, waiting: "list[Deferred[Any]]") -> bool:
        self._waiting = all_within(self._reactor, 0 if self._hastened else seconds, waiting)
        try:
            return await self._waiting
        except CancelledError:
            if not self._hastened or self._ended:
                raise
            return False
        finally:
            self._waiting = None

    def _end(self) -> None:
        self._ended = True
        self._older = ()
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.callback(None)
