"""Several archives that answer as one: `federate`, `failover` and `route`, behind the interface of a backend."""

from harmonygw.several.several import Several

__all__ = ["Several"]
