import errno

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectBindError, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from harmonygw.errors import Busy, TransportError
from harmonygw.net.connecting import connect, loss


def test_a_loss_is_called_by_what_tls_says_of_it() -> None:
    failed = loss("it was lost", Failure(SSL.Error([("SSL routines", "", "certificate verify failed")])))
    assert (failed.detail, failed.log_detail) == ("TLS: certificate verify failed", "")


def test_a_loss_in_order_needs_no_more_words_and_any_other_is_told_the_operator() -> None:
    for orderly in (ConnectionDone(), ConnectionLost()):
        assert (loss("it was lost", Failure(orderly)).detail, loss("", Failure(orderly)).log_detail) == (
            "it was lost",
            "",
        )
    broken = loss("it was lost", Failure(OSError("no route")))
    assert (broken.detail, broken.log_detail) == ("it was lost", "no route")


class Endpoint:
    """What cannot connect."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    def connect(self, factory: object) -> "Deferred[Protocol]":
        return fail(self._failure)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
@pytest.mark.parametrize("kind", [ConnectBindError, OSError])
def test_what_this_machine_lacks_is_not_held_against_the_peer(number: int, kind: type[Exception]) -> None:
    caught: list[Failure] = []
    Deferred.fromCoroutine(
        connect(Endpoint(kind(number, "too many")), Protocol())  # type: ignore[arg-type]
    ).addErrback(caught.append)
    error = caught[0].value
    assert isinstance(error, Busy)
    assert "too many" in error.log_detail
    assert "too many" not in error.detail


@pytest.mark.parametrize("failure", [ConnectBindError(errno.EACCES, "no"), OSError(errno.ENETUNREACH, "no")])
def test_any_other_reason_is_that_there_is_no_connection(failure: Exception) -> None:
    caught: list[Failure] = []
    Deferred.fromCoroutine(connect(Endpoint(failure), Protocol())).addErrback(caught.append)  # type: ignore[arg-type]
    assert isinstance(caught[0].value, TransportError)
