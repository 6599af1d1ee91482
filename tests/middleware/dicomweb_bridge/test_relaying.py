from collections.abc import AsyncGenerator

import pytest

from harmonygw.middleware.dicomweb_bridge.relaying import Relay
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
