"""The `http` backend: a web server, to which requests are passed on."""

from harmonygw.backends.http.backend import HTTPBackend

__all__ = ["HTTPBackend"]
