"""The house that follows another one: which of its parts are those of before, and what the two know of one another."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from harmonygw.net.ports import Ports, Upcoming
from harmonygw.service.house import Ground, House, _destinations_on
from tests.certificates import identity
from tests.middleware.authentication.issuer import pem, private_key
from tests.service.conftest import Configure

PARTS = """
[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = ["guard", "policies", "bridge", "cache"]
backends = ["archive"]

[endpoints.web]
service = "dicomweb"

[middleware.guard]
type = "jwt_auth"
authentication = "staff"

[middleware.policies]
type = "policies"
options = { policies = ["all"] }

[middleware.bridge]
type = "dicomweb_bridge"

[middleware.cache]
type = "cache"

[policies.all]
rules = ["often"]

[rules.often]
type = "rate_limit"
options = { max_requests = 10, window_seconds = 60 }

[authentications.staff]
method = "jwt"
options = { JWT }

[backends.archive]
service = "dicom_scu"
target_ref = "pacs"

[backends.archive.options]
aet = "PACS"
local_aet = "GATEWAY"
incoming_store_port = 11113

[targets.pacs.connection]
host = "pacs.example"
port = 104
protocol = "dicom"
"""

KINDS = (
    *("backends.archive", "backends.files", "backends.server", "backends.moved"),
    *("middleware.guard", "middleware.policies", "middleware.bridge", "middleware.cache"),
)
JWT = 'use_hs256 = true, hs256_secret = "ssssssssssssssssssssssssssssssss"'
ONE = """
[pipelines.KIND]
networks = ["default"]
endpoints = ["KIND"]
backends = ["KIND"]

[endpoints.KIND]
service = "http"
options = { path_prefix = "/KIND" }

[backends.KIND]
"""
FILES = ONE.replace("KIND", "files") + 'service = "storage"\noptions = { root = "files" }\n'
SERVER = ONE.replace("KIND", "server") + 'service = "http"\ntarget_ref = "web"\nauthentication = "us"\n'
MOVED = (
    ONE.replace("KIND", "moved") + 'service = "dicom_scu"\noptions = { aet = "A", host = "a.example", port = 104 }\n'
)
TARGET = '[targets.web.connection]\nhost = "web.example"\nport = 80\nprotocol = "http"\n'
US = '[authentications.us]\nmethod = "basic"\noptions = { username = "u", password = "p" }\n'
WHOLE = (PARTS.replace("JWT", JWT), FILES, SERVER, MOVED, TARGET, US)


def named(house: House) -> dict[str, Any]:
    return dict(house.parts()) | {f"middleware.{name}": step for name, step in house.all_middleware()}


@pytest.mark.parametrize(
    ("old", "new", "other"),
    [
        ("", "", set()),
        ("port = 104\nprotocol", "port = 105\nprotocol", {"backends.archive", "middleware.cache"}),
        ("incoming_store_port = 11113", "incoming_store_port = 11114", {"backends.archive"}),
        ('local_aet = "GATEWAY"', 'local_aet = "US"', {"backends.archive", "middleware.(dimse_over_http)"}),
        ('root = "files"', 'root = "other"', {"backends.files"}),
        ("port = 80", "port = 81", {"backends.server"}),
        ('password = "p"', 'password = "q"', {"backends.server"}),
        ("max_requests = 10", "max_requests = 11", {"middleware.policies"}),
        ('rules = ["often"]', 'rules = ["often"]\ncombine = "any"', {"middleware.policies"}),
        ("ssssss", "tttttt", {"middleware.guard"}),
        ('type = "dicomweb_bridge"', 'type = "dicomweb_bridge"\noptions = { max_results = 3 }', {"middleware.bridge"}),
        ('type = "cache"', 'type = "cache"\noptions = { max_bytes = 3 }', set()),
        ('type = "cache"', 'type = "cache"\noptions = { path = "elsewhere" }', {"middleware.cache"}),
    ],
)
def test_a_part_goes_on_unless_something_that_it_is_built_from_is_another(
    old: str, new: str, other: set[str], configure: Configure, memory: MemoryReactorClock
) -> None:
    ground, ports = Ground(memory, dict, {}, tuple), Upcoming(Ports(memory))
    text = "\n".join(WHOLE)
    assert old in text
    before = House(configure(text), ground, ports)
    after = House(configure(text.replace(old, new, 1)), ground, ports, before)
    parts, now = named(before), named(after)
    assert set(KINDS) < parts.keys() == now.keys()
    assert {place for place, part in now.items() if part is not parts[place]} == other


def test_a_port_that_an_endpoint_shares_from_now_on_is_another_backend(
    configure: Configure, memory: MemoryReactorClock
) -> None:
    ground, ports = Ground(memory, dict, {}, tuple), Upcoming(Ports(memory))
    text = "\n".join(WHOLE)
    scp = '[pipelines.s]\nnetworks = ["default"]\nendpoints = ["s"]\nbackends = ["archive"]\n[endpoints.s]\n'
    scp += 'service = "dicom_scp"\noptions = { port = 11113 }'
    before = House(configure(text), ground, ports)
    after = House(configure(text, scp), ground, ports, before)
    assert after.backends["archive"] is not before.backends["archive"]
    assert after.middleware["cache"] is before.middleware["cache"]


def test_what_is_in_files_too_is_read_from_them_again(
    configure: Configure, memory: MemoryReactorClock, tmp_path: Path
) -> None:
    identity("key").write(tmp_path, "key")
    (tmp_path / "public.pem").write_bytes(pem(private_key("RS256")))
    ground, ports = Ground(memory, dict, {}, tuple), Upcoming(Ports(memory))
    text = "\n".join(WHOLE).replace(JWT, 'public_key_path = "public.pem"')
    text = text.replace('protocol = "http"', 'protocol = "https"')
    before = House(configure(text), ground, ports)
    after = House(configure(text), ground, ports, before)
    parts, now = named(before), named(after)
    assert {place for place, part in now.items() if part is not parts[place]} == {"backends.server", "middleware.guard"}


def test_what_backends_offer_is_that_of_every_house_that_lives(
    configure: Configure, memory: MemoryReactorClock
) -> None:
    houses: list[House] = []
    ground, ports = Ground(memory, dict, {}, lambda: houses), Upcoming(Ports(memory))
    text = "\n".join(WHOLE)
    houses.append(House(configure(text), ground, ports))
    houses.append(
        House(configure(text.replace("port = 104\nprotocol", "port = 105\nprotocol")), ground, ports, houses[0])
    )
    old, new, shared = houses[0].backends["archive"], houses[1].backends["archive"], houses[0].backends["moved"]
    assert houses[1].offered("destination") == [one.destination for one in (new, shared, old)]  # type: ignore[attr-defined]
    on_the_port = list(_destinations_on(lambda: houses, 11113))
    assert on_the_port == [old.destination, new.destination]  # type: ignore[attr-defined]
