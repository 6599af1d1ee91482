"""A reactor for tests of worker processes: processes are scripts, threads are done at once, time is a Clock."""

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from harmonygw.rendering import wire
from harmonygw.rendering.worker import PAYLOAD_FD, RESULT_FD


class Process:
    """The transport of one process, and what a test lets the process do."""

    def __init__(self, protocol: Any, arguments: list[str], environment: dict[str, str], fds: dict[int, Any]) -> None:
        self.pid = None
        self.protocol = protocol
        self.arguments = arguments
        self.environment = environment
        self.memories = {number: os.dup(fds[number]) for number in (PAYLOAD_FD, RESULT_FD)}
        self.asked: list[dict[str, Any]] = []
        self.signals: list[str] = []
        self.ended = False
        self._unpacker = wire.Unpacker()

    def writeToChild(self, child_fd: int, data: bytes) -> None:
        assert child_fd == 0
        self.asked += self._unpacker.feed(data)

    def signalProcess(self, signal: str) -> None:
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(signal)

    def say(self, **message: Any) -> None:
        self.protocol.outReceived(wire.pack(message))

    def be_ready(self) -> None:
        self.say(ready=True)

    def answer(self, result: dict[str, Any], data: bytes = b"") -> None:
        os.pwrite(self.memories[RESULT_FD], data, 0)
        self.say(id=self.asked[-1]["id"], length=len(data), result=result)

    def payload(self, length: int) -> bytes:
        return os.pread(self.memories[PAYLOAD_FD], length, 0)

    def end(self, signal: int = 9) -> None:
        self.ended = True
        for memory in self.memories.values():
            os.close(memory)
        self.protocol.processEnded(Failure(ProcessTerminated(None, signal)))


class Machine(Clock):
    """Processes in the order in which they were started; `fork_fails` are errors of the next starts."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        self.fork_fails: list[OSError] = []
        self.threads = Threads()

    def spawnProcess(
        self, protocol: Any, executable: str, args: list[str], env: dict[str, str], childFDs: dict[int, Any]
    ) -> Process:
        if self.fork_fails:
            raise self.fork_fails.pop(0)
        process = Process(protocol, args, env, childFDs)
        self.processes.append(process)
        return process

    def getThreadPool(self) -> "Threads":
        return self.threads

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)

    @property
    def living(self) -> list[Process]:
        return [process for process in self.processes if not process.ended]


class Threads:
    """What waits for a thread is done when the test says so, or at once."""

    def __init__(self) -> None:
        self.held: list[Callable[[], None]] = []
        self.hold = False

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], None], function: Callable[..., Any], *arguments: Any
    ) -> None:
        def work() -> None:
            try:
                result = function(*arguments)
            except OSError:
                on_result(False, Failure())
            else:
                on_result(True, result)

        if self.hold:
            self.held.append(work)
        else:
            work()
