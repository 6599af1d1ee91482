import errno
import os
from typing import Any

import pytest
from twisted.logger import LogLevel

from harmonygw.errors import Busy
from harmonygw.rendering.limits import WorkerLimits
from harmonygw.rendering.workers import GIVE_UP_AFTER, LONGEST_RESTART_SECS, Workers
from tests.rendering.machine import Machine
from tests.rendering.pool import JOBS, Pool, error_of, levels, result_of, waits


def test_processes_that_end_at_once_are_tried_later_and_later_and_the_log_says_it_once(logged: list[Any]) -> None:
    pool = Pool()
    queued = pool.run()
    waits_secs = []
    for _ in range(12):
        pool.process.end(1)
        waited = 0.0
        while not pool.machine.living:
            pool.machine.advance(0.25)
            waited += 0.25
        waits_secs.append(waited)
    assert waits_secs[:5] == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert waits_secs[-1] == LONGEST_RESTART_SECS
    assert isinstance(error_of(queued), Busy)
    assert levels(logged) == [LogLevel.error]


def test_as_long_as_none_starts_who_asks_is_told_at_once() -> None:
    pool = Pool()
    early = []
    for _ in range(GIVE_UP_AFTER - 1):
        pool.process.end(1)
        pool.machine.advance(1)
        early.append(pool.run())
        assert waits(early[-1])
    pool.process.end(1)
    assert all(isinstance(error_of(job), Busy) for job in [*early, pool.run()])


def test_one_that_starts_after_all_takes_jobs_again(logged: list[Any]) -> None:
    pool = Pool()
    for _ in range(GIVE_UP_AFTER):
        pool.process.end(1)
        pool.machine.advance(1)
    pool.process.be_ready()
    job = pool.run()
    pool.process.answer({})
    assert result_of(job) == ({}, b"")
    assert levels(logged) == [LogLevel.error, LogLevel.info]
    pool.process.end(1)
    pool.machine.advance(0.25)
    assert pool.machine.living


def test_a_fork_that_fails_is_tried_again() -> None:
    machine = Machine()
    machine.fork_fails = [OSError(errno.EAGAIN, "Resource temporarily unavailable")]
    workers = Workers(machine, WorkerLimits(processes=1), jobs=JOBS)
    workers.start()
    assert workers.state()["processes"] == 0
    machine.advance(0.25)
    assert workers.state()["processes"] == 1


# Processes


def test_a_process_gets_its_limits_and_the_modules_of_the_jobs() -> None:
    pool = Pool(memory_limit_bytes=123456789)
    assert pool.process.arguments[1:] == [
        *("-B", "-P", "-m", "harmonygw.rendering.worker"),
        *("123456789", str(1 << 20), "20.0", "tests.jobs", "tests.songs"),
    ]


def test_a_process_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_PASSWORD", "secret")
    monkeypatch.setattr("sys.path", ["", "/opt/modules"])
    environment = Pool().process.environment
    assert "PACS_PASSWORD" not in environment
    assert environment["PYTHONPATH"] == f"{os.getcwd()}:/opt/modules"


def test_stop_ends_everything_and_fires_when_all_are_gone() -> None:
    pool = Pool(processes=2).ready()
    jobs = [pool.run() for _ in range(3)]
    stopped = pool.workers.stop()
    assert all(isinstance(error_of(job), Busy) for job in jobs)
    first, second = pool.machine.processes
    assert (first.signals, second.signals) == (["KILL"], ["KILL"])
    first.end()
    assert waits(stopped)
    second.end()
    assert result_of(stopped) is None
    assert not pool.machine.getDelayedCalls()
    assert isinstance(error_of(pool.run()), Busy)


def test_stop_waits_for_no_process_that_was_to_be_started() -> None:
    pool = Pool()
    pool.process.end(1)
    assert result_of(pool.workers.stop()) is None
    pool.machine.advance(60)
    assert not pool.machine.living


def test_stop_copes_with_a_process_that_is_gone_already() -> None:
    pool = Pool().ready()
    pool.process.ended = True
    stopped = pool.workers.stop()
    pool.machine.processes[0].end()
    assert result_of(stopped) is None


def test_stop_copes_with_a_process_that_has_been_started_again() -> None:
    pool = Pool().ready()
    pool.process.end(9)
    pool.machine.advance(0.25)
    stopped = pool.workers.stop()
    pool.process.end()
    assert result_of(stopped) is None
