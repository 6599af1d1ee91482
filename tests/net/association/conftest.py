"""What the tests of associations share."""

from collections.abc import Iterator

import pytest

from tests.net.association.moves import Destination
from tests.net.association.peers import Network


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def ours(network: Network) -> Iterator[Destination]:
    """A store SCP of ours, and the C-MOVEs to it."""
    destination = Destination(network)
    yield destination
    destination.close()
