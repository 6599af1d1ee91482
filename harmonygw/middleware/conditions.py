"""Conditions: what a rule can say of a request, and how several answers are one.

A condition says whether a request matches: True, False, or None when that cannot be told, because the request has
not what the rule looks at, or hides it. What cannot be told counts against the request: an allow rule does not match
it, a deny rule does.
"""

from collections.abc import Callable, Iterable

from harmonygw.exchange import Request

Condition = Callable[[Request], bool | None]
"""Whether a request matches a rule; None when that cannot be told."""


def any_of(answers: Iterable[bool | None]) -> bool | None:
    """Return True when one of the answers is, else None when one is. Of no answers: False."""
    found: bool | None = False
    for answer in answers:
        if answer:
            return True
        found = None if answer is None else found
    return found


def all_of(answers: Iterable[bool | None]) -> bool | None:
    """Return False when one of the answers is, else None when one is. Of no answers: False, so that a rule which says
    nothing matches nobody."""
    found: bool | None = False
    for answer in answers:
        if answer is False:
            return False
        found = None if found is None else answer
    return found
