"""What the tests of the operations share."""

from typing import Any

import pytest

from harmonygw.errors import ConfigurationError
from harmonygw.jolt import Specification


def made(operation: str, spec: Any, document: Any, context: Any = None) -> Any:
    """Return what one operation makes of a document."""
    return Specification([{"operation": operation, "spec": spec}]).apply(document, context)


def faults(operation: str, spec: Any) -> tuple[str, ...]:
    """Return what is wrong with an operation."""
    with pytest.raises(ConfigurationError) as caught:
        Specification([{"operation": operation, "spec": spec}])
    return caught.value.problems
