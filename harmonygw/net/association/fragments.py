"""Reads that are cut into very many fragments, made harmless.

A fragment is a slice of what one read of the socket brought, and holds all of it. Whoever keeps fragments counts their
bytes. So a peer that wraps single bytes into presentation data values, with empty ones in between, would have a read
of 384 KB kept for each byte that is counted (PS3.8 §9.3.5 forbids neither). What such a read brought is copied.
"""

from harmonygw.dicom.upperlayer.provider import Event, Fragment

SMALL_FRAGMENT = 64
"""Bytes of a fragment, with its headers, below which those of a read are small on average: then they are gathered. No
implementation is known that sends such; matches of a C-FIND, the shortest messages that come by the thousand, have
twice as many."""

FEW_FRAGMENTS = 16
"""Events of one read that are passed on as they are, however small: a handful of short messages is no attack."""


def gathered(events: list[Event], length: int) -> list[Event]:
    """Return what one read of `length` bytes brought, the fragments of a message in one when they are small.

    Those that come out hold nothing but their own bytes. Order and ends of messages stay.
    """
    if len(events) <= FEW_FRAGMENTS or length >= SMALL_FRAGMENT * len(events):
        return events
    whole: list[Event] = []
    data = bytearray()
    begun: Fragment | None = None
    for event in events:
        same = isinstance(event, Fragment) and begun is not None and event[:2] == begun[:2]
        if begun is not None and not same:
            whole.append(begun._replace(data=memoryview(bytes(data))))
            begun = None
        if not isinstance(event, Fragment):
            whole.append(event)
            continue
        if begun is None:
            data = bytearray()
        data += event.data
        begun = event
        if event.is_last:
            whole.append(event._replace(data=memoryview(bytes(data))))
            begun = None
    if begun is not None:
        whole.append(begun._replace(data=memoryview(bytes(data))))
    return whole
