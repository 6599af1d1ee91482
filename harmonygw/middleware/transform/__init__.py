"""The `transform` and `metadata_transform` middleware: JOLT specifications on what passes.

`data` has the one, on JSON bodies and on what C-FIND asks and answers (`data_sets`); `metadata` the other, on what is
asked of the backend. `specifications` reads a specification and applies it, `scene` makes what it sees beside the data.
"""

from harmonygw.middleware.transform.data import Transform
from harmonygw.middleware.transform.metadata import MetadataTransform

__all__ = ["MetadataTransform", "Transform"]
