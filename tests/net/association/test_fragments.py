"""Reads of very many small fragments: nothing that is kept holds more than its own bytes."""

from typing import Any

import pytest

from harmonygw.dicom.upperlayer.events import Fragment, ReleaseIndication
from harmonygw.net.association.fragments import FEW_FRAGMENTS, SMALL_FRAGMENT, gathered


def fragments(*said: tuple[bytes, bool], command: bool = False, context_id: int = 1) -> list[Any]:
    return [Fragment(context_id, command, is_last, memoryview(data)) for data, is_last in said]


def plain(events: list[Any]) -> list[Any]:
    return [event._replace(data=bytes(event.data)) if isinstance(event, Fragment) else event for event in events]


@pytest.mark.parametrize(
    ("count", "length"),
    [(FEW_FRAGMENTS, FEW_FRAGMENTS), (FEW_FRAGMENTS + 1, (FEW_FRAGMENTS + 1) * SMALL_FRAGMENT)],
    ids=["few", "large"],
)
def test_few_or_large_fragments_are_passed_on_as_they_are(count: int, length: int) -> None:
    events = fragments(*[(b"a", False)] * count)
    assert gathered(events, length) is events


def test_beyond_that_those_of_a_message_become_one() -> None:
    count = FEW_FRAGMENTS + 1
    events = fragments(*[(b"a", False)] * count)
    read = gathered(events, count * SMALL_FRAGMENT - 1)
    assert plain(read) == [Fragment(1, False, False, b"a" * count)]  # type: ignore[arg-type]


def test_order_and_ends_of_messages_stay() -> None:
    many = [(b"a", False), (b"", False)] * FEW_FRAGMENTS
    events = [
        *fragments((b"c", False), (b"d", True), command=True),
        *fragments(*many, (b"z", True)),
        *fragments((b"e", True), command=True),
        *fragments((b"f", False), (b"g", False)),
        *fragments((b"h", False), context_id=3),
        ReleaseIndication(),
        *fragments((b"i", False)),
    ]
    assert plain(gathered(events, len(events))) == [
        *plain(fragments((b"cd", True), command=True)),
        *plain(fragments((b"a" * FEW_FRAGMENTS + b"z", True))),
        *plain(fragments((b"e", True), command=True)),
        *plain(fragments((b"fg", False))),
        *plain(fragments((b"h", False), context_id=3)),
        ReleaseIndication(),
        *plain(fragments((b"i", False))),
    ]


def test_what_comes_out_holds_nothing_of_the_read() -> None:
    whole = bytes(10_000)
    events: list[Any] = [Fragment(1, False, False, memoryview(whole)[at : at + 1]) for at in range(1000)]
    (one,) = gathered(events, len(whole))
    assert isinstance(one, Fragment)
    assert (len(one.data), len(one.data.obj)) == (1000, 1000)  # type: ignore[arg-type]
