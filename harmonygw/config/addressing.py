"""Where a backend is: its own options come first, then its `connection`, then its target, key by key."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from harmonygw.config.options import DicomSCUOptions, DICOMwebBackendOptions, HTTPBackendOptions
from harmonygw.config.system import Connection, Target
from harmonygw.config.tables import BackendTable
from harmonygw.errors import ConfigurationError

DEFAULT_PORTS = {"dicom": 104, "dicoms": 2762, "http": 80, "https": 443}
"""The well-known ports: PS3.8 §9.1.1, PS3.15 Annex B, RFC 9110 §4.2."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a backend connects to."""

    host: str = ""
    port: int = 0
    base_url: str = ""
    use_tls: bool = False
    ca_cert_path: str = ""


def destination(table: BackendTable, options: object, target: Target | None) -> Destination:
    """Return where a backend of the dialect's own services is; an empty one for those that reach nobody.

    Raises `ConfigurationError` when nothing says where it is, or what it speaks is not what is spoken there.
    """
    match options:
        case DicomSCUOptions():
            return _dicom(options, _Layers(table, target))
        case HTTPBackendOptions():
            return _http(options.base_url, _Layers(table, target, options))
        case DICOMwebBackendOptions():
            return _http(options.base_url, _Layers(table, target))
        case _:
            return Destination()


class _Layers:
    """The places that say where a backend is, the first first."""

    def __init__(self, table: BackendTable, target: Target | None, options: HTTPBackendOptions | None = None) -> None:
        connections: list[Connection | HTTPBackendOptions] = [table.connection]
        if options is not None:
            connections.insert(0, options)
        if target is not None:
            connections.append(target.connection)
        self.host = next((one.host for one in connections if one.host), "")
        self.port = next((one.port for one in connections if one.port is not None), None)
        self.base_path = next((one.base_path for one in connections if one.base_path), "")
        self.protocol: str | None = next((one.protocol for one in connections if one.protocol), None)
        if self.protocol is None and target is not None:
            self.protocol = target.protocol
        authorities = (table.connection, target.connection if target else Connection())
        self.ca_cert_path = next((one.ca_cert_path for one in authorities if one.ca_cert_path), "")


def _dicom(options: DicomSCUOptions, layers: _Layers) -> Destination:
    protocol = _spoken(layers.protocol or "dicom", ("dicom", "dicoms"))
    use_tls = protocol == "dicoms" if options.use_tls is None else options.use_tls
    return Destination(
        host=_stated(options.host or layers.host),
        port=options.port or layers.port or DEFAULT_PORTS["dicoms" if use_tls else "dicom"],
        use_tls=use_tls,
        ca_cert_path=layers.ca_cert_path,
    )


def _http(base_url: str | None, layers: _Layers) -> Destination:
    if base_url is not None:
        parts = urlsplit(base_url)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        return Destination(parts.hostname or "", port, base_url, parts.scheme == "https", layers.ca_cert_path)
    protocol = _spoken(layers.protocol or "http", ("http", "https"))
    host = _stated(layers.host)
    port = layers.port or DEFAULT_PORTS[protocol]
    authority = f"[{host}]" if ":" in host else host
    if port != DEFAULT_PORTS[protocol]:
        authority += f":{port}"
    path = "/".join(segment for segment in layers.base_path.split("/") if segment)
    url = f"{protocol}://{authority}/{path}".rstrip("/")
    return Destination(host, port, url, protocol == "https", layers.ca_cert_path)


def _spoken(protocol: str, wanted: tuple[str, str]) -> str:
    if protocol not in wanted:
        raise ConfigurationError((f'protocol is "{protocol}" there, but this service speaks {" or ".join(wanted)}',))
    return protocol


def _stated(host: str) -> str:
    if not host:
        raise ConfigurationError(("nothing says where it is: give target_ref, connection.host or a host in options",))
    return host
