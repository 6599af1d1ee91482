"""Where a backend is, key by key."""

import pytest

from harmonygw.config.addressing import Destination, destination
from harmonygw.config.options import (
    DicomSCUOptions,
    DICOMwebBackendOptions,
    EchoBackendOptions,
    HTTPBackendOptions,
    StorageOptions,
)
from harmonygw.config.system import Connection, Target
from harmonygw.config.tables import BackendTable
from harmonygw.errors import ConfigurationError

TARGET = Target(Connection(host="target", port=11, base_path="/t/", ca_cert_path="t.pem"))
NEAR = Connection(host="near", port=22, base_path="n", ca_cert_path="n.pem")


@pytest.mark.parametrize(
    ("options", "connection", "target", "where"),
    [
        (DicomSCUOptions(host="own", port=33), NEAR, TARGET, Destination("own", 33, ca_cert_path="n.pem")),
        (DicomSCUOptions(), NEAR, TARGET, Destination("near", 22, ca_cert_path="n.pem")),
        (DicomSCUOptions(), Connection(), TARGET, Destination("target", 11, ca_cert_path="t.pem")),
        (DicomSCUOptions(host="own"), Connection(port=22), TARGET, Destination("own", 22, ca_cert_path="t.pem")),
        (DicomSCUOptions(host="own"), Connection(), None, Destination("own", 104)),
        (DicomSCUOptions(host="own", use_tls=True), Connection(), None, Destination("own", 2762, use_tls=True)),
        (
            DicomSCUOptions(host="own"),
            Connection(protocol="dicoms"),
            None,
            Destination("own", 2762, use_tls=True),
        ),
        (
            DicomSCUOptions(host="own", use_tls=False),
            Connection(),
            Target(protocol="dicoms"),
            Destination("own", 104),
        ),
        (
            DICOMwebBackendOptions(),
            Connection(),
            TARGET,
            Destination("target", 11, "http://target:11/t", False, "t.pem"),
        ),
        (
            DICOMwebBackendOptions("https://web/dicom"),
            NEAR,
            TARGET,
            Destination("web", 443, "https://web/dicom", True, "n.pem"),
        ),
        (
            HTTPBackendOptions(host="::1", protocol="https", base_path="own"),
            Connection(),
            None,
            Destination("::1", 443, "https://[::1]/own", True),
        ),
        (HTTPBackendOptions(), Connection(host="h", protocol="http"), None, Destination("h", 80, "http://h")),
        (
            HTTPBackendOptions(host="own", port=33),
            NEAR,
            TARGET,
            Destination("own", 33, "http://own:33/n", False, "n.pem"),
        ),
        (StorageOptions(), NEAR, TARGET, Destination()),
        (EchoBackendOptions(), Connection(), None, Destination()),
    ],
)
def test_the_nearest_place_that_says_it_counts(
    options: object, connection: Connection, target: Target | None, where: Destination
) -> None:
    assert destination(BackendTable("any", connection=connection), options, target) == where


@pytest.mark.parametrize(
    ("options", "target", "sentence"),
    [
        (
            DicomSCUOptions(),
            Target(Connection(host="h", protocol="http")),
            'protocol is "http" there, but this service speaks dicom or dicoms',
        ),
        (
            HTTPBackendOptions(),
            Target(Connection(host="h"), protocol="dicom"),
            'protocol is "dicom" there, but this service speaks http or https',
        ),
        (
            DICOMwebBackendOptions(),
            None,
            "nothing says where it is: give target_ref, connection.host or a host in options",
        ),
    ],
)
def test_a_place_that_cannot_be_is_refused(options: object, target: Target | None, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        destination(BackendTable("any"), options, target)
    assert caught.value.problems == (sentence,)
