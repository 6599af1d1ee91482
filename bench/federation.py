"""Search over three PACS as one, one of them silent: the two others' matches, as soon as its time-out has passed.

Orthanc has 2,000 studies, dcmqrscp one of 500 instances; the third takes connections and never says a word. Nothing is
remembered from one Search to the next, so each asks who else has what it found, and completes what dcmqrscp leaves out:
that is what remains to be done then. The same Search over the two alone is timed by turns with it.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any

from bench import objects
from bench.gateway import Search
from bench.peers import Peers
from bench.processes import Process, free_port
from bench.report import RUNS, Figure
from bench.stand import Stand

TIMEOUT_SECS = 3.0
"""Longer than Orthanc takes for 2,000 studies on a busy machine: it must not be what is missing."""

LIMIT = 50
"""Matches of a page, as of a viewer's study list."""

TARGET_MS = 150.0
"""Beyond the time-out: some ten queries at the two others."""

_MAIN = """\
[proxy]
id = "bench-federation"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = {port}

[middleware.bridge]
type = "dicomweb_bridge"
options = {{ page_memory_secs = 0 }}
"""

_BACKEND = """
[backends.{name}]
service = "dicom_scu"
max_retries = 0
options = {{ host = "127.0.0.1", port = {port}, aet = "{title}", local_aet = "HARMONYGW" }}
"""

_PIPELINE = """
[pipelines.{name}]
networks = ["default"]
endpoints = ["{name}_web"]
middleware = ["bridge"]
backends = {backends}
options = {{ strategy = "federate", source_timeout_secs = {timeout}, remember_secs = 0 }}

[endpoints.{name}_web]
service = "dicomweb"
options = {{ path_prefix = "/{name}" }}
"""


def measure(stand: Stand) -> Iterator[Figure]:
    stand.peers.orthanc.holds(objects.catalogue)
    stand.peers.dcmqrscp.holds(objects.ct_study)
    two, three = [], []
    with federation(stand.peers) as gateway:
        over_two = Search(gateway, f"/two/studies?limit={LIMIT}")
        over_three = Search(gateway, f"/three/studies?limit={LIMIT}")
        over_two.seconds(LIMIT)
        for _ in range(RUNS):
            two.append(over_two.seconds(LIMIT) * 1000)
            three.append(over_three.seconds(LIMIT) * 1000)
        over_two.close(), over_three.close()
    yield Figure("Search over two PACS", two, "ms")
    yield Figure(f"over three, one silent, time-out {TIMEOUT_SECS:g} s", three, "ms")
    beyond = [one - 1000 * TIMEOUT_SECS for one in three]
    yield Figure("beyond the time-out", beyond, "ms", at_most=TARGET_MS)


@contextmanager
def federation(peers: Peers) -> Iterator[Any]:
    """Run a gateway of its own, with `/two`, and `/three` with the silent one among them; give its port."""
    port = free_port()
    with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as silent:
        addresses = {
            "silent": ("SILENT", silent.getsockname()[1]),
            **{name: address for name, address in peers.addresses.items() if name != "synthetic"},
        }
        text = _MAIN.format(port=port)
        for name, (title, pacs_port) in addresses.items():
            text += _BACKEND.format(name=name, title=title, port=pacs_port)
        for name, backends in (("two", [*addresses][1:]), ("three", [*addresses])):
            text += _PIPELINE.format(name=name, backends=backends, timeout=TIMEOUT_SECS)
        configuration = peers.folder / f"federation-{port}.toml"
        configuration.write_text(text)
        process = Process(
            [sys.executable, "-m", "twisted", "harmonygw", "-c", str(configuration)],
            log=configuration.with_suffix(".log"),
        )
        try:
            process.wait_for_port(port)
            yield SimpleNamespace(port=port)
        finally:
            process.end()
