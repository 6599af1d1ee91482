import os
from collections.abc import Iterator

import pytest

from harmonygw.rendering.memory import KEPT_BYTES, Room, SharedMemory, take

SIZE = 64 << 20


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    memory = SharedMemory(SIZE)
    yield memory
    memory.close()


def allocated(memory: SharedMemory) -> int:
    return os.fstat(memory.fd).st_blocks * 512


def test_it_takes_nothing_until_it_is_used(memory: SharedMemory) -> None:
    assert os.fstat(memory.fd).st_size == SIZE
    assert allocated(memory) == 0


def test_a_payload_arrives_in_its_pieces(memory: SharedMemory) -> None:
    memory.write((b"abc", b"", b"de"))
    assert take(memory.fd, (3, 0, 2)) == [b"abc", b"", b"de"]


@pytest.mark.parametrize("length", [0, 1, KEPT_BYTES, KEPT_BYTES + 1])
def test_a_result_arrives(memory: SharedMemory, length: int) -> None:
    data = os.urandom(1 << 16) * (length // (1 << 16) + 1)
    Room(memory.fd).put(data[:length])
    assert memory.read(length) == data[:length]


def test_what_was_cut_off_is_missing(memory: SharedMemory) -> None:
    memory.write((b"abcdef",))
    os.ftruncate(memory.fd, 4)
    assert memory.read(6) == b"abcd"


def test_up_to_a_limit_it_stays_allocated_between_jobs_and_the_rest_is_given_back(memory: SharedMemory) -> None:
    memory.write((bytes(KEPT_BYTES),))
    memory.trim()
    assert allocated(memory) == KEPT_BYTES
    memory.write((bytes(KEPT_BYTES + 4096),))
    memory.trim()
    assert allocated(memory) == KEPT_BYTES
    assert os.fstat(memory.fd).st_size == SIZE


def test_a_room_outlives_a_trim(memory: SharedMemory) -> None:
    room = Room(memory.fd)
    room.put(b"x" * (KEPT_BYTES + 4096))
    memory.trim()
    room.put(b"y" * KEPT_BYTES)
    assert memory.read(KEPT_BYTES) == b"y" * KEPT_BYTES


def test_no_other_program_inherits_it(memory: SharedMemory) -> None:
    assert not os.get_inheritable(memory.fd)
