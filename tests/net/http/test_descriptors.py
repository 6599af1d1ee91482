import resource
from math import inf

import pytest

from harmonygw.net.http import descriptors
from harmonygw.net.http.descriptors import RESERVED, Descriptors, allow


@pytest.mark.parametrize(
    ("most", "served", "shed"),
    [
        (4096, 4096 - RESERVED, 4096 - RESERVED // 2),
        (4 * RESERVED, 3 * RESERVED, 4 * RESERVED - RESERVED // 2),
        (64, 48, 56),
        (resource.RLIM_INFINITY, inf, inf),
    ],
)
def test_some_descriptors_are_not_for_clients(
    monkeypatch: pytest.MonkeyPatch, most: int, served: float, shed: float
) -> None:
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda what: (most, most))
    assert Descriptors.of_process() == Descriptors(served, shed)


@pytest.mark.parametrize(
    ("before", "wanted", "allowed", "after"),
    [
        ((1024, 4096), 2000, 2000, (2000, 4096)),
        ((1024, 4096), 5000, 4096, (4096, 4096)),
        ((1024, 1024), 5000, 1024, (1024, 1024)),
        ((1024, resource.RLIM_INFINITY), 5000, 5000, (5000, resource.RLIM_INFINITY)),
        ((4096, 4096), 2000, 2000, None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 2000, 2000, None),
    ],
)
def test_a_process_takes_what_the_system_lets_it(
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[int, int],
    wanted: int,
    allowed: int,
    after: tuple[int, int] | None,
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda what: before)
    monkeypatch.setattr(descriptors.resource, "setrlimit", lambda what, limits: told.append(limits))
    assert allow(wanted) == allowed
    assert told == ([] if after is None else [after])
