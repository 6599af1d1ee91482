"""TLS for HTTP and for DIMSE, on both sides, as BCP 195 has it (RFC 9325; for DIMSE PS3.15 §B.12, §B.13).

Version 1.2 or later, 1.3 where the peer has it (§3.1.1); with 1.2 only ephemeral keys and authenticated encryption
(§4.2). Certificates are checked where there are authorities to check them by.
"""

from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLContextFactory
from twisted.internet.ssl import (
    AcceptableCiphers,
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

from harmonygw.errors import ConfigurationError

Profile = Literal["bcp195", "strict"]
"""BCP 195 (PS3.15 §B.12), or as PS3.15 modifies it (§B.13)."""

_MODIFIED: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES256-CCM8",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-CCM",
    "ECDHE-ECDSA-AES128-CCM8",
)
"""The suites of TLS 1.2 that §B.13 requires, the stronger first. Those that it only permits are left out: Camellia with
GCM, which OpenSSL has not, and DHE, which is permitted where the length of the key can be set, and pyOpenSSL lets no
client do that. OpenSSL from 3.2 on counts CCM_8 as 64 bits, and negotiates it at security level 0 alone, where it would
take short keys and SHA-1 too: what the section forbids weighs more."""

CIPHERS: Final[dict[Profile, str]] = {
    # RFC 9325 §4.1 would rather see no DHE: it comes last, for an archive that has nothing else. A listener has none.
    "bcp195": "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20",
    "strict": ":".join(_MODIFIED),
}
"""Cipher suites of TLS 1.2, as OpenSSL names them."""

STRICT_TLS_1_3: Final = (
    b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:"
    b"TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256"
)
"""Those of TLS 1.3 that a server has under §B.13, CCM_8 as above; a client needs one of them, and has the first three
as with BCP 195."""

MIN_RSA_BITS: Final = 2048
"""Bits of an RSA key under §B.13; OpenSSL holds the peer to it, by its security level."""

MIN_EC_BITS: Final = 256
"""Bits of an elliptic curve key under §B.13; OpenSSL has none shorter among the curves that it negotiates."""

HTTP: Final = (b"http/1.1",)
"""The application protocol of HTTP; DIMSE has none (RFC 7301)."""


def server_options(
    cert_path: str,
    key_path: str,
    client_ca_path: str = "",
    *,
    profile: Profile = "bcp195",
    protocols: tuple[bytes, ...] = HTTP,
) -> CertificateOptions:
    """Return the options of a TLS listener; the certificate file holds the chain, the server's own first.

    With `client_ca_path` every client needs a certificate that one of its authorities has signed. Raises
    `ConfigurationError` that names the file that cannot be used.
    """
    options = CertificateOptions(
        **_identity(cert_path, key_path, profile),
        **_suites(profile, protocols),
        trustRoot=_authorities(client_ca_path) if client_ca_path else None,
    )
    try:
        context = options.getContext()  # which OpenSSL may still refuse, now rather than at the first connection
    except SSL.Error as error:
        reasons = "; ".join(reason for *_, reason in error.args[0])
        raise ConfigurationError((f"{cert_path}, {key_path}: OpenSSL refuses them ({reasons})",)) from error
    if profile == "strict":
        context.set_tls13_ciphersuites(STRICT_TLS_1_3)
    return options


@implementer(IOpenSSLContextFactory)
class ServerCertificates:
    """What a TLS listener shows and demands: read from files, and again when told; open connections go on as they
    are. The arguments are those of `server_options`, and so is what is raised."""

    def __init__(self, *paths: str, **more: Any) -> None:
        self._read = partial(server_options, *paths, **more)
        self._options = self._read()

    def getContext(self) -> SSL.Context:
        """Return what new connections are made with."""
        return self._options.getContext()

    def reload(self) -> None:
        """Read the files again; what was read before stays when they cannot be used."""
        self._options = self._read()


