"""Reaching the destinations of our peers' C-MOVEs, in clear or by TLS (PS3.15 §B.12, §B.13)."""

from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint

from harmonygw.config.endpoint_options import AETableEntry, DicomSCPOptions
from harmonygw.endpoints.dicom_scp.offer import known_entities
from harmonygw.errors import ConfigurationError
from harmonygw.net.connecting import target_endpoint
from harmonygw.net.tls import client_options

CONNECT_TIMEOUT: Final = 10.0
"""Seconds that the destination of a C-MOVE has to take the connection, as for a PACS (`connect_timeout_secs`)."""


class Destinations:
    """The application entities of one endpoint's `aet_table`, and what makes TLS connections to them.

    Raises `ConfigurationError` that names the entry, and the file that cannot be used.
    """

    def __init__(self, name: str, options: DicomSCPOptions, reactor: Any) -> None:
        self._name = name
        self._options = options
        self._reactor = reactor
        self.known: Mapping[str, AETableEntry] = known_entities(options)
        """By AE title."""
        self._secured = self._read()

    @property
    def any_secured(self) -> bool:
        """Whether there are certificates to be read again."""
        return bool(self._secured)

    def reload(self) -> None:
        """Read the certificates again, for associations from now on; raises `ConfigurationError`, and changes nothing
        then."""
        self._secured = self._read()

    def endpoint(self, ae_title: str) -> IStreamClientEndpoint:
        """Return what connects to a known application entity."""
        entry = self.known[ae_title]
        endpoint = target_endpoint(self._reactor, entry.host, entry.port, CONNECT_TIMEOUT)
        secured = self._secured.get(ae_title)
        return endpoint if secured is None else wrapClientTLS(secured, endpoint)

    def _read(self) -> dict[str, IOpenSSLClientConnectionCreator]:
        return {title: self._creator(title, entry) for title, entry in self.known.items() if entry.use_tls}

    def _creator(self, ae_title: str, entry: AETableEntry) -> IOpenSSLClientConnectionCreator:
        own = entry if entry.cert_path else self._options
        try:
            return client_options(
                entry.host,
                entry.ca_cert_path,
                own.cert_path,
                own.key_path,
                profile=entry.tls_profile,
                protocols=(),
                check_hostname=entry.tls_check_hostname,
            )
        except ConfigurationError as error:
            problems = tuple(f"endpoints.{self._name}: aet_table.{ae_title}: {one}" for one in error.problems)
            raise ConfigurationError(problems) from error
