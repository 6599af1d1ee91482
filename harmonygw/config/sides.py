"""How the two lists of `{left = […], right = […]}` stand around each other, from the outside inwards."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Placed(NamedTuple, Generic[T]):
    """One step, and the sides that it has in this place: one of the two at least."""

    step: T
    is_on_left: bool
    is_on_right: bool


def placed(left: Sequence[T], right: Sequence[T]) -> list[Placed[T]]:
    """Return the steps from the outside inwards; `left` is in order on the way in, `right` on the way out.

    What is first on the left and last on the right is one step. Where the lists cross (`left = [a, b]`, `right = [a,
    b]`), the last step of the right becomes two, one a side.
    """
    ahead, behind = list(left), list(right)
    found: list[Placed[T]] = []
    while ahead or behind:
        if ahead and behind and ahead[0] == behind[-1]:
            behind.pop()
            found.append(Placed(ahead.pop(0), is_on_left=True, is_on_right=True))
        elif ahead and ahead[0] not in behind:
            found.append(Placed(ahead.pop(0), is_on_left=True, is_on_right=False))
        else:
            found.append(Placed(behind.pop(), is_on_left=False, is_on_right=True))
    return found
