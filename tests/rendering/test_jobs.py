import pytest

from harmonygw.rendering.jobs import JOBS
from harmonygw.rendering.worker import find


@pytest.mark.parametrize("name", JOBS)
def test_each_job_has_its_function(name: str) -> None:
    assert callable(find(JOBS[name]))
