"""DICOM over TLS (PS3.15 §B.12, §B.13) on both sides: Orthanc and DCMTK, who is believed and who is let in."""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove

from tests.certificates import Identity, identity
from tests.interop.embedded import image
from tests.interop.processes import free_port, gateway, orthanc, running, wait_for_port
from tests.interop.stow import Module, file_of

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

CONFIGURATION = """
[proxy]
id = "secured"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = ["bridge"]
backends = ["pacs"]

[endpoints.web]
service = "dicomweb"

[middleware.bridge]
type = "dicomweb_bridge"

[backends.pacs]
service = "dicom_scu"
authentication = "ours"
max_retries = 0
connection = { host = "HOST", port = PACS_PORT, protocol = "dicoms", ca_cert_path = "CA" }
options = { aet = "ORTHANC", local_aet = "HARMONYGW" MORE }

[authentications.ours]
method = "mutual_tls"
options = { cert_path = "CERT", key_path = "KEY" }

[pipelines.dimse]
networks = ["default"]
endpoints = ["scp"]
backends = ["archive"]

[endpoints.scp]
service = "dicom_scp"
options = { bind_addr = "127.0.0.1", port = SCP_PORT, cert_path = "CERT", key_path = "KEY" SCP_MORE }

[backends.archive]
service = "storage"
options = { root = "ROOT" }
"""

HTTPS = """
[proxy]
id = "renewed"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = PORT
cert_path = "CERT"
key_path = "KEY"

[pipelines.web]
networks = ["default"]
endpoints = ["web"]
backends = ["echo"]

[endpoints.web]
service = "echo"

[backends.echo]
service = "echo"

[pipelines.dimse]
networks = ["default"]
endpoints = ["scp"]
backends = ["archive"]

[endpoints.scp]
service = "dicom_scp"
options = { bind_addr = "127.0.0.1", port = SCP_PORT, cert_path = "CERT", key_path = "KEY" }

[backends.archive]
service = "storage"
options = { root = "ROOT" }
"""

SSL_ENVIRONMENT = {**os.environ, "OPENSSL_CONF": os.devnull}


class Place(NamedTuple):
    """Certificates in a folder, all signed by one authority."""

    folder: Path
    authority: Identity
    ca: str
    cert: str
    key: str

    def signed(self, name: str, by: Identity | None = None, **more: Any) -> tuple[str, str]:
        return identity(name, by or self.authority, **more).write(self.folder, name)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    authority = identity("authority", authority=True)
    ca, _ = authority.write(tmp_path, "authority")
    cert, key = identity("gateway", authority).write(tmp_path, "gateway")
    return Place(tmp_path, authority, ca, cert, key)


@contextmanager
def secured(
    place: Place, pacs_port: int, *, host: str = "127.0.0.1", ca: str = "", more: str = "", scp_more: str = ""
) -> Iterator[tuple[str, int]]:
    """A gateway; gives the URL of its DICOMweb service, and its own DICOM port."""
    scp_port = free_port()
    text = CONFIGURATION
    for name, value in {
        "PACS_PORT": pacs_port,
        "SCP_PORT": scp_port,
        "SCP_MORE": scp_more,
        "MORE": more,
        "HOST": host,
        "CERT": place.cert,
        "KEY": place.key,
        '"CA"': f'"{ca or place.ca}"',
        "ROOT": place.folder / "archive",
    }.items():
        text = text.replace(name, str(value))
    with gateway(place.folder, text) as url:
        yield f"{url}/dicom", scp_port


@contextmanager
def archive(place: Place, **more: Any) -> Iterator[int]:
    """An Orthanc that speaks TLS, and only with those that the authority has signed."""
    cert, key = place.signed("orthanc")
    with orthanc(
        place.folder,
        DicomTlsEnabled=True,
        DicomTlsCertificate=cert,
        DicomTlsPrivateKey=key,
        DicomTlsTrustedCertificates=place.ca,
        **more,
    ) as port:
        yield port


def ask(url: str, data: bytes | None = None) -> tuple[int, bytes]:
    headers = {"Accept": "application/dicom+json", **({"Content-Type": "application/dicom"} if data else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def whole(url: str) -> bytes:
    accepted = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accepted}), timeout=30) as reply:
        found: bytes = reply.read()
    return found


@pytest.mark.parametrize("profile", ["bcp195", "strict"])
def test_everything_goes_through_tls(place: Place, profile: str) -> None:
    with archive(place) as port, secured(place, port, more=f', tls_profile = "{profile}"') as (url, _):
        status, body = ask(f"{url}/studies", file_of(image(1)))
        assert (status, Module(body.decode()).stored) == (200, ["1.2.3.1"])
        status, body = ask(f"{url}/studies")
        assert (status, len(json.loads(body))) == (200, 1)
        assert bytes(image(1).PixelData) in whole(f"{url}/studies/1.2")


