"""What the PACS answers to a C-STORE, and how a test of a Store waits."""

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

from harmonygw.dicom.dimse.commands import CStoreRSP
from tests.backends.dicom_scu.backends import Running
from tests.interop.connection import Asked, Connection

reactor: Any = _reactor


def answer(connection: Connection, asked: Asked, status: int = 0) -> None:
    command = asked.command
    connection.pacs.received.append(command.affected_sop_instance_uid)
    connection.send(
        asked.context_id,
        CStoreRSP(command.message_id, command.affected_sop_class_uid, command.affected_sop_instance_uid, status),
    )


async def gone(running: Running) -> None:
    """Wait until every connection is gone."""
    while running.backend.pool.places:
        await turn()


async def turn(seconds: float = 0.0) -> None:
    await deferLater(reactor, seconds)