def client_options(
    host: str,
    ca_cert_path: str = "",
    cert_path: str = "",
    key_path: str = "",
    *,
    profile: Profile = "bcp195",
    protocols: tuple[bytes, ...] = HTTP,
    check_hostname: bool = True,
) -> IOpenSSLClientConnectionCreator:
    """Return what makes TLS connections to `host`, whose certificate has to be for that name or address.

    It is checked against the authorities in `ca_cert_path`, or those of the system; without `check_hostname` any
    certificate of theirs will do. With `cert_path` and `key_path` we show a certificate of our own when asked. Raises
    `ConfigurationError` that names the file that cannot be used.
    """
    options = {**(_identity(cert_path, key_path, profile) if cert_path else {}), **_suites(profile, protocols)}
    trust_root = _authorities(ca_cert_path) if ca_cert_path else platformTrust()
    try:
        if not check_hostname:
            return _AnyName(CertificateOptions(trustRoot=trust_root, **options).getContext())
        own_protocols = options.pop("acceptableProtocols")
        creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(
            host, trustRoot=trust_root, acceptableProtocols=own_protocols, extraCertificateOptions=options
        )
    except SSL.Error as error:
        raise ConfigurationError((f"{cert_path}, {key_path}: OpenSSL refuses them",)) from error
    return creator


def subject_of(transport: Any) -> str | None:
    """Return the subject of the certificate that a peer has shown (RFC 4514), None without one.

    Nobody is asked for a certificate that is not checked: who has a subject here is who one of our authorities says.
    """
    certificate = transport.getPeerCertificate() if hasattr(transport, "getPeerCertificate") else None
    if certificate is None:
        return None
    subject: str = certificate.to_cryptography().subject.rfc4514_string()
    return subject


def problem_of(error: object) -> str:
    """Return why TLS has ended a connection, for the operator; empty when it has not."""
    if isinstance(error, SSL.Error):
        return "TLS: " + "; ".join(str(reason[-1]) for reason in error.args[0] if reason) if error.args else "TLS"
    if isinstance(error, VerificationError):
        return "TLS: the server's certificate is not for its host name"
    return ""


@implementer(IOpenSSLClientConnectionCreator)
class _AnyName:
    """Makes connections to whoever has a certificate of our authorities."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)


def _suites(profile: Profile, protocols: tuple[bytes, ...]) -> dict[str, Any]:
    return {
        "raiseMinimumTo": TLSVersion.TLSv1_2,
        "acceptableCiphers": AcceptableCiphers.fromOpenSSLCipherString(CIPHERS[profile]),
        "acceptableProtocols": list(protocols) or None,
    }


def _identity(cert_path: str, key_path: str, profile: Profile) -> dict[str, Any]:
    """Return a certificate, its key and its chain, as Twisted's options name them."""
    # Twisted's annotations name pyOpenSSL's classes; pyOpenSSL itself asks for those of cryptography instead.
    own, *chain = _certificates(cert_path)
    try:
        key: Any = load_pem_private_key(Path(key_path).read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError((f"{key_path}: not a PEM private key without passphrase ({error})",)) from error
    if key.public_key() != own.public_key():
        raise ConfigurationError((f"{key_path}: not the key of the first certificate in {cert_path}",))
    if profile == "strict" and (problem := _too_weak(key, own)):
        raise ConfigurationError((f"{cert_path}: {problem}, and tls_profile strict takes none such (PS3.15 §B.13)",))
    return {"privateKey": key, "certificate": own, "extraCertChain": chain}


def _too_weak(key: Any, certificate: Any) -> str:
    """Return what §B.13 has against a certificate, empty for nothing."""
    least = MIN_EC_BITS if isinstance(key, EllipticCurvePrivateKey) else MIN_RSA_BITS
    digest = certificate.signature_hash_algorithm
    if isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey) and key.key_size < least:
        return f"a key of {key.key_size} bits"
    if digest is not None and digest.digest_size < SHA256.digest_size:
        return f"signed with {digest.name}"
    return ""


def _authorities(path: str) -> Any:
    return trustRootFromCertificates([Certificate(X509.from_cryptography(one)) for one in _certificates(path)])


def _certificates(path: str) -> list[Any]:
    try:
        return list(load_pem_x509_certificates(Path(path).read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigurationError((f"{path}: not a PEM certificate file ({error})",)) from error
