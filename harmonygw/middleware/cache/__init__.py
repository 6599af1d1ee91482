"""The `cache` middleware: instances in files, one retrieve for everybody who wants something of it."""

from harmonygw.middleware.cache.middleware import Cache

__all__ = ["Cache"]
