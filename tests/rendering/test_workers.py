import errno
import os
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel

from harmonygw.errors import Busy, HarmonyError, NotAcceptable, PeerError, RenderingFailed
from harmonygw.rendering import wire
from harmonygw.rendering.limits import WorkerLimits
from harmonygw.rendering.workers import MAX_LAST_WORDS, Workers
from tests.rendering.machine import Machine
from tests.rendering.pool import BIG, JOBS, Pool, error_of, levels, result_of, waits

# A job


def test_a_job_is_a_message_and_its_payload_lies_in_the_memory() -> None:
    pool = Pool().ready()
    pool.run(b"abc", b"", b"de", loud=True)
    assert pool.process.asked == [
        {"id": 1, "job": "tests.jobs:shout", "parameters": {"loud": True}, "lengths": [3, 0, 2]}
    ]
    assert pool.process.payload(6) == b"abcde\0"


def test_an_answer_is_a_result_and_its_bytes() -> None:
    pool = Pool().ready()
    job = pool.run(b"abc")
    pool.process.answer({"loud": 1}, b"ABC")
    assert result_of(job) == ({"loud": 1}, b"ABC")
    assert pool.state("done", "busy", "idle") == (1, 0, 1)


def test_what_is_asked_before_a_process_is_ready_waits_for_it() -> None:
    pool = Pool()
    job = pool.run(b"abc")
    assert pool.state("queued", "busy") == (1, 0)
    assert not pool.process.asked
    pool.process.be_ready()
    assert pool.process.asked
    assert waits(job)


def test_large_frames_are_copied_in_a_thread_both_ways() -> None:
    pool = Pool().ready()
    pool.machine.threads.hold = True
    job = pool.run(BIG)
    assert not pool.process.asked
    pool.machine.threads.held.pop()()
    assert pool.process.payload(len(BIG)) == BIG
    pool.process.answer({}, BIG[::-1])
    assert waits(job)
    pool.machine.threads.held.pop()()
    assert result_of(job) == ({}, BIG[::-1])


def test_what_the_reactor_may_copy_needs_no_thread() -> None:
    pool = Pool().ready()
    pool.machine.threads.hold = True
    job = pool.run(BIG[1:])
    pool.process.answer({}, BIG[1:])
    assert result_of(job) == ({}, BIG[1:])


def test_an_unknown_job_is_the_callers_mistake() -> None:
    with pytest.raises(KeyError):
        raise error_of(Deferred.fromCoroutine(Pool().ready().workers.run("dance", {}, ())))


def test_a_payload_at_its_limit_is_taken_and_beyond_it_refused() -> None:
    pool = Pool(max_payload_bytes=4).ready()
    pool.run(b"ab", b"cd")
    assert pool.process.asked
    error = error_of(pool.run(b"ab", b"cde"))
    assert isinstance(error, RenderingFailed)
    assert error.detail == "A frame of 5 bytes exceeds max_payload_bytes, 4."


def test_parameters_that_fit_no_message_fail_that_job_alone() -> None:
    pool = Pool().ready()
    error = error_of(pool.run(b"", palette="x" * wire.MAX_MESSAGE))
    assert isinstance(error, RenderingFailed)
    pool.run(b"next")
    assert len(pool.process.asked) == 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("PeerError", PeerError), ("NotAcceptable", NotAcceptable), ("RenderingFailed", RenderingFailed)],
)
def test_a_jobs_error_comes_out_as_it_was_raised(kind: str, expected: type[HarmonyError]) -> None:
    pool = Pool().ready()
    job = pool.run(b"")
    pool.process.say(id=1, error=kind, detail="It is bad.", log_detail="very")
    error = error_of(job)
    assert type(error) is expected
    assert (error.detail, error.log_detail) == ("It is bad.", "very")
    assert pool.state("failed", "idle") == (1, 1)


# Turns


def test_turns_go_round_among_clients() -> None:
    pool = Pool().ready()
    for client, name in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")):
        pool.run(client=client, name=name)
    for _ in range(3):
        pool.process.answer({})
    assert [message["parameters"]["name"] for message in pool.process.asked] == ["a1", "a2", "b1", "a3"]


