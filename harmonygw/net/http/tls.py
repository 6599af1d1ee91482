"""TLS for HTTP, on both sides: version 1.2 or later (RFC 9325 §3.1.1), clients' certificates where asked for."""

from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)

from harmonygw.errors import ConfigurationError


def server_options(cert_path: str, key_path: str, client_ca_path: str = "") -> CertificateOptions:
    """Return the options of a TLS listener; the certificate file holds the chain, the server's own first.

    With `client_ca_path` every client needs a certificate that one of its authorities has signed. Raises
    `ConfigurationError` that names the file that cannot be used.
    """
    options = CertificateOptions(
        **_identity(cert_path, key_path),
        trustRoot=_authorities(client_ca_path) if client_ca_path else None,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableProtocols=[b"http/1.1"],
    )
    try:
        options.getContext()  # which OpenSSL may still refuse, now rather than at the first connection
    except SSL.Error as error:
        reasons = "; ".join(reason for *_, reason in error.args[0])
        raise ConfigurationError((f"{cert_path}, {key_path}: OpenSSL refuses them ({reasons})",)) from error
    return options


def client_options(
    host: str, ca_cert_path: str = "", cert_path: str = "", key_path: str = ""
) -> IOpenSSLClientConnectionCreator:
    """Return what makes TLS connections to `host`, whose certificate has to be for that name or address.

    It is checked against the authorities in `ca_cert_path`, or those of the system. With `cert_path` and `key_path` we
    show a certificate of our own when asked. Raises `ConfigurationError` that names the file that cannot be used.
    """
    own = _identity(cert_path, key_path) if cert_path else {}
    options = {**own, "raiseMinimumTo": TLSVersion.TLSv1_2}
    trust_root = _authorities(ca_cert_path) if ca_cert_path else platformTrust()
    try:
        creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(
            host, trustRoot=trust_root, acceptableProtocols=[b"http/1.1"], extraCertificateOptions=options
        )
    except SSL.Error as error:
        raise ConfigurationError((f"{cert_path}, {key_path}: OpenSSL refuses them",)) from error
    return creator


def _identity(cert_path: str, key_path: str) -> dict[str, Any]:
    """Return a certificate, its key and its chain, as Twisted's options name them."""
    # Twisted's annotations name pyOpenSSL's classes; pyOpenSSL itself asks for those of cryptography instead.
    own, *chain = _certificates(cert_path)
    try:
        key: Any = load_pem_private_key(Path(key_path).read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError((f"{key_path}: not a PEM private key without passphrase ({error})",)) from error
    if key.public_key() != own.public_key():
        raise ConfigurationError((f"{key_path}: not the key of the first certificate in {cert_path}",))
    return {"privateKey": key, "certificate": own, "extraCertChain": chain}


def _authorities(path: str) -> Any:
    return trustRootFromCertificates([Certificate(X509.from_cryptography(one)) for one in _certificates(path)])


def _certificates(path: str) -> list[Any]:
    try:
        return list(load_pem_x509_certificates(Path(path).read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigurationError((f"{path}: not a PEM certificate file ({error})",)) from error
