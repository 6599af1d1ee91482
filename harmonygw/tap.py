"""What twistd runs: its options, and `makeService`. The only place that knows the whole house.

What a gateway does to a process of its own stands here, and nowhere else: it takes the log over, tells systemd,
runs on a clock that cannot jump, and ends the process with the right status.
"""
# mypy: allow-untyped-calls

import atexit
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized

from harmonygw import journal
from harmonygw.config.loading import load
from harmonygw.config.model import Configuration
from harmonygw.errors import ConfigurationError
from harmonygw.net.http.descriptors import RESERVED, allow
from harmonygw.service import Gateway, available
from harmonygw.service.memory import keep_freed_memory

log = Logger()

GatewayT = TypeVar("GatewayT", bound=Gateway)


class Options(usage.Options):
    """The command line of `twistd harmonygw`."""

    synopsis = "-c config.toml"
    longdesc = "A DICOMweb gateway in front of the PACS you already have."
    optParameters: ClassVar[list[list[str]]] = [["config", "c", "config.toml", "The main configuration file."]]
    optFlags: ClassVar[list[list[str | None]]] = [
        ["check", None, "Read the configuration, report what is wrong with it, and exit."]
    ]

    def postOptions(self) -> None:
        """Check the configuration, if that is all that was asked."""
        if self["check"]:
            gateway = _for_the_command_line(Gateway, self["config"])
            for warning in gateway.configuration.warnings:
                sys.stdout.write(f"warning: {warning}\n")
            sys.stdout.write(f"{self['config']}: good\n")
            raise SystemExit(0)


def makeService(options: Any, reactor: Any = None) -> IService:
    """Return the service of a configuration; `options` is a mapping with `config`, the path of the main file.

    An embedder passes its reactor, and gets a `Gateway` that is good company; `ConfigurationError` says everything
    that is wrong with the configuration. twistd passes none, and the process is the gateway's own.
    """
    if reactor is not None:
        return Gateway(read(options["config"]), reactor, reread=rereading(options["config"]))
    process = _for_the_command_line(GatewayProcess, options["config"])
    process.twistd_logs = _twistd_logs(getattr(options, "parent", None), process.configuration)
    return process


def read(path: Path | str) -> Configuration:
    """Read the configuration whose main file is `path`; raises `ConfigurationError` with all that is wrong."""
    return load(path, environ=os.environ, available=available())


def rereading(path: Path | str) -> Callable[[], Configuration]:
    """Return what reads that file again, wherever the process works then, with the environment that it has then."""
    return partial(read, Path(path).absolute())


class GatewayProcess(Gateway):
    """A gateway that has the process to itself."""

    twistd_logs = False
    """Whether the log is left to twistd."""

    def __init__(
        self, configuration: Configuration, reactor: Any, *, reread: Callable[[], Configuration] | None = None
    ) -> None:
        keep_freed_memory()
        # Twisted's clock is the wall clock: when that jumps, every timer fires early or late. Nothing may have been
        # scheduled by the one before the other takes its place.
        if not reactor.getDelayedCalls():
            reactor.seconds = time.monotonic
        super().__init__(configuration, reactor, reread=reread)
        self._reloading = 0

    def setServiceParent(self, parent: Any) -> None:
        """Join the application; unless it has a log observer, or twistd was told where to log, it gets ours."""
        if (
            not self.twistd_logs
            and isinstance(parent, Componentized)
            and parent.getComponent(ILogObserver, None) is None
        ):
            try:
                parent.setComponent(ILogObserver, journal.observer(self.configuration.logging))
            except OSError as error:
                raise SystemExit(f"logging.log_file_path: {error}") from error
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Bind the ports; when one cannot be had, the process ends with status 1."""
        self._take_descriptors()
        try:
            super().privilegedStartService()
        except ConfigurationError:
            sys.tracebacklimit = 0  # what is raised here ends up in the log, and the sentence says it all
            raise

    def startService(self) -> None:
        """Start, and tell systemd when ready; what cannot start ends the process with status 1.

        SIGHUP has the configuration read again from then on.
        """
        super().startService()
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.hang_up))
        self.when_ready().addCallbacks(self._ready, self._fail)

    def hang_up(self) -> None:
        """Read the configuration again; what is wrong with it is in the log, and nothing has changed then."""
        self.reload().addErrback(lambda _: None)

    def reload(self, configuration: Configuration | None = None) -> "Deferred[dict[str, Any]]":
        """Reload, as `Gateway` says, and tell systemd when that begins and when it has ended, well or not."""
        if not self._reloading:
            notify_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._reloading += 1
        reloaded: Deferred[dict[str, Any]] = super().reload(configuration).addBoth(self._reloaded)
        return reloaded

    def _reloaded(self, result: Any) -> Any:
        self._reloading -= 1
        if not self._reloading and self.ready:
            notify_systemd("READY=1")
        return result

    def stopService(self) -> Any:
        """Drain and stop, and tell systemd that this has begun."""
        notify_systemd("STOPPING=1")
        return super().stopService()

    def _take_descriptors(self) -> None:
        """Have as many file descriptors as the connections that are configured may need, or say which are too many."""
        connections = sum(network.limits.max_connections for network in self.configuration.networks.values())
        allowed = allow(connections + 2 * RESERVED)
        if allowed < connections + RESERVED:
            log.warn(
                "the process may have {allowed} file descriptors (LimitNOFILE, ulimit -n): with more connections than "
                "leave {reserved} of them, the next get 503, though max_connections is {connections}",
                allowed=allowed,
                reserved=min(RESERVED, allowed // 4),
                connections=connections,
            )

    def _ready(self, _result: object) -> None:
        # The dictionaries of the standard are some ninety thousand objects that live as long as the process: walking
        # them in each full collection would hold every exchange up for tens of milliseconds.
        gc.collect()
        gc.freeze()
        notify_systemd("READY=1")

    def _fail(self, _reason: object) -> None:
        if self.running:
            # When the reactor stops, twistd ends with status 0, whatever made it stop; systemd would leave it at that.
            atexit.register(os._exit, 1)
            self._reactor.callWhenRunning(self._reactor.stop)


def notify_systemd(state: str) -> None:
    """Tell systemd (sd_notify(3)), when it started us with Type=notify; nothing happens otherwise."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notification:
            notification.connect("\0" + address[1:] if address.startswith("@") else address)
            notification.send(state.encode())
    except OSError as error:
        log.warn("systemd cannot be told {state}: {error}", state=state, error=error)


def _for_the_command_line(kind: type[GatewayT], path: str) -> GatewayT:
    """Return a gateway of a kind; what is wrong with the configuration ends the command with status 1."""
    from twisted.internet import reactor  # not before twistd has chosen one

    try:
        return kind(read(path), reactor, reread=rereading(path))
    except ConfigurationError as error:
        raise SystemExit(f"the configuration cannot be used:\n{error}") from error


def _twistd_logs(twistd: Any, configuration: Configuration) -> bool:
    """Return whether the log is left to twistd: it was told where, or as a daemon nobody would see ours."""
    if twistd is None:
        return False
    if "nodaemon" not in twistd:  # `twist` logs to standard output, and takes no observer of ours
        return True
    told = twistd["logfile"] or twistd["logger"] or twistd["syslog"]
    return bool(told) or not (twistd["nodaemon"] or configuration.logging.log_to_file)
