"""A row of the fault matrix, and where its tests are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, or an attempt to break a rule of patient safety."""

    fault: str
    does: str
    """What the gateway does, in RST."""
    tests: tuple[str, ...]
    """Each a file below `tests`, and a test in it."""


LINK, RETRIEVE, MOVE = (f"interop/test_faults_{one}.py::test_" for one in ("link", "retrieve", "move"))
OBJECTS, CLIENT, PARTIAL = (f"interop/test_faults_{one}.py::test_" for one in ("objects", "client", "partial"))
STORE, STOP, MACHINE = (f"interop/test_faults_{one}.py::test_" for one in ("store", "stop", "machine"))
CACHE, PROXY, STOW = (f"interop/test_{one}.py::test_" for one in ("cache_faults", "proxy_faults", "stow_connection"))
SAFETY, SEVERAL = (f"interop/test_{one}.py::test_" for one in ("patient_safety", "several"))
CHANNEL, PROTOCOL = "net/http/test_channel.py::test_", "net/association/test_protocol.py::test_"
VALIDATION, GROWING, SHELF = (f"middleware/cache/test_{one}.py::test_" for one in ("validation", "growing", "shelf"))
MATCHES, PARTS = "several/test_searching.py::test_", "several/test_retrieving.py::test_"
AUDIT, COLLECTOR, RELOAD = (f"interop/test_{one}.py::test_" for one in ("faults_audit", "audit_delivery", "reload"))
KEYS = "middleware/authentication/test_key_set.py::test_"
