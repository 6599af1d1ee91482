"""A C-GET of one study: the pipeline's answers, the responses, and a peer that stores what comes."""

from collections.abc import Callable
from typing import Any

from harmonygw.dicom.dimse.commands import CGetRQ, CGetRSP, CStoreRQ, CStoreRSP
from harmonygw.operations import Find, Operation
from harmonygw.streams import Instance
from tests.endpoints.dicom_scp.scripted import GET, identifier, key, stream
from tests.net.association.scripted_peer import Message, ScriptedPeer

COUNT = "00201208"
STUDY = identifier("STUDY", _0020000D=key("UI", "1.2"))
RQ = CGetRQ(7, GET)


def answering(*instances: Instance, count: Any = None) -> Callable[[Operation], Any]:
    """Answer the question for the number of instances, and then the retrieval."""

    def answer(operation: Operation) -> Any:
        if isinstance(operation, Find):
            return count if isinstance(count, Exception) else stream({COUNT: key("IS", count or len(instances))})
        return stream(*instances)

    return answer


def response(status: int, *, remaining: int | None = None, failed: int = 0, **more: Any) -> CGetRSP:
    return CGetRSP(7, GET, status, remaining=remaining, failed=failed, **{"completed": 0, "warning": 0, **more})


def stored(peer: ScriptedPeer, came: list[Message], *statuses: int) -> list[Message]:
    """Answer each sub-operation that comes, with success when `statuses` has no more."""
    later: list[Message] = []
    given = list(statuses)
    last = came[-1].command
    while isinstance(last, CStoreRQ):
        status = given.pop(0) if given else 0x0000
        later += peer.send(
            CStoreRSP(last.message_id, last.affected_sop_class_uid, last.affected_sop_instance_uid, status),
            context_id=3,
        )
        last = later[-1].command
    return later


def get(peer: ScriptedPeer, *statuses: int, query: bytes = STUDY) -> list[Message]:
    came = peer.send(RQ, query)
    return came + stored(peer, came, *statuses)
