"""HTTPS with certificates from files: what is served, who is let in, and what cannot be used."""

import http.client
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric import rsa
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
from harmonygw.net.tls import ServerCertificates, server_options
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
