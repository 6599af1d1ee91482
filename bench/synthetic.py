"""A PACS without disk or database: what a C-GET source costs at least, so that the rest of the time is the gateway's.

Every study exists. Its UID says what it holds: `<ROOT>.<instances>.<frames>.<serial>`, each instance of so many
frames of 512 KiB. PDUs are encoded before they are asked for a second time; an instance leaves in one system call.

A connection that begins with `RAW <study>` and a line break gets the same bytes without an association and without
waiting for responses: what a plain relay passes on. `python -m bench.synthetic` prints its port and serves until
its standard input ends.
"""

import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from threading import Thread

from bench import wire
from bench.wire import Connection

ROOT = "1.2.826.0.1.3680043.10.1424"
AE_TITLE = "SYNTHETIC"
MULTI_FRAME_WORD_SC = "1.2.840.10008.5.1.4.1.1.7.3"
ROWS = COLUMNS = 512
FRAME_SIZE = ROWS * COLUMNS * 2
"""Bytes of a frame."""
PATIENT_ID = "BENCH"

_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sxxI")


@dataclass(frozen=True, slots=True)
class Study:
    """What a Study Instance UID says."""

    instances: int
    frames: int
    serial: int = 1

    @property
    def uid(self) -> str:
        return f"{ROOT}.{self.instances}.{self.frames}.{self.serial}"

    @property
    def series_uid(self) -> str:
        return f"{self.uid}.1"

    def instance_uid(self, index: int) -> str:
        """Return a UID of the same length for every instance."""
        return f"{self.series_uid}.{1_000_000 + index}"

    @property
    def size(self) -> int:
        """Bytes of pixel data in all of it."""
        return self.instances * self.frames * FRAME_SIZE

    @classmethod
    def of(cls, uid: str) -> "Study":
        return cls(*map(int, uid.removeprefix(ROOT + ".").split(".")))


def data_set(study: Study, index: int) -> bytes:
    """Return an instance in Explicit VR Little Endian, up to the first byte of its pixels."""
    return b"".join(
        (
            _element(0x00080016, b"UI", wire.uid(MULTI_FRAME_WORD_SC)),
            _element(0x00080018, b"UI", wire.uid(study.instance_uid(index))),
            _element(0x00080060, b"CS", b"OT"),
            _element(0x00100010, b"PN", b"Bench^Mark"),
            _element(0x00100020, b"LO", PATIENT_ID.encode() + b" "),
            _element(0x0020000D, b"UI", wire.uid(study.uid)),
            _element(0x0020000E, b"UI", wire.uid(study.series_uid)),
            _element(0x00200013, b"IS", b"%06d" % (index + 1)),
            _element(0x00280002, b"US", b"\1\0"),
            _element(0x00280004, b"CS", b"MONOCHROME2 "),
            _element(0x00280008, b"IS", b"%06d" % study.frames),
            _element(0x00280010, b"US", ROWS.to_bytes(2, "little")),
            _element(0x00280011, b"US", COLUMNS.to_bytes(2, "little")),
            _element(0x00280100, b"US", b"\x10\0"),
            _element(0x00280101, b"US", b"\x10\0"),
            _element(0x00280102, b"US", b"\x0f\0"),
            _element(0x00280103, b"US", b"\0\0"),
            _LONG.pack(0x7FE0, 0x0010, b"OW", study.frames * FRAME_SIZE),
        )
    )


