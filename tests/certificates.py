"""Keys and certificates, made when they are needed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass
class Identity:
    """A key and its certificate, with those of whoever signed it behind it."""

    key: Key
    chain: list[x509.Certificate]

    def write(self, folder: Path, name: str, passphrase: bytes = b"") -> tuple[str, str]:
        """Write the chain and the key, and return where they are."""
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in self.chain))
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return str(chain), str(key)


def identity(
    name: str, signed_by: Identity | None = None, *, authority: bool = False, key: Key | None = None
) -> Identity:
    """Make an identity for 127.0.0.1, signed by another or by itself; a root stands at the end of no chain."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer = signed_by.chain[0].subject if signed_by else subject
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(
            issuer,
            subject,
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(hours=1),
            now + timedelta(days=1),
        )
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(signed_by.key if signed_by else key, hashes.SHA256())
    )
    above = signed_by.chain if signed_by and signed_by.chain[0].issuer != signed_by.chain[0].subject else []
    return Identity(key, [certificate, *above])
