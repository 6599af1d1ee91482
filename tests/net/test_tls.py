"""HTTPS with certificates from files: what is served, who is let in, and what cannot be used."""

import http.client
import ssl
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError
from twisted.internet import reactor
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread

from harmonygw.errors import ConfigurationError
from harmonygw.net import tls
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import Text
from harmonygw.net.tls import ServerCertificates, client_options, server_options
from tests.certificates import Identity, identity


@pytest.fixture(scope="module")
def root() -> Identity:
    return identity("root", authority=True)


@pytest.fixture(scope="module")
def server(root: Identity) -> Identity:
    """Signed by an authority that the root has signed, so that its chain is needed."""
    return identity("server", identity("between", root, authority=True))


def listen(*paths: str) -> IListeningPort:
    site = HTTPSite(Text(lambda: (200, "text/plain", b"fine")), reactor=reactor)
    port: IListeningPort = reactor.listenSSL(0, site, server_options(*paths), interface="127.0.0.1")  # type: ignore[attr-defined]
    return port


def client(folder: Path, trusted: Identity, own: Identity | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=trusted.write(folder, "trusted")[0])
    if own is not None:
        context.load_cert_chain(*own.write(folder, "client"))
    return context


async def get(port: IListeningPort, context: ssl.SSLContext) -> bytes:
    def asked() -> bytes:
        connection = http.client.HTTPSConnection("127.0.0.1", port.getHost().port, context=context, timeout=5)  # type: ignore[attr-defined]
        try:
            connection.request("GET", "/")
            return connection.getresponse().read()
        finally:
            connection.close()

    return await deferToThread(asked)


@pytest_twisted.ensureDeferred
async def test_a_client_that_trusts_the_root_is_served(tmp_path: Path, root: Identity, server: Identity) -> None:
    port = listen(*server.write(tmp_path, "server"))
    assert await get(port, client(tmp_path, root)) == b"fine"
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_versions_before_1_2_are_not_spoken(tmp_path: Path, root: Identity, server: Identity) -> None:
    port = listen(*server.write(tmp_path, "server"))
    context = client(tmp_path, root)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        await get(port, context)
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_client_needs_a_certificate_when_one_is_demanded(
    tmp_path: Path, root: Identity, server: Identity
) -> None:
    wards = identity("wards", authority=True)
    port = listen(*server.write(tmp_path, "server"), wards.write(tmp_path, "wards")[0])
    assert await get(port, client(tmp_path, root, identity("viewer", wards))) == b"fine"
    for stranger in (None, identity("stranger")):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await get(port, client(tmp_path, root, stranger))
    await port.stopListening()


def problem_of(*paths: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        server_options(*paths)
    (problem,) = caught.value.problems
    return problem


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, server: Identity) -> None:
    cert, key = server.write(tmp_path, "server")
    absent, other = str(tmp_path / "absent.pem"), str(tmp_path / "other.pem")
    Path(other).write_text("-----BEGIN NOTHING-----\n", encoding="ascii")
    for path in (absent, other, key):
        assert problem_of(path, key).startswith(f"{path}: not a PEM certificate file (")
        assert problem_of(cert, key, path).startswith(f"{path}: not a PEM certificate file (")
    for path in (absent, other, cert):
        assert problem_of(cert, path).startswith(f"{path}: not a PEM private key without passphrase (")


def test_a_key_with_a_passphrase_is_not_asked_for_at_the_terminal(tmp_path: Path, server: Identity) -> None:
    assert "without passphrase" in problem_of(*server.write(tmp_path, "server", b"secret"))


def test_a_key_must_be_that_of_the_certificate(tmp_path: Path, server: Identity) -> None:
    cert, _ = server.write(tmp_path, "server")
    _, key = identity("other").write(tmp_path, "other")
    assert problem_of(cert, key) == f"{key}: not the key of the first certificate in {cert}"


def test_what_openssl_refuses_is_told_before_anybody_connects(tmp_path: Path) -> None:
    weak = identity("weak", key=rsa.generate_private_key(65537, 1024))
    cert, key = weak.write(tmp_path, "weak")
    assert problem_of(cert, key) == f"{cert}, {key}: OpenSSL refuses them (ee key too small)"


def test_certificates_are_read_again_when_told_and_stay_when_they_cannot_be(tmp_path: Path) -> None:
    cert, key = identity("old").write(tmp_path, "server")
    certificates = ServerCertificates(cert, key)
    before = certificates.getContext()
    assert certificates.getContext() is before
    Path(key).write_text("nothing", encoding="ascii")
    with pytest.raises(ConfigurationError, match="not a PEM private key"):
        certificates.reload()
    assert certificates.getContext() is before
    identity("new").write(tmp_path, "server")
    certificates.reload()
    assert certificates.getContext() is not before


def test_what_ended_a_connection_is_said_when_tls_did() -> None:
    refused = SSL.Error([("SSL routines", "", "certificate verify failed"), ("", "", "again")])
    assert tls.problem_of(refused) == "TLS: certificate verify failed; again"
    assert tls.problem_of(SSL.Error()) == "TLS"
    assert tls.problem_of(VerificationError(errors=[])) == "TLS: the server's certificate is not for its host name"
    assert tls.problem_of(ConnectionResetError()) == ""


