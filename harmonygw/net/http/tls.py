"""The certificate of an HTTPS listener: TLS 1.2 or later (RFC 9325 §3.1.1), client certificates when asked for."""

from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates

from harmonygw.errors import ConfigurationError


def server_options(cert_path: str, key_path: str, client_ca_path: str = "") -> CertificateOptions:
    """Return the options of a TLS listener; the certificate file holds the chain, the server's own first.

    With `client_ca_path` every client needs a certificate that one of its authorities has signed. Raises
    `ConfigurationError` that names the file that cannot be used.
    """
    # Twisted's annotations name pyOpenSSL's classes; pyOpenSSL itself asks for those of cryptography instead.
    own, *chain = _certificates(cert_path)
    try:
        key: Any = load_pem_private_key(Path(key_path).read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError((f"{key_path}: not a PEM private key without passphrase ({error})",)) from error
    if key.public_key() != own.public_key():
        raise ConfigurationError((f"{key_path}: not the key of the first certificate in {cert_path}",))
    trust_root = None
    if client_ca_path:
        authorities = [Certificate(X509.from_cryptography(one)) for one in _certificates(client_ca_path)]
        trust_root = trustRootFromCertificates(authorities)
    options = CertificateOptions(
        privateKey=key,
        certificate=own,
        extraCertChain=chain,
        trustRoot=trust_root,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableProtocols=[b"http/1.1"],
    )
    try:
        options.getContext()  # which OpenSSL may still refuse, now rather than at the first connection
    except SSL.Error as error:
        reasons = "; ".join(reason for *_, reason in error.args[0])
        raise ConfigurationError((f"{cert_path}, {key_path}: OpenSSL refuses them ({reasons})",)) from error
    return options


def _certificates(path: str) -> list[Any]:
    try:
        return list(load_pem_x509_certificates(Path(path).read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigurationError((f"{path}: not a PEM certificate file ({error})",)) from error
