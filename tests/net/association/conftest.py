"""What every test of associations gets."""

from collections.abc import Iterator

import pytest

from tests.net.association.peers import Network


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network
