from types import SimpleNamespace
from typing import Any

from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.passthru import Passthru
from harmonygw.pipeline import Context, chain


def test_it_changes_neither_request_nor_reply() -> None:
    configuration: Any = SimpleNamespace()
    reply = Reply(status=202)
    seen: list[Request] = []

    async def backend(request: Request) -> Reply:
        seen.append(request)
        return reply

    request = Request(origin=HTTPOrigin("GET", ()), peer="192.0.2.1", correlation_id="c")
    got: list[Reply] = []
    step = Passthru(Context(SimpleNamespace(name="p", options=None), configuration, None))
    chain([step], backend)(request).addCallback(got.append)
    assert seen[0] is request
    assert got[0] is reply
