"""What is shipped loads, and its comments are right: each names a key, and every key of these tables is named."""

import json
import re
from collections import Counter
from dataclasses import is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest

from harmonygw.config.audit import Audit
from harmonygw.config.binding import keys
from harmonygw.config.loading import load
from harmonygw.config.options import CacheOptions, DicomSCUOptions, DICOMwebBridgeOptions, DICOMwebEndpointOptions
from harmonygw.config.system import Limits, Logging, Management, StorageSettings, TCPSettings
from harmonygw.config.tables import PipelineTable
from harmonygw.jolt import Specification
from tests.config.conftest import EVERYTHING, Configure

ETC = Path(__file__).parents[2] / "etc"
MAIN, PIPELINE = ETC / "config.toml", ETC / "pipelines" / "dicomweb.toml"
EXAMPLES = sorted(path.parent for path in (ETC / "examples").glob("*/config.toml"))
COMMENTED = re.compile(r"^# (?=[a-z_.]+ = )", re.MULTILINE)


def test_it_loads_listens_on_loopback_and_assumes_nothing() -> None:
    configuration = load(MAIN, environ={}, available=EVERYTHING)
    assert configuration.warnings == ()
    assert configuration.networks["default"].is_loopback
    assert configuration.routes["default"][0].path_prefix == "/dicom"
    backend = configuration.backends["pacs_backend"]
    assert (backend.host, backend.port, backend.called_ae_title) == ("pacs.hospital.local", 104, "MY_PACS")


def test_the_hardened_one_loads_is_on_loopback_and_lets_in_nobody_unknown() -> None:
    environment = {"ISSUER": "https://issuer.hospital.local", "PACS_HOST": "pacs.hospital.local"}
    configuration = load(ETC / "hardened" / "config.toml", environ=environment, available=EVERYTHING)
    assert configuration.warnings == ()
    assert configuration.unauthenticated == ()
    assert all(network.is_loopback for network in configuration.networks.values())
    assert configuration.audit.enabled
    assert configuration.audit.fail_closed


def test_what_is_commented_out_is_right_too(configure: Configure) -> None:
    credentials = "\n".join(
        f"[authentications.{name}]\nmethod = 'basic'\noptions = {{ username = 'u', password = 'p' }}\n"
        for name in ("my_credentials", "staff")
    )
    main = COMMENTED.sub("", MAIN.read_text(encoding="utf-8")).replace("force_https = false\n", "")
    pipeline = COMMENTED.sub("", PIPELINE.read_text(encoding="utf-8"))
    opened = configure(main + credentials, {"dicomweb.toml": pipeline})
    shipped = load(MAIN, environ={}, available=EVERYTHING)
    assert opened.networks["default"].limits == Limits(max_request_bytes=0)
    assert opened.proxy.drain_timeout_secs == shipped.proxy.drain_timeout_secs == 30.0
    assert opened.proxy.drain_delay_secs == shipped.proxy.drain_delay_secs == 0.0
    assert opened.logging == shipped.logging == Logging()
    assert opened.storage == shipped.storage == StorageSettings()
    assert shipped.audit == Audit(source_id="harmonygw")
    given = {"host": "audit.hospital.local", "port": 6514, "path": "/var/log/harmonygw/audit.log"}
    files = {"ca_path": "audit-ca.pem", "cert_path": "chain.pem", "key_path": "key.pem"}
    located = {key: f"/etc/harmonygw/{name}" for key, name in files.items()}
    assert opened.audit == replace(shipped.audit, **given, **located)
    assert opened.management.base_path == shipped.management.base_path
    bridge = opened.middleware["dicomweb_processor"]
    assert bridge.options.strategy == opened.pipelines["dicomweb_gateway"].options.strategy == "federate"
    unset = {"dicomweb_processor": replace(bridge, options=replace(bridge.options, strategy=None))}
    assert {**opened.middleware, **unset} == shipped.middleware
    assert opened.backends["pacs_backend"].timeout_secs == shipped.backends["pacs_backend"].timeout_secs
    changed = {
        key.name
        for key in keys(DicomSCUOptions)
        if getattr(opened.backends["pacs_backend"].options, key.name)
        != getattr(shipped.backends["pacs_backend"].options, key.name)
    }
    assert changed == {"host", "port", "use_tls", "incoming_store_port", "user_identity"}


