"""The gateway's life: what was built begins, listens, is ready, gives way to what is built next, drains and ends."""
# mypy: allow-untyped-calls

from collections.abc import Iterable
from typing import Any, Final

import orjson
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from harmonygw.audit.trail import Repository
from harmonygw.config.model import Configuration, ListeningAddress
from harmonygw.errors import ConfigurationError, HarmonyError, TimedOut, TransportError
from harmonygw.exchange import Reply, Request
from harmonygw.net.http.tree import Text
from harmonygw.net.ports import Ports, Upcoming
from harmonygw.pipeline import Proceed
from harmonygw.service.auditing import titles_of, trail_of
from harmonygw.service.describing import describe, readiness
from harmonygw.service.difference import difference, needs_restart
from harmonygw.service.house import Ground, House
from harmonygw.service.leaving import Leaving
from harmonygw.service.life import ENDING_SECS, Life, all_within, call
from harmonygw.service.reloading import Changes, Reloads, Source
from harmonygw.service.sites import Bound, Mounted, Sites, Wanted

log = Logger()

MAX_LEAVING: Final = 8
"""Houses of before whose exchanges may still be under way. Default 8: the ninth has seen eight reloads, and is told to
end, so that reloads do not fill the memory."""


STARTING_SECS: Final = 300.0
"""Seconds that the parts of a new configuration have to start at a reload. Default 300: a storage backend may have to
index what it finds, and no reload after it has its turn before."""


