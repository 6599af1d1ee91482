"""A backend as a configuration makes it."""

from pathlib import Path
from typing import Any

from harmonygw.config.loading import load
from harmonygw.exchange import HTTPOrigin, Request
from harmonygw.pipeline import BACKENDS, Context
from harmonygw.pipeline import load as load_class
from harmonygw.service import available
from harmonygw.streams import Body

MAIN = """
[proxy]
id = "test"

[network.default.http]
bind_address = "127.0.0.1"

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"]
backends = ["server"]

[endpoints.dicomweb]
service = "dicomweb"
"""


def backend(folder: Path, reactor: Any, text: str, service: str = "http") -> Any:
    """Build the backend `server`, whose table `text` is, but for its service."""
    main = folder / "config.toml"
    main.write_text(MAIN + f'\n[backends.server]\nservice = "{service}"\n' + text, encoding="utf-8")
    configuration = load(main, environ={}, available=available())
    return load_class(BACKENDS[service])(Context(configuration.backends["server"], configuration, reactor))


def request(
    method: str = "GET",
    *path: str,
    query: tuple[tuple[str, str], ...] = (),
    headers: dict[str, str] | None = None,
    base_url: str = "http://gateway/dicom",
    body: Body | None = None,
    **more: Any,
) -> Request:
    origin = HTTPOrigin(method, path, query, headers or {}, base_url, body)
    return Request(origin, more.pop("peer", "192.0.2.1"), "c", **more)
