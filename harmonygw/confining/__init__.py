"""What a principal may see of an archive, and store in it: enforced around whatever answers a pipeline's operations."""

from harmonygw.confining.placing import Placing

__all__ = ["Placing"]
