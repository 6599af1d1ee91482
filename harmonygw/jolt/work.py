"""What a transformation may cost, and the copies it makes on its way."""

from typing import Any, Final

from harmonygw.errors import TooMuchWork, Untransformable

MAX_STEPS: Final = 1_000_000
"""Steps of one transformation: each key that is looked at, each value that is copied or written, each piece of a text.
Default a million, some seconds of one core: a Search's whole answer of five thousand matches needs a quarter of it."""

MAX_DEPTH: Final = 100
"""Objects and arrays within one another. Default 100, which is twenty-five nested sequences in DICOM JSON."""

TEXT_STEP: Final = 64
"""Characters of a text that count as one step."""


class Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""No value, where None is the value null."""


class Work:
    """The steps that are left."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._allowed = steps
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Take steps; raises `TooMuchWork` when there are no more."""
        self._left -= steps
        if self._left < 0:
            raise TooMuchWork(f"the transformation takes more than {self._allowed} steps")

    def spend_on(self, value: Any) -> None:
        """Take the steps of a value that was made: its length, if it has one."""
        if isinstance(value, str):
            self.spend(1 + len(value) // TEXT_STEP)
        elif isinstance(value, list | dict):
            self.spend(1 + len(value))

    def copied(self, value: Any, depth: int = 1) -> Any:
        """Return a copy of a document that shares nothing with it; raises `Untransformable` when it is too deep."""
        if isinstance(value, dict):
            self._enter(value, depth)
            return {key: self.copied(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list):
            self._enter(value, depth)
            return [self.copied(one, depth + 1) for one in value]
        return value

    def measure(self, value: Any, depth: int = 1) -> None:
        """Take the steps of all of a document, what is in it twice twice."""
        if isinstance(value, dict):
            self._enter(value, depth)
            for key, one in value.items():
                self.spend(len(key) // TEXT_STEP)
                self.measure(one, depth + 1)
        elif isinstance(value, list):
            self._enter(value, depth)
            for one in value:
                self.measure(one, depth + 1)
        elif isinstance(value, str):
            self.spend(len(value) // TEXT_STEP)

    def _enter(self, value: "dict[str, Any] | list[Any]", depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Untransformable(f"the document is nested deeper than {MAX_DEPTH}")
        self.spend(1 + len(value))
