"""The middleware that CONTRIBUTING.rst shows does what is said of it."""

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyClass

from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.pipeline import Context, IMiddleware, chain
from tests.test_readme import ROOT, blocks

CONTRIBUTING: Path = ROOT / "CONTRIBUTING.rst"


def test_the_stopwatch_says_how_long_a_reply_took_to_begin() -> None:
    [(_, example)] = blocks(CONTRIBUTING, "python")
    names: dict[str, type] = {}
    exec(compile(example, str(CONTRIBUTING), "exec"), names)
    stopwatch = names["Stopwatch"]
    assert verifyClass(IMiddleware, stopwatch)

    clock = Clock()
    backend: Deferred[Reply] = Deferred()
    proceed = chain([stopwatch(Context(None, None, clock))], lambda request: backend)
    replies: list[Reply] = []
    proceed(Request(HTTPOrigin("GET", ("studies",)), "127.0.0.1", "1")).addCallback(replies.append)
    clock.advance(0.25)
    backend.callback(Reply(headers=(("Content-Type", "application/dicom+json"),)))

    assert [reply.headers for reply in replies] == [
        (("Content-Type", "application/dicom+json"), ("Server-Timing", "reply;dur=250.0"))
    ]
