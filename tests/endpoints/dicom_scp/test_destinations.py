"""Destinations of our peers' C-MOVEs: how each is connected to, and with what certificates."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint

from harmonygw.config.endpoint_options import AETableEntry, DicomSCPOptions
from harmonygw.endpoints.dicom_scp import destinations as module
from harmonygw.endpoints.dicom_scp.destinations import Destinations
from harmonygw.errors import ConfigurationError
from tests.certificates import identity
from tests.endpoints.dicom_scp.scripted import Script


class Made:
    """What `client_options` was asked for; it still does what it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arguments: list[tuple[Any, ...]] = []
        self._really = module.client_options
        monkeypatch.setattr(module, "client_options", self)

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        self.arguments.append((*arguments, more))
        return self._really(*arguments, **more)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


def endpoint_of(entry: AETableEntry, **options: Any) -> Any:
    return Destinations("scp", DicomSCPOptions(aet_table={"VIEWER": entry}, **options), object()).endpoint("VIEWER")


def test_without_tls_it_is_plain_tcp(made: Made) -> None:
    endpoint = endpoint_of(AETableEntry("10.0.0.9", 104))
    assert isinstance(endpoint, TCP4ClientEndpoint)
    assert made.arguments == []


def test_with_tls_it_is_asked_for_its_certificate_and_shown_the_endpoints_own(made: Made, tmp_path: Path) -> None:
    cert, key = identity("gateway").write(tmp_path, "gateway")
    ca, _ = identity("ca", authority=True).write(tmp_path, "ca")
    entry = AETableEntry("10.0.0.9", 2762, use_tls=True, ca_cert_path=ca, tls_profile="strict")
    endpoint = endpoint_of(entry, cert_path=cert, key_path=key)
    assert not isinstance(endpoint, TCP4ClientEndpoint)
    more = {"profile": "strict", "protocols": (), "check_hostname": True}
    assert made.arguments == [("10.0.0.9", ca, cert, key, more)]


def test_it_may_be_shown_another_certificate_and_have_any_name(made: Made, tmp_path: Path) -> None:
    cert, key = identity("other").write(tmp_path, "other")
    entry = AETableEntry("10.0.0.9", 104, use_tls=True, cert_path=cert, key_path=key, tls_check_hostname=False)
    endpoint_of(entry)
    assert made.arguments == [
        ("10.0.0.9", "", cert, key, {"profile": "bcp195", "protocols": (), "check_hostname": False})
    ]


def test_a_file_that_cannot_be_used_is_named_with_its_entry(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.pem")
    with pytest.raises(ConfigurationError) as caught:
        endpoint_of(AETableEntry("10.0.0.9", 104, use_tls=True, ca_cert_path=absent))
    (problem,) = caught.value.problems
    assert problem.startswith(f"endpoints.scp: aet_table.VIEWER: {absent}: not a PEM certificate file (")


def test_certificates_are_read_again_and_stay_when_they_cannot_be(made: Made, tmp_path: Path) -> None:
    ca, _ = identity("ca", authority=True).write(tmp_path, "ca")
    entry = AETableEntry("10.0.0.9", 104, use_tls=True, ca_cert_path=ca)
    script = Script(aet_table={"VIEWER": entry, "PLAIN": AETableEntry("10.0.0.8", 104)})
    (destinations,) = script.endpoint.certificates
    assert (destinations.any_secured, len(made.arguments)) == (True, 1)
    destinations.reload()
    assert len(made.arguments) == 2
    Path(ca).write_text("nothing", encoding="ascii")
    with pytest.raises(ConfigurationError, match="not a PEM certificate file"):
        destinations.reload()
    assert not isinstance(destinations.endpoint("VIEWER"), TCP4ClientEndpoint)
    assert isinstance(destinations.endpoint("PLAIN"), TCP4ClientEndpoint)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"use_tls": True, "cert_path": "a.pem"}, '"cert_path" needs "key_path"'),
        ({"use_tls": True, "key_path": "a.key"}, '"key_path" needs "cert_path"'),
        ({"ca_cert_path": "ca.pem"}, '"ca_cert_path" needs "use_tls" to be true'),
        ({"cert_path": "a.pem", "key_path": "a.key"}, '"cert_path" needs "use_tls" to be true'),
    ],
)
def test_keys_that_mean_nothing_alone_are_a_mistake(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AETableEntry("10.0.0.9", 104, **keys)
    assert caught.value.problems == (problem,)