def pixels(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


@lru_cache(maxsize=32)
def encoded(study: Study, context_id: int, max_length: int) -> tuple[tuple[bytes, ...], bytes]:
    """Return the sub-operations of a C-GET: what differs (command and first PDU), and the PDUs that all share."""
    room = max_length - 6
    whole = pixels(study.frames * FRAME_SIZE)
    first = room - len(data_set(study, 0))
    heads = []
    for index in range(study.instances):
        request = wire.command(
            {
                wire.AFFECTED_SOP_CLASS_UID: wire.uid(MULTI_FRAME_WORD_SC),
                wire.COMMAND_FIELD: wire.C_STORE_RQ,
                wire.MESSAGE_ID: index % 65_535 + 1,
                wire.PRIORITY: 0,
                wire.DATA_SET_TYPE: wire.DATA_SET,
                wire.AFFECTED_SOP_INSTANCE_UID: wire.uid(study.instance_uid(index)),
            }
        )
        start = data_set(study, index) + whole[:first]
        fragment = len(start) + 2
        heads.append(
            wire.p_data(context_id, request, is_command=True, max_length=max_length)[0]
            + wire.pdu(
                wire.P_DATA_TF,
                fragment.to_bytes(4, "big") + bytes((context_id, 2 * (first >= len(whole)))) + start,
            )
        )
    tail = wire.p_data(context_id, whole[first:], is_command=False, max_length=max_length)
    return tuple(heads), b"".join(tail)


def match(study: Study) -> bytes:
    """Return the one match of a query at STUDY level."""
    return b"".join(
        (
            wire.element(0x00080020, "20240131"),
            wire.element(0x00080030, "120000"),
            wire.element(0x00080050, "A1"),
            wire.element(0x00080052, "STUDY"),
            wire.element(0x00080061, "OT"),
            wire.element(0x00080062, wire.uid(MULTI_FRAME_WORD_SC)),
            wire.element(0x00100010, "Bench^Mark"),
            wire.element(0x00100020, PATIENT_ID),
            wire.element(0x0020000D, wire.uid(study.uid)),
            wire.element(0x00200010, "1"),
            wire.element(0x00201206, "1"),
            wire.element(0x00201208, str(study.instances)),
        )
    )


class Source:
    """One association, or one raw transfer."""

    def __init__(self, accepted: socket.socket) -> None:
        self._connection = Connection(accepted)
        self._contexts: dict[int, str] = {}
        self._storage_context = 0
        self._max_length = wire.MAX_PDU_LENGTH

    def serve(self) -> None:
        """Serve until the peer is done."""
        with self._connection.socket, suppress(OSError):
            if self._connection.socket.recv(1, socket.MSG_PEEK) == b"R":
                line = self._connection.socket.makefile("rb").readline(256)
                self._raw(Study.of(line.split()[1].decode()))
                return
            self._associate()
            while True:
                self._message()

    def _raw(self, study: Study) -> None:
        heads, tail = encoded(study, 1, self._max_length)
        for head in heads:
            self._connection.send(head, tail)

    def _associate(self) -> None:
        request = wire.read_associate(self._connection.pdu()[1])
        self._max_length = request.max_pdu_length
        accepted = {}
        for context in request.contexts:
            is_storage = context.abstract_syntax == MULTI_FRAME_WORD_SC
            syntax = wire.EXPLICIT_VR_LITTLE_ENDIAN if is_storage else wire.IMPLICIT_VR_LITTLE_ENDIAN
            if syntax in context.transfer_syntaxes:
                accepted[context.context_id] = syntax
                self._contexts[context.context_id] = context.abstract_syntax
                if is_storage:
                    self._storage_context = context.context_id
        self._connection.send(wire.associate_ac(request, accepted))

    def _message(self) -> None:
        context_id, fields = self._connection.message()
        identifier: dict[int, bytes] = {}
        if wire.number(fields[wire.DATA_SET_TYPE]) != wire.NO_DATA_SET:
            identifier = dict(wire.elements(b"".join(self._connection.fragments())))
        kind = wire.number(fields[wire.COMMAND_FIELD])
        if kind == wire.C_FIND_RQ:
            found = match(Study.of(wire.text(identifier[0x0020000D])))
            self._connection.send(
                self._response(context_id, fields, wire.PENDING),
                *wire.p_data(context_id, found, is_command=False, max_length=self._max_length),
                self._response(context_id, fields, wire.SUCCESS),
            )
        elif kind == wire.C_GET_RQ:
            self._get(context_id, fields, Study.of(wire.text(identifier[0x0020000D])))
        elif kind == wire.C_ECHO_RQ:
            self._connection.send(self._response(context_id, fields, wire.SUCCESS))

    def _get(self, context_id: int, fields: dict[int, bytes], study: Study) -> None:
        heads, tail = encoded(study, self._storage_context, self._max_length)
        completed = failed = 0
        status = wire.SUCCESS
        for head in heads:
            self._connection.send(head, tail)
            _, answer = self._connection.message()
            if wire.number(answer[wire.COMMAND_FIELD]) == wire.C_CANCEL_RQ:
                status = wire.CANCELLED
                break
            if wire.number(answer[wire.STATUS]) == wire.SUCCESS:
                completed += 1
            else:
                failed += 1
        counts = {wire.COMPLETED: completed, wire.FAILED: failed, wire.WARNING: 0}
        self._connection.send(self._response(context_id, fields, status, counts))

    def _response(
        self, context_id: int, fields: dict[int, bytes], status: int, more: dict[int, int] | None = None
    ) -> bytes:
        response = wire.command(
            {
                wire.AFFECTED_SOP_CLASS_UID: fields[wire.AFFECTED_SOP_CLASS_UID],
                wire.COMMAND_FIELD: wire.number(fields[wire.COMMAND_FIELD]) | wire.RESPONSE,
                wire.RESPONDED_TO: wire.number(fields[wire.MESSAGE_ID]),
                wire.DATA_SET_TYPE: wire.DATA_SET if status == wire.PENDING else wire.NO_DATA_SET,
                wire.STATUS: status,
                **(more or {}),
            }
        )
        return wire.p_data(context_id, response, is_command=True, max_length=self._max_length)[0]


def serve(listener: socket.socket) -> None:
    """Accept connections until the listener is closed, a thread each: sending releases the interpreter's lock."""
    with suppress(OSError):
        while True:
            accepted, _ = listener.accept()
            Thread(target=Source(accepted).serve, daemon=True).start()


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    return _SHORT.pack(tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def main() -> None:
    """Serve until standard input ends, which it does when whoever started this is gone."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    Thread(target=serve, args=(listener,), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
