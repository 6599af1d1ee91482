"""JOLT: JSON documents made of JSON documents, by a specification that is JSON too.

The language is that of the JOLT library (its operations shift, default, remove, modify, cardinality and sort, chained);
what is ours is told in `docs/howto/transforms.rst`. A specification is read once, and every fault of it is found then;
what it does to a document costs a bounded number of steps, whatever the document is. Nothing here does IO, and no
document that comes in is changed.
"""

from harmonygw.jolt.specification import Specification
from harmonygw.jolt.work import MAX_DEPTH, MAX_STEPS, Work

__all__ = ["MAX_DEPTH", "MAX_STEPS", "Specification", "Work"]
