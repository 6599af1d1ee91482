from collections.abc import AsyncGenerator

import pytest
from twisted.internet.defer import Deferred

from harmonygw.middleware.dicomweb_bridge.relaying import Relay, closed, led_by
from harmonygw.streams import Pieces
from tests.middleware.dicomweb_bridge.archive import Sent, gathered, result_of


async def pieces() -> AsyncGenerator[Pieces, None]:
    yield (b"a", b"b")
    yield (b"c",)


def test_a_relay_gives_what_is_made_of_the_instances() -> None:
    assert result_of(gathered(Relay(Sent(), pieces()))) == b"abc"


def test_giving_up_what_has_not_begun_gives_the_instances_up() -> None:
    instances = Sent()
    result_of(Relay(instances, pieces()).aclose())
    assert instances.closed


def test_the_instances_are_given_up_also_when_what_is_made_of_them_fails_to_be() -> None:
    async def stubborn() -> AsyncGenerator[Pieces, None]:
        try:
            yield (b"a",)
        finally:
            raise ValueError("no")

    instances = Sent()
    relay = Relay(instances, stubborn())
    assert result_of(relay.__anext__()) == (b"a",)
    with pytest.raises(ValueError, match="no"):
        result_of(relay.aclose())
    assert instances.closed


def test_a_multipart_is_closed_behind_its_parts() -> None:
    assert result_of(gathered(closed(pieces(), "b"))) == b"abc\r\n--b--\r\n"


def test_a_multipart_that_fails_or_is_given_up_is_not_closed_but_its_parts_are() -> None:
    given_up = []

    async def failing() -> AsyncGenerator[Pieces, None]:
        try:
            yield (b"a",)
            raise ValueError("no")
        finally:
            given_up.append(True)

    multipart = closed(failing(), "b")
    assert result_of(multipart.__anext__()) == (b"a",)
    with pytest.raises(ValueError, match="no"):
        result_of(multipart.__anext__())
    multipart = closed(failing(), "b")
    assert result_of(multipart.__anext__()) == (b"a",)
    result_of(multipart.aclose())
    assert given_up == [True, True]


@pytest.mark.parametrize("brought", [None, 7, (7, 8), ()])
def test_what_follows_the_first_is_waited_for_whatever_a_deferred_brings(brought: object) -> None:
    waiting: Deferred[object] = Deferred()

    async def later() -> AsyncGenerator[object, None]:
        yield 1
        yield await waiting

    async def all_of_it() -> list[object]:
        rest = Relay(Sent(), later())
        return [one async for one in led_by(await anext(rest), rest)]

    found: list[object] = []
    Deferred.fromCoroutine(all_of_it()).addCallback(found.append)
    waiting.callback(brought)
    assert found == [[1, brought]]
