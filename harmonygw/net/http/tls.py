"""The certificate of an HTTPS listener: TLS 1.2 or later (RFC 9325 §3.1.1), client certificates when asked for."""

from pathlib import Path

from OpenSSL import crypto
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, trustRootFromCertificates

from harmonygw.errors import ConfigurationError

_END = b"-----END CERTIFICATE-----"


def server_options(cert_path: str, key_path: str, client_ca_path: str = "") -> CertificateOptions:
    """Return the options of a TLS listener; the certificate file holds the chain, the server's own first.

    With `client_ca_path` every client needs a certificate that one of its authorities has signed. Raises
    `ConfigurationError` that names the file that cannot be used.
    """
    own, *chain = _certificates(cert_path)
    try:
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, Path(key_path).read_bytes())
    except (OSError, crypto.Error) as error:
        raise ConfigurationError((f"{key_path}: not a PEM private key without passphrase ({error})",)) from error
    trust_root = None
    if client_ca_path:
        trust_root = trustRootFromCertificates([Certificate(one) for one in _certificates(client_ca_path)])
    return CertificateOptions(
        privateKey=key,
        certificate=own,
        extraCertChain=chain,
        trustRoot=trust_root,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableProtocols=[b"http/1.1"],
    )


def _certificates(path: str) -> list[crypto.X509]:
    try:
        blocks = [block + _END for block in Path(path).read_bytes().split(_END)[:-1]]
        certificates = [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]
    except (OSError, crypto.Error) as error:
        raise ConfigurationError((f"{path}: not a PEM certificate file ({error})",)) from error
    if not certificates:
        raise ConfigurationError((f"{path}: there is no PEM certificate in it",))
    return certificates
