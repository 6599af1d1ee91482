"""The table of the audit trail: what it takes, what does not go together, and where a problem is said to be."""

from typing import Any

import pytest

from harmonygw.config.audit import LEAST_SPOOL_BYTES, MAX_DATAGRAM_BYTES, MAX_MESSAGE_BYTES, Audit
from harmonygw.config.binding import bind
from tests.config.conftest import Configure, Problems

MAIN = """
[proxy]
id = "gateway"

[network.default.http]
bind_address = "127.0.0.1"

[pipelines.echo]
networks = ["default"]
endpoints = ["echo"]

[endpoints.echo]
service = "echo"
"""


def bound(**table: object) -> tuple[Any, list[str]]:
    found: list[str] = []
    value = bind(Audit, table, (), lambda path, sentence: found.append(f"{'.'.join(map(str, path))}: {sentence}"))
    return value, found


def test_without_a_table_there_is_none() -> None:
    audit, found = bound()
    assert found == []
    assert audit == Audit()
    assert (audit.enabled, audit.fail_closed, audit.transport, audit.facility) == (False, False, "syslog_tls", 10)
    assert (audit.max_spool_bytes, audit.max_message_bytes, audit.spool_path) == (1 << 30, 32768, "./audit")


@pytest.mark.parametrize(
    ("table", "port"),
    [
        ({"host": "collector"}, 6514),
        ({"host": "collector", "transport": "syslog_udp"}, 514),
        ({"host": "collector", "transport": "syslog_udp", "port": 5514}, 5514),
        ({"path": "audit.log", "transport": "file"}, 0),
    ],
)
def test_a_transport_has_a_port_of_its_own(table: dict[str, object], port: int) -> None:
    audit, found = bound(enabled=True, **table)
    assert found == []
    assert audit.effective_port == port


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"enabled": True}, ': "host" is missing: an audit trail by syslog_tls needs one'),
        (
            {"enabled": True, "transport": "syslog_udp", "path": "x"},
            ': "host" is missing: an audit trail by syslog_udp needs one',
        ),
        (
            {"enabled": True, "transport": "file", "host": "x"},
            ': "path" is missing: an audit trail by file needs one',
        ),
        (
            {"enabled": True, "transport": "syslog_udp", "host": "x", "ca_path": "ca"},
            'ca_path: is for "transport" syslog_tls',
        ),
        ({"cert_path": "c"}, ': "key_path" is missing: a certificate and its key go together'),
        ({"key_path": "k"}, ': "cert_path" is missing: a certificate and its key go together'),
        ({"max_message_bytes": 2047}, "max_message_bytes: must be 2048 to 1.04858e+06, not 2047"),
        (
            {"max_message_bytes": MAX_MESSAGE_BYTES + 1},
            "max_message_bytes: must be 2048 to 1.04858e+06, not 1048577",
        ),
        (
            {"transport": "syslog_udp", "max_message_bytes": MAX_DATAGRAM_BYTES + 1},
            "max_message_bytes: must be 65507 or less: no datagram is longer",
        ),
        (
            {"max_spool_bytes": 1 << 20, "max_message_bytes": (1 << 17) + 1},
            "max_spool_bytes: must be 8 times max_message_bytes, or more",
        ),
        ({"facility": 24}, "facility: must be 0 to 23, not 24"),
        ({"transport": "tcp"}, 'transport: must be one of "syslog_tls", "syslog_udp", "file", not "tcp"'),
        ({"spool_path": ""}, "spool_path: must not be empty"),
        ({"sync_secs": -1}, "sync_secs: must be 0 to 86400, not -1"),
    ],
)
def test_what_is_wrong_is_one_problem(table: dict[str, object], problem: str) -> None:
    assert bound(**table)[1] == [problem]


def test_the_edges_are_allowed() -> None:
    assert bound(max_message_bytes=2048, max_spool_bytes=LEAST_SPOOL_BYTES)[1] == []
    assert bound(max_message_bytes=1 << 17, max_spool_bytes=1 << 20)[1] == []
    assert bound(transport="syslog_udp", max_message_bytes=MAX_DATAGRAM_BYTES)[1] == []
    assert bound(max_message_bytes=MAX_MESSAGE_BYTES)[1] == []


def test_the_source_is_the_gateway_unless_given(configure: Configure) -> None:
    assert configure(MAIN).audit == Audit(source_id="gateway")
    assert configure(MAIN + '[audit]\nsource_id = "ward-7"\n').audit.source_id == "ward-7"


def test_a_problem_has_its_line_and_an_unknown_key_is_one(problems: Problems) -> None:
    found = problems(MAIN + '\n[audit]\nenabled = true\ntransport = "syslog_udp"\nhost = "a"\nkey_path = "k"\n')
    assert len(found) == 2
    assert "config.toml:19: audit.key_path: is for" in "\n".join(found)
    (unknown,) = problems(MAIN + "[audit]\nspool = 'x'\n")
    assert "audit.spool" in unknown