def test_who_has_shown_a_certificate_is_its_subject(server: Identity) -> None:
    shown = SimpleNamespace(getPeerCertificate=lambda: X509.from_cryptography(server.chain[0]))
    assert tls.subject_of(shown) == "CN=server"
    assert tls.subject_of(SimpleNamespace(getPeerCertificate=lambda: None)) is None
    assert tls.subject_of(object()) is None


REQUIRED_1_2 = [
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
]
REQUIRED_1_3 = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
]
"""What PS3.15 §B.13 requires."""


def shaken(server: SSL.Context, client: SSL.Context) -> str | None:
    """Return the suite on which two sides agree, None when they do not."""
    ends = SSL.Connection(server, None), SSL.Connection(client, None)
    ends[0].set_accept_state()
    ends[1].set_connect_state()
    for _ in range(6):
        for here, there in (ends[::-1], ends):
            try:
                here.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error:
                return None
            with suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(1 << 16))
    return ends[1].get_cipher_name()


def strict_server(folder: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> SSL.Context:
    return server_options(*identity("server", key=key).write(folder, "server"), profile="strict").getContext()


def other_side(suite: str, version: int, level: str = "") -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if version == SSL.TLS1_3_VERSION:
        context.set_tls13_ciphersuites(suite.encode())
    context.set_cipher_list((suite if version != SSL.TLS1_3_VERSION else "ALL").encode() + level.encode())
    return context


def test_strict_has_the_suites_that_the_standard_requires_and_no_others(tmp_path: Path) -> None:
    context = strict_server(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    listed = SSL.Connection(context, None).get_cipher_list()
    assert listed == REQUIRED_1_3 + REQUIRED_1_2
    client = client_options("host", profile="strict", protocols=(), check_hostname=False)
    assert client.clientConnectionForTLS(None).get_cipher_list() == REQUIRED_1_3[:3] + REQUIRED_1_2  # type: ignore[arg-type]


@pytest.mark.parametrize("suite", REQUIRED_1_2 + REQUIRED_1_3)
def test_each_of_them_is_negotiated_but_those_of_64_bits(tmp_path: Path, suite: str) -> None:
    key = rsa.generate_private_key(65537, 2048) if "-RSA-" in suite else ec.generate_private_key(ec.SECP256R1())
    version = SSL.TLS1_3_VERSION if suite in REQUIRED_1_3 else SSL.TLS1_2_VERSION
    weak = "CCM8" in suite or "CCM_8" in suite
    agreed = shaken(strict_server(tmp_path, key), other_side(suite, version, "@SECLEVEL=0" if weak else ""))
    assert agreed == (None if weak else suite)


@pytest.mark.parametrize(
    "suite", ["DHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA384", "AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA256"]
)
def test_others_are_refused(tmp_path: Path, suite: str) -> None:
    server = strict_server(tmp_path, rsa.generate_private_key(65537, 2048))
    assert shaken(server, other_side(suite, SSL.TLS1_2_VERSION)) is None


def signed_with_sha_224(name: str) -> Identity:
    one = identity(name)
    old = one.chain[0]
    builder = x509.CertificateBuilder(
        old.issuer, old.subject, old.public_key(), 1, old.not_valid_before_utc, old.not_valid_after_utc
    )
    return Identity(one.key, [builder.sign(one.key, hashes.SHA224())])


def test_strict_takes_no_weak_certificate(tmp_path: Path) -> None:
    for name, weak, problem in (
        ("short", identity("short", key=ec.generate_private_key(ec.SECP224R1())), "a key of 224 bits"),
        ("rsa", identity("rsa", key=rsa.generate_private_key(65537, 2047)), "a key of 2047 bits"),
        ("digest", signed_with_sha_224("digest"), "signed with sha224"),
    ):
        cert, key = weak.write(tmp_path, name)
        sentence = f"{cert}: {problem}, and tls_profile strict takes none such (PS3.15 §B.13)"
        for made in (
            lambda cert=cert, key=key: server_options(cert, key, profile="strict"),
            lambda cert=cert, key=key: client_options("host", "", cert, key, profile="strict"),
        ):
            with pytest.raises(ConfigurationError) as caught:
                made()
            assert caught.value.problems == (sentence,)


@pytest.mark.parametrize(("curve", "agrees"), [(ec.SECP224R1(), False), (ec.SECP256R1(), True)])
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_strict_talks_to_nobody_with_a_short_curve(
    tmp_path: Path, curve: ec.EllipticCurve, agrees: bool, version: int
) -> None:
    cert, key = identity("peer", key=ec.generate_private_key(curve)).write(tmp_path, "peer")
    server = SSL.Context(SSL.TLS_METHOD)
    server.use_certificate_chain_file(cert)
    server.use_privatekey_file(key)
    server.set_max_proto_version(version)
    client = client_options("host", cert, profile="strict", protocols=(), check_hostname=False)
    connection = client.clientConnectionForTLS(None)  # type: ignore[arg-type]
    assert (shaken(server, connection.get_context()) is not None) is agrees
