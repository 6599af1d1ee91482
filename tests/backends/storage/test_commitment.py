from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dataset.references import Reference
from harmonygw.errors import NotAcceptable, NotFound
from harmonygw.operations import CheckCommitment, Commitment, FindWorklist, RequestCommitment
from tests.backends.storage.objects import CT, ct, respond, running, store

MR = "1.2.840.10008.5.1.4.1.1.4"


@ensureDeferred
async def test_the_archive_commits_to_what_it_has_at_once(tmp_path: Path) -> None:
    there, missing, other = Reference(CT, "1.2.3.4"), Reference(CT, "1.2.3.5"), Reference(MR, "1.2.3.4", "1.2", "1.2.3")
    async with running(tmp_path) as backend:
        await store(backend, ct())
        reply: Any = await respond(backend, RequestCommitment("2.25.7", (there, missing)))
        assert reply.result == Commitment((there, missing), {"1.2.3.5": 0x0112})
        reply = await respond(backend, RequestCommitment("2.25.8", (other,)))
        assert reply.result == Commitment((other,), {"1.2.3.4": 0x0119})
        with pytest.raises(NotFound):
            await respond(backend, CheckCommitment("2.25.7"))
        with pytest.raises(NotAcceptable):
            await respond(backend, FindWorklist({}))
