"""The worker processes, seen from the gateway: a pool that does jobs, and survives what codecs do to a process.

A process is started early, does one job at a time, and is killed when a job takes too long, when nobody waits for
it any more, or when it says what is no answer. It costs that one job; a new process follows.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from harmonygw.errors import Busy, HarmonyError, RenderingFailed
from harmonygw.rendering import wire
from harmonygw.rendering.jobs import JOBS
from harmonygw.rendering.limits import WorkerLimits
from harmonygw.rendering.memory import SharedMemory
from harmonygw.rendering.turns import Turns
from harmonygw.rendering.worker import PAYLOAD_FD, RESULT_FD

log = Logger()

COPIED_AT_ONCE: Final = 256 << 10
"""Bytes that the reactor copies itself, in less than a tenth of a millisecond; more of them are copied in a thread."""

MAX_LAST_WORDS: Final = 2048
"""Bytes of what a process printed that are kept for the log."""

GIVE_UP_AFTER: Final = 3
"""Processes in a row that ended before they did a job, until who asks is told at once that there are none."""

FIRST_RESTART_SECS: Final = 0.25
"""Seconds until the next process after one that did nothing; twice as many after each further one."""

LONGEST_RESTART_SECS: Final = 30.0
"""Seconds between two attempts when nothing helps, an import that fails for one."""

Result = tuple[dict[str, Any], bytes]

_OUTCOMES: Final = ("done", "failed", "cancelled", "killed")
"""How jobs end: with an answer, with an error, after nobody waited for them, with their process."""

_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL", "TMPDIR")
"""Variables that a process gets; the others may be secrets of the configuration."""


class _Job:
    """One job, from its question to its answer."""

    def __init__(self, path: str, parameters: Mapping[str, Any], payload: Sequence[bytes], client: str) -> None:
        self.path = path
        self.parameters = dict(parameters)
        self.payload = payload
        self.size = sum(map(len, payload))
        self.client = client
        self.process: _Process | None = None
        """Who works on it; None while it waits."""
        self.outcome: Deferred[Result] | None = None

    def succeed(self, result: Result) -> None:
        """Answer, unless nobody waits."""
        outcome, self.outcome = self.outcome, None
        if outcome is not None:
            outcome.callback(result)

    def fail(self, error: Exception) -> None:
        """Say that there is no answer, unless nobody waits."""
        outcome, self.outcome = self.outcome, None
        if outcome is not None:
            outcome.errback(error)


class Workers:
    """Does jobs in worker processes.

    Args:
        reactor: starts processes, has the clock and the threads that copy large frames.
        limits: how many processes, and what each may use.
        jobs: the names of the jobs and where their functions are.
    """

    def __init__(self, reactor: Any, limits: WorkerLimits, *, jobs: Mapping[str, str] = JOBS) -> None:
        self._reactor = reactor
        self._limits = limits
        self._jobs = jobs
        self._processes: list[_Process] = []
        self._idle: list[_Process] = []
        self._queue: Turns[_Job] = Turns()
        self._running = False
        self._restarts: list[Any] = []
        self._in_vain = 0
        self._started = 0
        self._outcomes = dict.fromkeys(_OUTCOMES, 0)
        self._gone: list[Deferred[None]] = []

    def start(self) -> None:
        """Start the processes; jobs may be asked for at once."""
        self._running = True
        for _ in range(self._limits.processes):
            self._spawn()

    def stop(self) -> "Deferred[None]":
        """End the processes, and fail what they work on; fires when all of them are gone."""
        self._running = False
        for restart in self._restarts:
            if restart.active():
                restart.cancel()
        self._restarts.clear()
        stopping = Busy("The gateway is stopping.")
        self._fail_queued(stopping)
        for process in tuple(self._processes):
            process.kill(stopping)
        if not self._processes:
            return succeed(None)
        self._gone.append(Deferred())
        return self._gone[-1]

    async def run(
        self, job: str, parameters: Mapping[str, Any], payload: Sequence[bytes], *, client: str = ""
    ) -> Result:
        """Do one job, and return its result and its bytes.

        A job that is cancelled leaves the queue, or ends within `cancel_grace_secs`.

        Args:
            job: its name, a key of `jobs`.
            parameters: what its function takes; JSON.
            payload: the frames it works on; not to be changed meanwhile.
            client: who asks; turns go round among clients.

        Raises:
            Busy: the queue is full, or there are no processes.
            RenderingFailed: the process crashed, took too long, needed too much memory, or failed unforeseen.
            NotAcceptable: this cannot be done here; also when the pixels extra is not installed.
            PeerError: the object is bad.
            KeyError: there is no such job.
        """
        one = _Job(self._jobs[job], parameters, payload, client)
        if one.size > self._limits.max_payload_bytes:
            raise RenderingFailed(
                f"A frame of {one.size} bytes exceeds max_payload_bytes, {self._limits.max_payload_bytes}."
            )
        if not self._running:
            raise Busy("No worker processes are running.")
        if self._given_up:
            raise Busy("The worker processes do not start; the gateway's log says why.")
        if not self._idle and len(self._queue) >= self._limits.max_queued:
            raise Busy(f"More than {self._limits.max_queued} frames wait to be decoded.")
        one.outcome = Deferred(lambda _: self._cancel(one))
        self._queue.append(client, one)
        outcome = one.outcome
        self._dispatch()
        return await outcome

    def state(self) -> dict[str, int]:
        """Return numbers for whoever watches: of now, and since the start."""
        return {
            "processes": len(self._processes),
            "busy": sum(process.job is not None for process in self._processes),
            "idle": len(self._idle),
            "queued": len(self._queue),
            **self._outcomes,
            "restarts": max(self._started - self._limits.processes, 0),
        }

    @property
    def _given_up(self) -> bool:
        return self._in_vain >= GIVE_UP_AFTER and not any(process.ready for process in self._processes)

    def _dispatch(self) -> None:
        while self._idle and len(self._queue):
            process = self._idle.pop()
            if not process.killed:
                process.begin(self._queue.pop())

    def _cancel(self, job: _Job) -> None:
        job.outcome = None
        if job.process is None:
            self._queue.remove(job.client, job)
        else:
            job.process.abandon()

    def _fail_queued(self, error: Exception) -> None:
        while len(self._queue):
            self._queue.pop().fail(error)

    def _spawn(self) -> None:
        self._started += 1
        process = _Process(self._reactor, self._limits, self._rest, self._bury)
        self._processes.append(process)
        try:
            process.spawn(sorted({path.partition(":")[0] for path in self._jobs.values()}))
        except OSError as error:
            self._bury(process, f"it could not be started: {error}", False)

    def _rest(self, process: "_Process", outcome: str) -> None:
        """A process is ready, for the first time or after a job."""
        if outcome:
            self._in_vain = 0
            self._outcomes[outcome] += 1
        elif self._in_vain >= GIVE_UP_AFTER:
            log.info("a rendering process is ready again")
        self._idle.append(process)
        self._dispatch()

    def _bury(self, process: "_Process", why: str, at_work: bool) -> None:
        """A process is gone; another one follows, later and later when that does not help."""
        self._processes.remove(process)
        if process in self._idle:
            self._idle.remove(process)
        if not self._running:
            if not self._processes:
                gone, self._gone = self._gone, []
                for waiter in gone:
                    waiter.callback(None)
            return
        if at_work:
            self._outcomes["killed"] += 1
            log.warn("a rendering process ended during a job: {why}", why=why)
            self._spawn()
            return
        self._in_vain += 1
        delay = min(FIRST_RESTART_SECS * 2 ** (self._in_vain - 1), LONGEST_RESTART_SECS)
        if self._in_vain == GIVE_UP_AFTER:
            log.error("rendering processes end before they do anything, frames are not decoded: {why}", why=why)
        if self._given_up:
            self._fail_queued(Busy("The worker processes do not start; the gateway's log says why."))
        self._restarts = [restart for restart in self._restarts if restart.active()]
        self._restarts.append(self._reactor.callLater(delay, self._spawn))


class _Process(ProcessProtocol):
    """One worker process: getting ready, idle, at work on a job, or about to be gone."""

    def __init__(
        self,
        reactor: Any,
        limits: WorkerLimits,
        rest: "Callable[[_Process, str], None]",
        bury: "Callable[[_Process, str, bool], None]",
    ) -> None:
        self._reactor = reactor
        self._limits = limits
        self._rest = rest
        self._bury = bury
        self._unpacker = wire.Unpacker()
        self._last_words = b""
        self._number = 0
        self._timer: Any = None
        self._copying = False
        self.killed = ""
        """Why it was told to end."""
        self._ended = False
        self._memories: tuple[SharedMemory, ...] = ()
        self._process: Any = None
        self._pid: int | None = None
        self.ready = False
        """Whether it has imported what it needs, and is not gone."""
        self.job: _Job | None = None

    def spawn(self, modules: Sequence[str]) -> None:
        """Start the process, which imports these modules; `OSError` when that is not possible."""
        size = self._limits.max_payload_bytes
        self._memories = (SharedMemory(size),)
        try:
            self._memories += (SharedMemory(size),)
            self._process = self._reactor.spawnProcess(
                self,
                sys.executable,
                [
                    *(sys.executable, "-B", "-P", "-m", "harmonygw.rendering.worker"),
                    *(str(self._limits.memory_limit_bytes), str(size), str(self._limits.job_timeout_secs), *modules),
                ],
                env=_environment(),
                childFDs={0: "w", 1: "r", 2: "r", PAYLOAD_FD: self._memories[0].fd, RESULT_FD: self._memories[1].fd},
            )
        except OSError:
            self._close()
            raise
        self._pid = self._process.pid
        self._timer = self._reactor.callLater(self._limits.start_timeout_secs, self._late, "start_timeout_secs")

    def begin(self, job: _Job) -> None:
        """Work on a job."""
        self.job, job.process = job, self
        self._number += 1
        self._timer = self._reactor.callLater(self._limits.job_timeout_secs, self._late, "job_timeout_secs")
        self._copy(job.size, self._memories[0].write, job.payload).addCallbacks(self._ask, self._not_copied)

    def abandon(self) -> None:
        """Nobody waits for the job: let it end soon, or end it."""
        remaining = self._timer.getTime() - self._reactor.seconds()
        self._timer.reset(min(remaining, self._limits.cancel_grace_secs))

    def kill(self, error: HarmonyError) -> None:
        """End the process now; its job fails with `error`."""
        self._stop_timer()
        self.killed = self.killed or error.detail
        if self.job is not None:
            self.job.fail(error)
        with suppress(ProcessExitedAlready):
            self._process.signalProcess("KILL")
        self._kill_group()

    def outReceived(self, data: bytes) -> None:
        """Twisted: the process says something."""
        if self.killed:
            return
        try:
            for message in self._unpacker.feed(data):
                self._heard(message)
        except (wire.Garbled, KeyError, TypeError) as error:
            self.kill(RenderingFailed("A rendering process gave no proper answer.", log_detail=repr(error)))

    def errReceived(self, data: bytes) -> None:
        """Twisted: it, or a library in it, prints something."""
        self._last_words = (self._last_words + data)[-MAX_LAST_WORDS:]

    def processExited(self, reason: Failure) -> None:
        """Twisted: it is gone; what it may have started holds its pipes, so that they would never be empty."""
        self._kill_group()

    def processEnded(self, reason: Failure) -> None:
        """Twisted: it is gone, and its pipes are empty."""
        self._stop_timer()
        self._ended = True
        self.ready = False
        words = self._last_words.decode("utf-8", "replace").strip()
        why = f"{self.killed or reason.getErrorMessage()} {words}".strip()
        job, self.job = self.job, None
        if job is not None:
            job.fail(RenderingFailed("A rendering process crashed over a frame.", log_detail=why))
        if not self._copying:
            self._close()
        self._bury(self, why, job is not None)

    def _heard(self, message: dict[str, Any]) -> None:
        if not self.ready:
            self.ready = message["ready"] is True
            self._stop_timer()
            self._rest(self, "")
            return
        job = self.job
        if job is None or message["id"] != self._number:
            raise wire.Garbled("nobody asked")
        if "error" in message:
            error = wire.error_of(message)
            outcome = "failed" if job.outcome is not None else "cancelled"
            self._finish(outcome)
            job.fail(error)
            return
        length, result = message["length"], message["result"]
        if not isinstance(length, int) or not 0 <= length <= self._limits.max_payload_bytes:
            raise wire.Garbled(f"a result of {length} bytes")
        if not isinstance(result, dict):
            raise wire.Garbled("a result that is no JSON object")
        if job.outcome is None:
            self._finish("cancelled")
            return
        copied = self._copy(max(length, job.size), self._fetch, length)
        copied.addCallbacks(self._give, self._not_copied, callbackArgs=(result, length))

    def _ask(self, _: Any) -> None:
        job = self.job
        if job is None or self.killed:
            return
        if job.outcome is None:
            self._finish("cancelled")
            return
        message = {
            "id": self._number,
            "job": job.path,
            "parameters": job.parameters,
            "lengths": [len(piece) for piece in job.payload],
        }
        try:
            packed = wire.pack(message)
        except (wire.Garbled, TypeError) as error:
            self._finish("failed")
            job.fail(RenderingFailed("A frame's parameters are too large.", log_detail=str(error)))
            return
        job.payload = ()
        self._process.writeToChild(0, packed)

    def _fetch(self, length: int) -> bytes:
        data = self._memories[1].read(length)
        for memory in self._memories:
            memory.trim()
        return data

    def _give(self, data: bytes, result: dict[str, Any], length: int) -> None:
        job = self.job
        if job is None or self.killed:
            return
        if len(data) < length:
            self.kill(RenderingFailed("A rendering process took its answer back."))
            return
        outcome = "done" if job.outcome is not None else "cancelled"
        self._finish(outcome)
        job.succeed((result, data))

    def _not_copied(self, failure: Failure) -> None:
        self.kill(RenderingFailed("A frame could not be handed over.", log_detail=failure.getErrorMessage()))

    def _finish(self, outcome: str) -> None:
        self._stop_timer()
        self.job = None
        self._rest(self, outcome)

    def _late(self, limit: str) -> None:
        seconds = getattr(self._limits, limit)
        self.kill(RenderingFailed(f"A rendering process took longer than {limit}, {seconds:g} seconds."))

    def _copy(self, size: int, copy: Callable[..., Any], *arguments: Any) -> "Deferred[Any]":
        """Copy here or, when it would hold the reactor up, in a thread."""
        if size <= COPIED_AT_ONCE:
            return maybeDeferred(copy, *arguments)
        self._copying = True
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), copy, *arguments).addBoth(self._copied)

    def _copied(self, outcome: Any) -> Any:
        self._copying = False
        if self._ended:
            self._close()
        return outcome

    def _close(self) -> None:
        memories, self._memories = self._memories, ()
        for memory in memories:
            memory.close()

    def _kill_group(self) -> None:
        """End what the process has started, none of which answers to anybody; before it has a group, there is none."""
        if self._pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _environment() -> dict[str, str]:
    """Return what a process needs to import what this one can, and nothing of what may be secret."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
