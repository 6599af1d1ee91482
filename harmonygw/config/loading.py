"""The one way in: `load` a configuration, or learn everything that is wrong with it at once."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harmonygw.config.binding import bind
from harmonygw.config.model import Configuration
from harmonygw.config.options import Availability
from harmonygw.config.reading import Document, read
from harmonygw.config.references import resolve
from harmonygw.config.tables import Tables
from harmonygw.errors import ConfigurationError


def load(path: Path | str, *, environ: Mapping[str, str], available: Availability) -> Configuration:
    """Return the configuration whose main file is `path`, variables replaced from `environ`.

    Raises `ConfigurationError` with every problem of every file, each as `file:line: key.path: sentence`. A
    type that `available` lacks is a problem when a pipeline uses it.
    """
    document = read(Path(path), environ)
    configuration = _configuration(document, environ, available) if document.files else None
    if configuration is None or document.problems:
        raise ConfigurationError(document.sorted_problems())
    return configuration


def _configuration(document: Document, environ: Mapping[str, str], available: Availability) -> Configuration:
    tables = _tables(document)
    for position, name in enumerate(tables.proxy.required_env_vars):
        if name not in environ:
            path = ("proxy", "required_env_vars", position)
            document.report(path, f"the environment variable {name} is not set")
    _warn_of_what_is_not_done(tables, document)
    return resolve(tables, document, available)


def _tables(document: Document) -> Tables:
    """Return the tables of a document, those that are wrong left out or at their defaults."""
    proxy = document.tables.get("proxy", {})
    if isinstance(proxy, dict) and not proxy.keys() & {"id", "name"}:
        document.report(("proxy",), '"id" is missing (or "name")')
    tables: Tables = bind(Tables, document.tables, (), document.report)
    if _states(document, "proxy") and not _states(document, "logging"):
        tables = replace(tables, logging=replace(tables.logging, log_level=tables.proxy.log_level))
    if not tables.pipelines and not document.defines("pipelines") and not document.problems:
        document.warn(("pipelines",), "there is none: nothing is served")
    return tables


def _states(document: Document, kind: str) -> bool:
    """Return whether a table states a `log_level`."""
    table = document.tables.get(kind)
    return isinstance(table, dict) and "log_level" in table


def _warn_of_what_is_not_done(tables: Tables, document: Document) -> None:
    cloud = [kind for kind in ("provider", "runbeam", "mesh") if getattr(tables, kind)]
    if cloud:
        document.warn((cloud[0],), "accepted, but no cloud provider is contacted and no mesh is joined")
    if tables.proxy.primary_provider != "local":
        sentence = f'there is no provider "{tables.proxy.primary_provider}" here; the files are all there is'
        document.warn(("proxy", "primary_provider"), sentence)
    for name, network in tables.network.items():
        if network.http3:
            document.warn(("network", name, "http3"), "HTTP/3 is not served")
    served_on = tables.network.get(tables.management.network) if tables.management.enabled else None
    checked = tables.management.authentication or (served_on is not None and served_on.tcp_config.client_ca_path)
    if served_on is not None and not (served_on.is_loopback or checked):
        document.warn(("management", "network"), f'network "{tables.management.network}" is open to others')
