from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from harmonygw.net.connecting import loss


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
