"""Connecting to a target: where it is, and what its refusals, and the loss of a connection, are called."""

import errno
from typing import Any, Final

from twisted.internet import error
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from harmonygw.errors import Busy, TimedOut, TransportError
from harmonygw.files import SHORT
from harmonygw.net.tls import problem_of

_SHORT: Final = SHORT | {errno.ENOBUFS}


def target_endpoint(reactor: Any, host: str, port: int, timeout: float) -> IStreamClientEndpoint:
    """Return the client endpoint of a peer; `timeout` is in seconds, for the connection.

    An address is connected to directly: `HostnameEndpoint` would wait for further addresses of the name before it says
    that the connection was refused.
    """
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, timeout=timeout)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, timeout=timeout)
    return HostnameEndpoint(reactor, host, port, timeout=timeout)


async def connect(endpoint: IStreamClientEndpoint, protocol: Protocol) -> None:
    """Connect a protocol.

    Raises `TimedOut` at the connect time-out, `Busy` when this process or machine lacks something for it, and
    `TransportError` when there is no connection.
    """
    try:
        await endpoint.connect(_Once(protocol))
    except error.ConnectingCancelledError as cancelled:
        raise CancelledError from cancelled
    except (error.TimeoutError, error.TCPTimedOutError) as failure:
        raise TimedOut("the connection was not made in time (connect_timeout_secs)") from failure
    except error.ConnectionRefusedError as failure:
        raise TransportError("the connection was refused") from failure
    except (error.DNSLookupError, error.UnknownHostError) as failure:
        raise TransportError("the host name was not found") from failure
    except (error.ConnectError, OSError) as failure:
        number = failure.osError if isinstance(failure, error.ConnectError) else failure.errno
        if number in _SHORT:
            raise Busy("the gateway has no room for another connection", log_detail=str(failure)) from failure
        raise TransportError("the connection could not be made", log_detail=str(failure)) from failure


def loss(detail: str, reason: Failure) -> TransportError:
    """Return what the loss of a connection is called: `detail`, unless TLS says why."""
    if problem := problem_of(reason.value):
        return TransportError(problem)
    orderly = reason.check(error.ConnectionDone, error.ConnectionLost) is not None
    return TransportError(detail, log_detail="" if orderly else reason.getErrorMessage())


class _Once(Factory):
    """Makes the one protocol of a connection, without a line in the log."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self._protocol
