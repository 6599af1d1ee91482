"""A specification: operations, one after the other."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol

from harmonygw.errors import ConfigurationError
from harmonygw.jolt.cardinality import Cardinality, Sort
from harmonygw.jolt.defaults import Default
from harmonygw.jolt.keys import fault
from harmonygw.jolt.modify import Mode, Modify
from harmonygw.jolt.remove import Remove
from harmonygw.jolt.shift import Shift
from harmonygw.jolt.work import MISSING, Work


class Operation(Protocol):
    """What makes one document of another."""

    in_place: bool
    """Whether it changes the document that it is given."""

    def apply(self, document: Any, context: Any, work: Work) -> Any:
        """Return the document that it makes; raises `Untransformable`."""


OPERATIONS: Final = MappingProxyType[str, Callable[[Any, str], Operation]](
    {
        "shift": Shift,
        "default": Default,
        "remove": Remove,
        "cardinality": Cardinality,
        "sort": Sort,
        "modify-overwrite-beta": partial(Modify, mode=Mode.OVERWRITE),
        "modify-default-beta": partial(Modify, mode=Mode.DEFAULT),
        "modify-define-beta": partial(Modify, mode=Mode.DEFINE),
    }
)
"""The operations by their names."""


class Specification:
    """What is read once, and applied to any number of documents."""

    def __init__(self, operations: Any) -> None:
        """Read a specification: a list of objects with `operation` and `spec`, or one such object.

        Raises `ConfigurationError` with one problem for each operation that is wrong, each with its place in the
        specification: `[1].spec.data.name`.
        """
        several = operations if isinstance(operations, list) else [operations]
        problems: list[str] = []
        self._operations: list[Operation] = []
        for position, one in enumerate(several):
            try:
                self._operations.append(_operation(one, f"[{position}]"))
            except ConfigurationError as error:
                problems.extend(error.problems)
        if not several:
            problems.append("there is no operation in it")
        if problems:
            raise ConfigurationError(tuple(problems))

    def apply(self, document: Any, context: Any = None, work: Work | None = None) -> Any:
        """Return what the operations make of a document, which stays as it is; `context` is what `^` looks into.

        The result may share parts with the document. Raises `Untransformable`, and `TooMuchWork` when `work` is done
        before they are.
        """
        work = work or Work()
        owned = False
        for operation in self._operations:
            if operation.in_place and not owned:
                document = work.copied(document)
            document = operation.apply(document, context, work)
            owned = operation.in_place
        work.measure(document)
        return document


def _operation(one: Any, where: str) -> Operation:
    if not isinstance(one, dict) or not isinstance(one.get("operation"), str):
        raise fault(where, 'an operation is an object with "operation" and "spec"')
    name = one["operation"]
    if unknown := set(one) - {"operation", "spec"}:
        raise fault(where, f'"{min(unknown)}" is no key of an operation: "operation" and "spec" are')
    if name not in OPERATIONS:
        near = get_close_matches(name, OPERATIONS, 1)
        raise fault(where, f'there is no operation "{name}"' + (f'; did you mean "{near[0]}"?' if near else ""))
    return OPERATIONS[name](one.get("spec", MISSING), f"{where}.spec")
