"""A requestor on a blocking socket: how long the PACS itself takes for what the gateway asks of it."""

import socket
import time
from collections.abc import Mapping

from bench import wire
from bench.wire import Connection, Context

_QUERY, _GET, _OBJECT = 1, 3, 5


class Requestor:
    """One association that stays open, as one in the gateway's pool does."""

    def __init__(self, port: int, called_ae_title: str, *, storage_class: str) -> None:
        self._connection = Connection(socket.create_connection(("127.0.0.1", port)))
        self._connection.send(
            wire.associate_rq(
                wire.Association(
                    called_ae_title,
                    "HARMONYGW",
                    (
                        Context(_QUERY, wire.STUDY_ROOT_FIND, (wire.IMPLICIT_VR_LITTLE_ENDIAN,)),
                        Context(_GET, wire.STUDY_ROOT_GET, (wire.IMPLICIT_VR_LITTLE_ENDIAN,)),
                        Context(_OBJECT, storage_class, (wire.EXPLICIT_VR_LITTLE_ENDIAN,)),
                    ),
                    roles={storage_class: (0, 1)},
                )
            )
        )
        pdu_type, body = self._connection.pdu()
        if pdu_type != wire.ASSOCIATE_AC:
            raise ConnectionError(f"the PACS answered an A-ASSOCIATE-RQ with a PDU of type {pdu_type}")
        self._max_length = wire.read_associate(body).max_pdu_length

    def find(self, keys: Mapping[int, bytes]) -> tuple[float, int]:
        """Return seconds and matches of a C-FIND at STUDY level, from its request to its final response."""
        begun = time.perf_counter()
        self._request(_QUERY, wire.STUDY_ROOT_FIND, wire.C_FIND_RQ, keys)
        matches = 0
        while True:
            _, fields = self._connection.message()
            status = wire.number(fields[wire.STATUS])
            if status & 0xFFFE != wire.PENDING:
                return time.perf_counter() - begun, matches
            matches += 1
            for _ in self._connection.fragments():
                pass

    def get(self, study: str) -> tuple[float, int]:
        """Retrieve a study; return the seconds from the C-GET-RQ to the first object's first byte, and the objects."""
        begun = time.perf_counter()
        first = 0.0
        self._request(_GET, wire.STUDY_ROOT_GET, wire.C_GET_RQ, {0x0020000D: wire.uid(study)})
        objects = 0
        while True:
            context_id, fields = self._connection.message()
            if wire.number(fields[wire.COMMAND_FIELD]) == wire.C_STORE_RQ:
                for _ in self._connection.fragments():
                    first = first or time.perf_counter()
                objects += 1
                self._stored(context_id, fields)
            elif wire.number(fields[wire.STATUS]) != wire.PENDING:
                return first - begun, objects

    def close(self) -> None:
        self._connection.close()

    def _request(self, context_id: int, sop_class: str, kind: int, keys: Mapping[int, bytes]) -> None:
        request = wire.command(
            {
                wire.AFFECTED_SOP_CLASS_UID: wire.uid(sop_class),
                wire.COMMAND_FIELD: kind,
                wire.MESSAGE_ID: 1,
                wire.PRIORITY: 0,
                wire.DATA_SET_TYPE: wire.DATA_SET,
            }
        )
        whole = {**keys, 0x00080052: b"STUDY "}
        identifier = b"".join(wire.element(tag, whole[tag]) for tag in sorted(whole))
        self._connection.send(
            *wire.p_data(context_id, request, is_command=True, max_length=self._max_length),
            *wire.p_data(context_id, identifier, is_command=False, max_length=self._max_length),
        )

    def _stored(self, context_id: int, fields: Mapping[int, bytes]) -> None:
        response = wire.command(
            {
                wire.AFFECTED_SOP_CLASS_UID: fields[wire.AFFECTED_SOP_CLASS_UID],
                wire.COMMAND_FIELD: wire.C_STORE_RQ | wire.RESPONSE,
                wire.RESPONDED_TO: wire.number(fields[wire.MESSAGE_ID]),
                wire.DATA_SET_TYPE: wire.NO_DATA_SET,
                wire.STATUS: wire.SUCCESS,
                wire.AFFECTED_SOP_INSTANCE_UID: fields[wire.AFFECTED_SOP_INSTANCE_UID],
            }
        )
        self._connection.send(*wire.p_data(context_id, response, is_command=True, max_length=self._max_length))