class Gateway(Service):
    """Everything a configuration describes, started and stopped together, once.

    Building raises `ConfigurationError` with every problem that is found. `reread` brings the configuration again, for
    a reload that is not given one.
    """

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any,
        *,
        reread: Source | None = None,
        audit_repository: Repository | None = None,
    ) -> None:
        """`audit_repository` takes the messages of the audit trail in the place of what the configuration says."""
        self._reactor = reactor
        problems: tuple[str, ...] = ()
        self._trail = None
        try:
            self._trail = trail_of(configuration, reactor, audit_repository)
        except ConfigurationError as error:
            problems = tuple(f"audit: {problem}" for problem in error.problems)
        self._reread = reread
        self._ports = Ports(reactor)
        self._sites = Sites(reactor)
        self._life = Life(reactor)
        self._leaving: list[Leaving] = []
        self._coming: tuple[House, ...] = ()
        self._ground = Ground(
            reactor,
            self.describe,
            {"/healthz": Text(self._health), "/readyz": Text(self._readiness)},
            self._houses,
            self._reload_anew if reread is not None else None,
            self._trail,
            lambda: self._house,
        )
        try:
            self._house: House = House(configuration, self._ground, Upcoming(self._ports))
        except ConfigurationError as error:
            raise ConfigurationError((*problems, *error.problems)) from error
        if problems:
            raise configuration.told(problems)
        self._mounted: set[str] = set()
        self._bound = False
        self._beginning: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._failure: Failure | None = None
        self._started = False
        self._stopping = False
        self._reloads = Reloads(self._reload)
        self._reload_count = 0

    # What others may use

    @property
    def configuration(self) -> Configuration:
        """The configuration that is in force."""
        return self._house.configuration

    def resource(self, network: str) -> IResource:
        """Return the root of a network, to be mounted in somebody else's site; the gateway does not listen there then.

        It follows each reload. Raises `ConfigurationError` when the network serves no HTTP.
        """
        self._house.root(network)
        self._mounted.add(network)
        mounted: IResource = Mounted(lambda: self._house.root(network))
        return mounted

    def pipeline(self, name: str) -> Proceed:
        """Return a pipeline: a call with a `Request` fires with its `Reply`, or fails with what `errors` names.

        After a reload a call goes to the pipeline of that name then. Raises `ConfigurationError` when there is none.
        """

        def proceed(request: Request) -> "Deferred[Reply]":
            try:
                return self._pipeline(name)(request)
            except ConfigurationError:
                return fail()

        self._pipeline(name)
        return proceed

    def _pipeline(self, name: str) -> Proceed:
        try:
            return self._house.pipelines[name]
        except KeyError:
            raise ConfigurationError((f'there is no pipeline "{name}"',)) from None

    def address(self, network: str) -> ListeningAddress:
        """Return where an HTTP network listens: with the port that the system chose, once it has."""
        settings = self.configuration.networks[network].tcp_config
        return self._sites.address(network) or ListeningAddress(settings.bind_address, settings.bind_port)

    @property
    def ready(self) -> bool:
        """Whether requests are wanted: everything has started, and nothing is stopping."""
        return self._started and not self._stopping

    def when_ready(self) -> "Deferred[None]":
        """Fire when everything has started; fails with what prevented it, once all that had started has stopped."""
        if self._failure is not None:
            return fail(self._failure)
        if self._started:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def describe(self) -> dict[str, Any]:
        """Describe the running gateway, without secrets."""
        reloads = {"done": self._reload_count, "configurations_leaving": len(self._leaving)}
        audit = None if self._trail is None else self._trail.state()
        return {**describe(self._house, self.address, ready=self.ready, reloads=reloads), "audit": audit}

    def reload(self, configuration: Configuration | None = None) -> "Deferred[Changes]":
        """Put another configuration in the place of this one, without breaking an exchange off.

        Without one it is read anew, which fails when the gateway was not told how. Certificates are read again in any
        case. Fires with what has changed; fails with `ConfigurationError`, another `HarmonyError`, or what a third
        party's part raises, and then everything goes on as before.

        One reload at a time: of those that are asked for meanwhile the last one is done, in the place of all of them.
        """
        source = self._reread if configuration is None else lambda: configuration
        if source is None:
            return fail(ConfigurationError(("nobody has told where the configuration can be read again",)))
        return self._reloads.ask(source)

    def reload_certificates(self) -> None:
        """Read the certificates and keys of all listeners again, for connections from now on.

        What cannot be used is told in the log, and the listener goes on with what it had.
        """
        for what, certificates in self._house.certificates_in_use():
            try:
                certificates.reload()
            except ConfigurationError as error:
                log.error("{what} goes on with the certificate that it has: {error}", what=what, error=error)
            else:
                log.info("{what}: the certificate was read again", what=what)

    # Beginning

    def privilegedStartService(self) -> None:
        """Bind the ports, while the process may still bind low ones."""
        super().privilegedStartService()
        self.listen()

    def startService(self) -> None:
        """Start backends and DIMSE listeners; `ready` once all have."""
        super().startService()
        self.listen()
        _warn(self.configuration)
        self._beginning = Deferred.fromCoroutine(self._begin())

    def listen(self) -> None:
        """Bind every port, once. Raises `ConfigurationError` when one cannot be had; then none stays bound."""
        if self._bound:
            return
        self._bound = True
        self._house.ports.begin()
        bound, problems = self._bind(self._house)
        self._sites.replace(bound)
        for door in self._house.doors.values():
            try:
                self._life.listen(door)
            except ConfigurationError as error:
                problems.extend(error.problems)
        if problems:
            Deferred.fromCoroutine(self._close())
            raise self.configuration.told(problems)

    def _bind(self, house: House) -> tuple[dict[str, Bound], list[str]]:
        networks = house.configuration.networks
        wanted = {
            network: Wanted(networks[network], house.root(network), house.certificates.get(network))
            for network in house.trees
            if network not in self._mounted
        }
        return self._sites.bind(wanted, house.ports)

    async def _begin(self) -> None:
        try:
            await self._life.start((*self._of_all(), *self._house.parts()))
        except CancelledError:
            self._failure = Failure(TransportError("the gateway was stopped before it was ready"))
        except HarmonyError as error:
            log.error("the gateway cannot start: {error}", error=error)
            self._failure = Failure()
        except Exception:  # noqa: BLE001 - a third party's part may raise anything
            log.failure("the gateway cannot start")
            self._failure = Failure()
        else:
            self._started = True
        if self._failure is not None and not self._stopping:
            await self._close()
        self._tell_waiting()
        if self._started:
            log.info("ready")

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if self._failure is None:
                one.callback(None)
            else:
                one.errback(self._failure)

    # Giving way to another configuration

    async def _reload_anew(self) -> Changes:
        return await self.reload()

    async def _reload(self, source: Source) -> Changes:
        await self.when_ready()
        self.reload_certificates()
        try:
            return await self._move(source())
        except CancelledError:
            raise
        except ConfigurationError as error:
            for problem in error.problems:
                log.error("nothing is reloaded, the configuration is wrong: {problem}", problem=problem)
            raise
        except HarmonyError as error:
            log.error("nothing is reloaded: {error}", error=error)
            raise
        except Exception:
            log.failure("nothing is reloaded")
            raise

    async def _move(self, configuration: Configuration) -> Changes:
        """Move to a house that is built anew; whatever is raised, nothing has changed."""
        before = self.configuration
        house = House(configuration, self._ground, Upcoming(self._ports), self._house)
        new = [(place, part) for place, part in house.parts() if not self._life.has(part)]
        startable = [one for one in new if not self._life.is_held_up(one[1])]
        self._coming = (house,)
        starting = Deferred.fromCoroutine(self._life.start(startable))
        try:
            await starting.addTimeout(STARTING_SECS, self._reactor, _too_late)
            bound, problems = self._bind(house)
            if problems:
                for one in bound.values():
                    await one.lease.stopListening()
                raise configuration.told(problems)
        except BaseException:
            await self._life.stop(new)
            raise
        finally:
            self._coming = ()
        self._swap(house, bound)
        return _told(before, configuration)

    def _swap(self, house: House, bound: dict[str, Bound]) -> None:
        old, self._house = self._house, house
        house.inheritance.renew()
        if self._trail is not None:
            self._trail.renew(titles_of(house.configuration))
        house.ports.begin()
        leaving = Leaving(
            old,
            self._sites.replace(bound),
            lambda: [one for one in self._houses() if one is not old],
            self._life,
            self._reactor,
            older=tuple(self._leaving),
        )
        self._leaving.append(leaving)
        self._reload_count += 1
        leaving.begin().addCallback(lambda _: Deferred.fromCoroutine(self._left(leaving)))
        for one in self._leaving[:-MAX_LEAVING]:
            one.hasten()

    async def _left(self, leaving: Leaving) -> None:
        """A house is gone: what has waited for a folder of its can start."""
        self._leaving.remove(leaving)
        house = self._house
        for place, part in house.parts():
            if self._stopping or self._house is not house:
                return
            if self._life.has(part) or self._life.is_held_up(part):
                continue
            try:
                await self._life.start([(place, part)])
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - a third party's part may raise anything
                log.failure("{place} cannot start; it is not used before the next reload", place=place)
                await self._life.stop([(place, part)])

    def _houses(self) -> Iterable[House]:
        return (*self._coming, self._house, *(one.house for one in self._leaving))

    # Ending

    def stopService(self) -> "Deferred[None]":
        """Drain: say that no more is wanted, stop accepting, let exchanges end within a deadline, then abort."""
        super().stopService()
        if self._stopping:
            return succeed(None)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        await all_within(self._reactor, ENDING_SECS, [self._reloads.stop()])
        if self._beginning is not None:
            self._beginning.cancel()
        proxy = self.configuration.proxy
        if self._started and self._house.trees and proxy.drain_delay_secs:
            log.info("draining: /readyz says 503 for {secs:g} s", secs=proxy.drain_delay_secs)
            await deferLater(self._reactor, proxy.drain_delay_secs)
        await self._stop_listening()
        draining = [site.connections.drain() for site in self._sites]
        draining.extend(call(one, "drain") for one in (*self._house.entrances, *self._house.doors.values()))
        for leaving in self._leaving:
            leaving.hasten()
            draining.append(leaving.when_ended())
        if not await all_within(self._reactor, proxy.drain_timeout_secs, draining):
            log.warn("exchanges have not ended within drain_timeout_secs; they are broken off")
        await self._close()
        await all_within(self._reactor, ENDING_SECS, [site.connections.drain() for site in self._sites])
        log.info("stopped")

    async def _stop_listening(self) -> None:
        await DeferredList(self._sites.release(), consumeErrors=True)

    async def _close(self) -> None:
        """End everything that is open, at once."""
        await self._stop_listening()
        houses = tuple(self._houses())
        for leaving in tuple(self._leaving):
            leaving.abandon()
        for entrance in self._house.entrances:
            call(entrance, "stop")
        for site in self._sites:
            site.connections.abort()
        for house in houses:
            await self._life.stop(house.parts())
        await self._life.stop(self._of_all())

    def _of_all(self) -> list[tuple[str, Any]]:
        """Return what outlives every house: it begins first and ends last."""
        return [] if self._trail is None else [("audit", self._trail)]

    # Health

    def _health(self) -> tuple[int, str, bytes]:
        return 200, "application/json", b'{"alive":true}'

    def _readiness(self) -> tuple[int, str, bytes]:
        return (200 if self.ready else 503), "application/json", orjson.dumps(readiness(self._house, ready=self.ready))


def _too_late(result: Any, seconds: float) -> Any:
    if isinstance(result, Failure) and result.check(CancelledError):
        raise TimedOut(f"the new configuration has not started within {seconds:g} s")
    return result


def _warn(configuration: Configuration) -> None:
    for warning in configuration.warnings:
        log.warn("{warning}", warning=warning)


def _told(before: Configuration, now: Configuration) -> Changes:
    """Tell the log what a reload has changed, and return it."""
    changes, restart = difference(before, now), needs_restart(before, now)
    _warn(now)
    for table in restart:
        log.warn("{table}: what has changed has no effect before the next start", table=table)
    log.info("the configuration was read again; changed: {tables}", tables=", ".join(changes) or "nothing")
    return {"changed": changes, "warnings": list(now.warnings), "needs_restart": restart}