def test_a_full_queue_refuses() -> None:
    pool = Pool(max_queued=2).ready()
    jobs = [pool.run() for _ in range(3)]
    error = error_of(pool.run())
    assert isinstance(error, Busy)
    assert all(waits(job) for job in jobs)
    assert pool.state("busy", "queued") == (1, 2)


def test_without_a_start_there_is_nobody() -> None:
    workers = Workers(Machine(), WorkerLimits(processes=1), jobs=JOBS)
    assert isinstance(error_of(Deferred.fromCoroutine(workers.run("shout", {}, ()))), Busy)


# Time


def test_a_job_may_take_its_time_and_no_more() -> None:
    pool = Pool(job_timeout_secs=20.0).ready()
    first = pool.process
    job = pool.run()
    pool.machine.advance(19.9)
    assert waits(job)
    pool.machine.advance(0.1)
    assert error_of(job).detail == "A rendering process took longer than job_timeout_secs, 20 seconds."
    assert first.signals == ["KILL"]
    first.end()
    assert pool.process is not first
    assert pool.state("processes", "restarts", "killed") == (1, 1, 1)


def test_the_wait_in_the_queue_does_not_count() -> None:
    pool = Pool(job_timeout_secs=20.0).ready()
    pool.run()
    second = pool.run()
    pool.machine.advance(15)
    pool.process.answer({})
    pool.machine.advance(15)
    assert waits(second)
    assert not pool.process.signals


def test_an_idle_process_has_no_time_out() -> None:
    pool = Pool().ready()
    pool.run()
    pool.process.answer({})
    assert not pool.machine.getDelayedCalls()


def test_a_process_that_does_not_get_ready_is_replaced() -> None:
    pool = Pool(start_timeout_secs=30.0)
    first = pool.process
    pool.machine.advance(30)
    assert first.signals == ["KILL"]
    first.end()
    pool.machine.advance(0.25)
    assert pool.process is not first


# Nobody waits


def test_a_cancelled_job_leaves_the_queue() -> None:
    pool = Pool().ready()
    pool.run(name="first")
    second = pool.run(name="second")
    pool.run(name="third")
    second.cancel()
    assert isinstance(error_of(second), CancelledError)
    pool.process.answer({})
    assert [message["parameters"]["name"] for message in pool.process.asked] == ["first", "third"]


def test_a_cancelled_job_that_ends_soon_costs_no_process() -> None:
    pool = Pool(cancel_grace_secs=1.0).ready()
    job = pool.run()
    job.cancel()
    assert isinstance(error_of(job), CancelledError)
    pool.machine.advance(0.9)
    pool.process.answer({}, b"late")
    pool.machine.advance(60)
    assert not pool.process.signals
    assert pool.state("cancelled", "idle") == (1, 1)


def test_a_cancelled_job_that_goes_on_is_ended() -> None:
    pool = Pool(cancel_grace_secs=1.0).ready()
    first = pool.process
    error_of_cancelled = pool.run()
    error_of_cancelled.cancel()
    result_of(error_of_cancelled)
    pool.machine.advance(1)
    assert first.signals == ["KILL"]


def test_cancelling_late_does_not_prolong() -> None:
    pool = Pool(job_timeout_secs=20.0, cancel_grace_secs=1.0).ready()
    job = pool.run()
    pool.machine.advance(19.5)
    job.cancel()
    result_of(job)
    pool.machine.advance(0.5)
    assert pool.process.signals == ["KILL"]


def test_a_job_that_is_cancelled_while_its_frame_is_copied_is_not_asked_for() -> None:
    pool = Pool().ready()
    pool.machine.threads.hold = True
    job = pool.run(BIG)
    job.cancel()
    result_of(job)
    pool.machine.threads.held.pop()()
    assert not pool.process.asked
    assert pool.state("cancelled", "idle") == (1, 1)


def test_a_job_that_is_cancelled_while_its_result_is_copied_is_counted_so() -> None:
    pool = Pool().ready()
    job = pool.run()
    pool.machine.threads.hold = True
    pool.process.answer({}, BIG)
    job.cancel()
    result_of(job)
    pool.machine.threads.held.pop()()
    assert pool.state("cancelled", "idle") == (1, 1)


def test_an_error_that_nobody_waits_for_is_dropped() -> None:
    pool = Pool().ready()
    job = pool.run()
    job.cancel()
    result_of(job)
    pool.process.say(id=1, error="PeerError", detail="It is bad.", log_detail="")
    assert pool.state("cancelled", "failed") == (1, 0)