def leaves(cls: Any, prefix: str = "") -> list[str]:
    found = []
    for key in keys(cls):
        members = get_args(key.wanted) if get_origin(key.wanted) in (Union, UnionType) else (key.wanted,)
        inner = next((one for one in members if is_dataclass(one)), None)
        is_table = inner is not None and len(members) == 1
        found += leaves(inner, f"{prefix}{key.name}.") if is_table else [f"{prefix}{key.name}"]
    return found


@pytest.mark.parametrize(
    ("file", "cls"),
    [
        (MAIN, TCPSettings),
        (MAIN, Limits),
        (MAIN, Logging),
        (MAIN, Management),
        (MAIN, StorageSettings),
        (MAIN, Audit),
        (PIPELINE, PipelineTable),
        (PIPELINE, DICOMwebEndpointOptions),
        (PIPELINE, DICOMwebBridgeOptions),
        (PIPELINE, CacheOptions),
        (PIPELINE, DicomSCUOptions),
    ],
)
def test_every_key_is_named(file: Path, cls: type) -> None:
    named = set(re.findall(r"^(?:# )?([a-z_.]+) = ", file.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(leaves(cls)) <= named


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_loads_listens_on_loopback_and_assumes_nothing(folder: Path) -> None:
    configuration = load(folder / "config.toml", environ={}, available=EVERYTHING)
    assert (configuration.warnings, configuration.unauthenticated) == ((), ())
    assert all(network.is_loopback for network in configuration.networks.values())
    scps = [endpoint for endpoint in configuration.endpoints.values() if endpoint.service == "dicom_scp"]
    assert {address.host for scp in scps for address in scp.addresses} <= {"127.0.0.1"}
    assert any(middleware.type == "policies" for middleware in configuration.middleware.values())


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_without_what_stands_in_for_its_peer_loads_too(folder: Path, configure: Configure) -> None:
    [pipeline] = (folder / "pipelines").glob(f"{folder.name}.toml")
    main = (folder / "config.toml").read_text(encoding="utf-8")
    opened = configure(main, {pipeline.name: pipeline.read_text(encoding="utf-8")})
    assert (len(opened.pipelines), opened.warnings) == (1, ())


def test_the_examples_specifications_are_used_and_right() -> None:
    written = sorted((ETC / "examples").glob("*/transforms/*.json"))
    assert len(written) == 4
    for path in written:
        Specification(json.loads(path.read_text(encoding="utf-8")))
        configuration = load(path.parents[1] / "config.toml", environ={}, available=EVERYTHING)
        used = [getattr(middleware.options, "spec_path", "") for middleware in configuration.middleware.values()]
        assert path.name in used


def test_examples_can_run_beside_one_another_and_the_demonstration() -> None:
    ports: Counter[int] = Counter()
    for folder in [*EXAMPLES, ETC / "demo"]:
        configuration = load(folder / "config.toml", environ={}, available=EVERYTHING)
        listened = {network.tcp_config.bind_port for network in configuration.networks.values()}
        for endpoint in configuration.endpoints.values():
            listened |= {address.port for address in endpoint.addresses}
        for backend in configuration.backends.values():
            listened |= {getattr(backend.options, "incoming_store_port", None) or 0}
        ports.update(listened - {0})
    assert ports
    assert max(ports.values()) == 1


def test_every_file_of_the_examples_is_one_that_tests_read() -> None:
    patterns = ("README.rst", "config.toml", "stand-in.toml", "transforms/*.json", "image.dcm")
    files = [path for path in (ETC / "examples").rglob("*") if path.is_file()]
    others = [path for path in files if not any(path.match(pattern) for pattern in patterns)]
    assert sorted(others) == [folder / "pipelines" / f"{folder.name}.toml" for folder in EXAMPLES]