def test_instances_of_a_move_come_back_through_tls(place: Place) -> None:
    back = free_port()
    known = {"hgw": {"AET": "HARMONYGW", "Host": "127.0.0.1", "Port": back, "UseDicomTls": True}}
    more = f', dimse_retrieve_mode = "move", incoming_store_port = {back}'
    with archive(place, DicomModalities=known) as port, secured(place, port, more=more) as (url, _):
        assert ask(f"{url}/studies", file_of(image(1)))[0] == 200
        assert bytes(image(1).PixelData) in whole(f"{url}/studies/1.2")


def test_a_pacs_of_another_authority_is_not_believed(place: Place) -> None:
    stranger, _ = identity("stranger", authority=True).write(place.folder, "stranger")
    with archive(place) as port, secured(place, port, ca=stranger) as (url, _):
        status, body = ask(f"{url}/studies")
    assert (status, json.loads(body)["detail"]) == (502, "pacs: TLS: certificate verify failed")


def test_a_certificate_is_for_a_host_unless_any_will_do(place: Place) -> None:
    with archive(place) as port:
        with secured(place, port, host="localhost") as (url, _):
            status, body = ask(f"{url}/studies")
            assert (status, json.loads(body)["detail"]) == (
                502,
                "pacs: TLS: the server's certificate is not for its host name",
            )
        with secured(place, port, host="localhost", more=", tls_check_hostname = false") as (url, _):
            assert ask(f"{url}/studies")[0] == 200


def test_any_host_does_not_mean_any_authority(place: Place) -> None:
    stranger, _ = identity("stranger", authority=True).write(place.folder, "stranger")
    more = ", tls_check_hostname = false"
    with archive(place) as port, secured(place, port, ca=stranger, more=more) as (url, _):
        assert ask(f"{url}/studies")[0] == 502


def test_a_pacs_in_clear_is_not_spoken_to(place: Place) -> None:
    with orthanc(place.folder) as port, secured(place, port) as (url, _):
        assert ask(f"{url}/studies")[0] in (502, 504)


@pytest.mark.parametrize("profile", ["bcp195", "strict"])
def test_a_move_is_delivered_by_tls_to_who_can_show_a_certificate(place: Place, profile: str) -> None:
    stranger = identity("stranger", authority=True)
    stranger_ca, _ = stranger.write(place.folder, "stranger")
    out, port = place.folder / "received", free_port()
    out.mkdir()
    sent = place.folder / "sent.dcm"
    sent.write_bytes(file_of(image(1)))
    cert, key = place.signed("workstation")
    receiver = [
        "storescp",
        "+tls",
        key,
        cert,
        "+cf",
        place.ca,
        "-rc",
        "+xa",
        "-aet",
        "SAFE",
        "-od",
        str(out),
        str(port),
    ]
    entry = f'host = "127.0.0.1", port = {port}, use_tls = true, tls_profile = "{profile}"'
    table = (
        f'SAFE = {{ {entry}, ca_cert_path = "{place.ca}" }}, '
        f'DOUBTED = {{ {entry}, ca_cert_path = "{stranger_ca}", ae_title = "DOUBTED" }}, '
        f'CLEAR = {{ host = "127.0.0.1", port = {port} }}'
    )
    more = f", enable_store = true, enable_move = true, aet_table = {{ {table} }}"
    with (
        running(receiver, port, log=place.folder / "storescp.log"),
        secured(place, free_port(), scp_more=more) as (_, scp_port),
    ):
        assert stored(scp_port, sent)
        assert [moved(place, scp_port, whom) for whom in ("DOUBTED", "CLEAR")] == [(0xA702, 0), (0xA702, 0)]
        assert list(out.iterdir()) == []
        assert moved(place, scp_port, "SAFE") == (0x0000, 1)
    assert len(list(out.iterdir())) == 1


def stored(port: int, file: Path) -> bool:
    command = ["storescu", "+tla", "-ic", "127.0.0.1", str(port), str(file)]
    return subprocess.run(command, capture_output=True, env=SSL_ENVIRONMENT, check=False, timeout=60).returncode == 0


def moved(place: Place, port: int, destination: str) -> tuple[int, int]:
    """Return the final status of a C-MOVE over TLS, and the number of completed sub-operations."""
    ours = AE("VIEWER")
    ours.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", "1.2"
    context = ssl.create_default_context(cafile=place.ca)
    association = ours.associate("127.0.0.1", port, tls_args=(context, "127.0.0.1"))
    assert association.is_established
    *_, (status, _) = association.send_c_move(wanted, destination, StudyRootQueryRetrieveInformationModelMove)
    association.release()
    return int(status.Status), int(status.NumberOfCompletedSuboperations)


def echo(port: int, *arguments: str) -> int:
    """Return how DCMTK's echoscu ended."""
    command = ["echoscu", "-to", "5", "-ta", "5", *arguments, "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, env=SSL_ENVIRONMENT, check=False, timeout=30).returncode


def shakes_hands(port: int, *arguments: str) -> bool:
    command = ["openssl", "s_client", "-brief", "-connect", f"127.0.0.1:{port}", *arguments]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=SSL_ENVIRONMENT, check=False, timeout=30
    )
    return b"CONNECTION ESTABLISHED" in done.stderr


