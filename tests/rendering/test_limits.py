import pytest

from harmonygw.rendering.limits import MAX_FRAME_BYTES, MAX_FRAME_PIXELS, WorkerLimits


@pytest.mark.parametrize(("processors", "expected"), [(None, 1), (1, 1), (2, 2), (64, 2)])
def test_two_processes_at_most(monkeypatch: pytest.MonkeyPatch, processors: int | None, expected: int) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert WorkerLimits().processes == expected


def test_a_frame_at_its_limit_fits_what_a_worker_may_return() -> None:
    assert WorkerLimits().max_payload_bytes >= MAX_FRAME_BYTES
    assert MAX_FRAME_PIXELS * 4 <= MAX_FRAME_BYTES