# Crashes and garbage


def test_a_crash_fails_its_job_alone(logged: list[Any]) -> None:
    pool = Pool(processes=2).ready()
    jobs = {
        process: job
        for job, process in ((pool.run(), pool.machine.processes[1]), (pool.run(), pool.machine.processes[0]))
    }
    crashed, other = pool.machine.processes
    crashed.protocol.errReceived(b"free(): invalid pointer\n")
    crashed.end(11)
    error = error_of(jobs[crashed])
    assert isinstance(error, RenderingFailed)
    assert error.detail == "A rendering process crashed over a frame."
    assert "signal 11" in error.log_detail
    assert error.log_detail.endswith("free(): invalid pointer")
    other.answer({"well": True})
    assert result_of(jobs[other]) == ({"well": True}, b"")
    assert levels(logged) == [LogLevel.warn]
    assert pool.state("processes", "restarts") == (2, 1)


def test_last_words_are_limited() -> None:
    pool = Pool().ready()
    job = pool.run()
    pool.process.protocol.errReceived(b"A" + b"z" * MAX_LAST_WORDS)
    pool.process.end()
    said = error_of(job).log_detail
    assert "A" not in said.split()[-1]
    assert said.count("z") == MAX_LAST_WORDS


@pytest.mark.parametrize(
    "garbage",
    [
        b"JPEG error: bogus marker\n",
        wire.pack({"id": 2, "length": 0, "result": {}}),
        wire.pack({"length": 0, "result": {}}),
        wire.pack({"id": 1, "length": 5, "result": {}}),
        wire.pack({"id": 1, "length": -1, "result": {}}),
        wire.pack({"id": 1, "length": "1", "result": {}}),
        wire.pack({"id": 1, "length": 0, "result": []}),
    ],
)
def test_what_is_no_answer_ends_the_process(garbage: bytes) -> None:
    pool = Pool(max_payload_bytes=4).ready()
    job = pool.run()
    pool.process.protocol.outReceived(garbage)
    assert error_of(job).detail == "A rendering process gave no proper answer."
    assert pool.process.signals == ["KILL"]
    pool.process.protocol.outReceived(wire.pack({"id": 1, "length": 0, "result": {}}))
    assert pool.state("done") == (0,)


def test_a_process_that_speaks_unasked_gets_no_job_any_more() -> None:
    pool = Pool(processes=2).ready()
    loud = pool.machine.processes[1]
    loud.say(id=1, length=0, result={})
    assert loud.signals == ["KILL"]
    pool.run()
    assert not loud.asked
    assert len(pool.machine.processes[0].asked) == 1


def test_an_answer_that_was_cut_off_ends_the_process() -> None:
    pool = Pool().ready()
    job = pool.run()
    pool.machine.threads.hold = True
    pool.process.answer({}, BIG)
    os.ftruncate(pool.process.memories[4], 10)
    pool.machine.threads.held.pop()()
    assert error_of(job).detail == "A rendering process took its answer back."
    assert pool.process.signals == ["KILL"]


def test_a_process_that_ends_while_its_memory_is_copied_leaves_it_until_then() -> None:
    pool = Pool().ready()
    first = pool.process
    fds = [memory.fd for memory in first.protocol._memories]
    pool.machine.threads.hold = True
    job = pool.run(BIG)
    first.end(9)
    assert isinstance(error_of(job), RenderingFailed)
    assert [os.fstat(fd).st_size for fd in fds] == [1 << 20] * 2
    pool.machine.threads.held.pop()()
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_result_that_arrives_while_its_process_is_killed_is_no_result() -> None:
    pool = Pool().ready()
    first = pool.process
    job = pool.run()
    pool.machine.threads.hold = True
    first.answer({}, BIG)
    pool.machine.advance(20)
    assert isinstance(error_of(job), RenderingFailed)
    pool.machine.threads.held.pop()()
    assert pool.state("done") == (0,)


def test_a_frame_for_which_there_is_no_memory_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    pool = Pool().ready()
    monkeypatch.setattr("os.pwrite", no_space)
    job = pool.run(b"abc")
    error = error_of(job)
    assert error.detail == "A frame could not be handed over."
    assert "No space left" in error.log_detail
    assert pool.process.signals == ["KILL"]
