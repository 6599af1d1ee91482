"""Workers on a machine of scripts, and what became of their jobs."""

from typing import Any

from twisted.internet.defer import Deferred

from harmonygw.rendering.limits import WorkerLimits
from harmonygw.rendering.workers import COPIED_AT_ONCE, Workers
from tests.rendering.machine import Machine, Process

JOBS = {"shout": "tests.jobs:shout", "sing": "tests.songs:sing"}
BIG = bytes(COPIED_AT_ONCE) + b"!"
DEFAULTS: dict[str, Any] = {"processes": 1, "max_payload_bytes": 1 << 20}


class Pool:
    """Workers on a machine of scripts."""

    def __init__(self, **limits: Any) -> None:
        self.machine = Machine()
        self.workers = Workers(self.machine, WorkerLimits(**(DEFAULTS | limits)), jobs=JOBS)
        self.workers.start()

    def ready(self) -> "Pool":
        for process in self.machine.living:
            process.be_ready()
        return self

    def run(self, *payload: bytes, client: str = "", **parameters: Any) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self.workers.run("shout", parameters, payload, client=client))

    @property
    def process(self) -> Process:
        return self.machine.living[-1]

    def state(self, *names: str) -> tuple[int, ...]:
        state = self.workers.state()
        return tuple(state[name] for name in names)


def result_of(job: "Deferred[Any]") -> Any:
    results: list[Any] = []
    job.addBoth(results.append)
    assert results, "it has no outcome yet"
    return results[0]


def error_of(job: "Deferred[Any]") -> Any:
    return result_of(job).value


def waits(job: "Deferred[Any]") -> bool:
    return not job.called


def levels(events: list[Any]) -> list[Any]:
    return [e["log_level"] for e in events if e["log_namespace"] == "harmonygw.rendering.workers"]
