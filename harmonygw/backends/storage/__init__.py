"""The `storage` backend: an embedded archive of files and a SQLite index under one root."""

from harmonygw.backends.storage.backend import Storage

__all__ = ["Storage"]
