import os
from collections.abc import Iterator
from typing import Any

import pytest

from harmonygw.rendering import wire
from harmonygw.rendering.memory import SharedMemory
from harmonygw.rendering.worker import find, serve
from tests.rendering import odd_jobs

REVERSE = "tests.rendering.odd_jobs:reverse"
LIMIT = 1 << 20


class Desk:
    """A worker's side of everything, in this process."""

    def __init__(self) -> None:
        self.payloads, self.results = SharedMemory(LIMIT), SharedMemory(LIMIT)

    def serve(self, *messages: dict[str, Any], cut: int = 0) -> list[dict[str, Any]]:
        reading, requests = os.pipe()
        answers, writing = os.pipe()
        stream = b"".join(map(wire.pack, messages))
        os.write(requests, stream[: len(stream) - cut])
        os.close(requests)
        serve(reading, writing, (self.payloads.fd, self.results.fd), LIMIT, 60.0)
        os.close(writing)
        said = os.read(answers, 1 << 16)
        os.close(reading)
        os.close(answers)
        return wire.Unpacker().feed(said)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.payloads.close()
    desk.results.close()


def message(job: str = REVERSE, *lengths: int, **parameters: Any) -> dict[str, Any]:
    return {"id": 7, "job": job, "parameters": parameters, "lengths": lengths}


def test_a_job_is_found_by_its_path() -> None:
    assert find(REVERSE) is odd_jobs.reverse


def test_it_says_that_it_is_ready_and_ends_when_there_is_nobody(desk: Desk) -> None:
    assert desk.serve() == [{"ready": True}]


def test_a_job_is_done_with_its_payload(desk: Desk) -> None:
    desk.payloads.write((b"abc", b"de"))
    answers = desk.serve(message(REVERSE, 3, 2, loud=True))
    assert answers == [{"ready": True}, {"id": 7, "length": 5, "result": {"loud": True}}]
    assert desk.results.read(5) == b"edcba"


def test_after_a_job_that_failed_comes_the_next(desk: Desk) -> None:
    _, failed, done = desk.serve(message("tests.rendering.odd_jobs:fill"), message())
    assert failed["error"] == "RenderingFailed"
    assert "KeyError: 'bytes'" in failed["log_detail"]
    assert done["result"] == {}


@pytest.mark.parametrize("job", ["tests.rendering.no_jobs:reverse", "tests.rendering.odd_jobs:nothing"])
def test_a_job_that_is_not_there_fails(desk: Desk, job: str) -> None:
    assert desk.serve(message(job))[1]["error"] == "RenderingFailed"


def test_a_missing_extra_is_said(desk: Desk) -> None:
    assert desk.serve(message("tests.rendering.odd_jobs:need_numpy"))[1]["error"] == wire.MISSING_EXTRA


def test_a_result_at_its_limit_passes_and_beyond_it_fails(desk: Desk) -> None:
    overflow = "tests.rendering.odd_jobs:overflow"
    _, passed, failed = desk.serve(message(overflow, bytes=LIMIT), message(overflow, bytes=LIMIT + 1))
    assert passed["length"] == LIMIT
    assert failed["detail"] == "A result of 1048577 bytes exceeds max_payload_bytes, 1048576."


def test_half_a_message_is_the_end(desk: Desk) -> None:
    assert desk.serve(message(), message(), cut=1) == desk.serve(message())