def test_who_is_signed_is_let_in_and_nobody_else(place: Place) -> None:
    known = place.signed("modality")
    unknown = identity("unknown").write(place.folder, "unknown")
    with secured(place, free_port(), scp_more=f', client_ca_path = "{place.ca}"') as (_, port):
        assert echo(port, "+tls", known[1], known[0], "+cf", place.ca) == 0
        assert echo(port, "+tls", unknown[1], unknown[0], "+cf", place.ca) != 0
        assert echo(port, "+tla", "-ic") != 0
        assert echo(port) != 0
        assert echo(port, "+tls", known[1], known[0], "+cf", place.ca) == 0
    (log,) = place.folder.glob("gateway-*.log")
    assert log.read_text().count('principal="CN=modality" operation=C-ECHO outcome=complete') == 2


def test_a_peer_checks_us_and_needs_no_certificate_unless_asked(place: Place) -> None:
    with secured(place, free_port()) as (_, port):
        assert echo(port, "+tla", "+cf", place.ca) == 0
        assert echo(port, "+tla") != 0


def shown(port: int, ca: str) -> bool:
    """Whether what listens on a port shows a certificate of this authority."""
    command = ["openssl", "s_client", "-brief", "-verify_return_error", "-CAfile", ca, "-connect", f"127.0.0.1:{port}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
    return b"Verification: OK" in done.stderr


def test_sighup_brings_new_certificates_and_cuts_nothing(place: Place) -> None:
    other = identity("other", authority=True)
    other_ca, _ = other.write(place.folder, "other")
    port, scp_port = free_port(), free_port()
    text = HTTPS.replace("SCP_PORT", str(scp_port)).replace("PORT", str(port))
    text = text.replace("CERT", place.cert).replace("KEY", place.key).replace("ROOT", str(place.folder / "archive"))
    (place.folder / "config.toml").write_text(text)
    twistd = str(Path(sys.executable).with_name("twistd"))
    arguments = [twistd, "-n", "--pidfile=", "harmonygw", "-c", str(place.folder / "config.toml")]
    log = place.folder / "log"
    with running(arguments, port, log=log) as process:
        wait_for_port(scp_port, process)
        context = ssl.create_default_context(cafile=place.ca)
        open_one = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
        open_one.request("GET", "/healthz")
        assert open_one.getresponse().read()
        assert shown(port, place.ca)
        assert shown(scp_port, place.ca)
        identity("renewed", other).write(place.folder, "gateway")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: log.read_bytes().count(b"certificate was read again") == 2)
        assert shown(port, other_ca)
        assert shown(scp_port, other_ca)
        open_one.request("GET", "/healthz")
        assert open_one.getresponse().status == 200
        open_one.close()
        Path(place.key).write_text("broken")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: log.read_bytes().count(b"goes on with the certificate that it has") == 2)
        assert shown(port, other_ca)
        assert shown(scp_port, other_ca)


def test_a_viewer_is_who_his_certificate_says(place: Place) -> None:
    port = free_port()
    text = HTTPS.replace("SCP_PORT", str(free_port())).replace("PORT", str(port))
    text = text.replace('key_path = "KEY"\n\n', f'key_path = "KEY"\nclient_ca_path = "{place.ca}"\n\n', 1)
    text = text.replace("CERT", place.cert).replace("KEY", place.key).replace("ROOT", str(place.folder / "archive"))
    (place.folder / "config.toml").write_text(text)
    twistd = str(Path(sys.executable).with_name("twistd"))
    log = place.folder / "log"
    with running([twistd, "-n", "--pidfile=", "harmonygw", "-c", str(place.folder / "config.toml")], port, log=log):
        context = ssl.create_default_context(cafile=place.ca)
        context.load_cert_chain(*place.signed("viewer"))
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
        connection.request("GET", "/echo/")
        assert connection.getresponse().status == 200
        connection.close()
    assert 'principal="CN=viewer"' in log.read_text()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def test_old_versions_and_suites_are_refused(place: Place) -> None:
    cert, key = place.signed("gateway", key=rsa.generate_private_key(65537, 2048))
    assert (cert, key) == (place.cert, place.key)
    insecure = ["-cipher", "ALL:@SECLEVEL=0"]
    with secured(place, free_port()) as (_, port):
        assert shakes_hands(port, "-tls1_3")
        assert shakes_hands(port, "-tls1_2")
        assert not shakes_hands(port, "-tls1_1", *insecure)
        assert not shakes_hands(port, "-tls1", *insecure)
        for suite in ("AES128-SHA", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "NULL"):
            assert not shakes_hands(port, "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0"), suite
        for suite in ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"):
            assert shakes_hands(port, "-tls1_2", "-cipher", suite), suite
