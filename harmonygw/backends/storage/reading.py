"""One stored instance on its way out of its file, checked as it passes."""

import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harmonygw.backends.storage.search import StoredFile
from harmonygw.dicom.dataset.conversion import Conversion
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN, NATIVE
from harmonygw.errors import Incomplete, PeerError
from harmonygw.operations import ANY_TRANSFER_SYNTAX
from harmonygw.streams import Piece, Pieces

PIECE_LENGTH: Final = 256 * 1024
"""Bytes of one read. Default 256 KiB: below, the way into the thread and back costs more than the reading."""


def delivered_syntax(stored: str, acceptable: Sequence[str]) -> str:
    """Return the transfer syntax in which an instance is delivered.

    That is the first acceptable one that it can be had in without touching its pixels; the stored one when
    there is none, because who asked decides what becomes of an instance that it cannot take.
    """
    if ANY_TRANSFER_SYNTAX in acceptable or stored in acceptable or stored not in NATIVE:
        return stored
    return next((one for one in acceptable if one in NATIVE and one != EXPLICIT_VR_BIG_ENDIAN), stored)


class StoredData:
    """The data set of a stored instance, in a transfer syntax of choice. Methods block: call them in a
    thread.

    `places` are where the file may be: it moves once in its life, from one to the other. `close` may come
    while another thread still reads, because the exchange was cut off: it waits for its turn.
    """

    def __init__(self, places: Sequence[Path], stored: StoredFile, transfer_syntax_uid: str) -> None:
        self._places = places
        self._stored = stored
        self._descriptor = -1
        self._left = stored.size - stored.data_offset
        self._checksum = 0
        self._turn = threading.Lock()
        self._conversion: Conversion | None = None
        if transfer_syntax_uid != stored.transfer_syntax_uid:
            self._conversion = Conversion(stored.transfer_syntax_uid, transfer_syntax_uid)

    def read(self) -> Pieces:
        """Return the next pieces, none at the end; `Incomplete` when the file is missing, cut or changed."""
        with self._turn:
            try:
                if self._descriptor < 0:
                    self._open()
                pieces: Sequence[Piece] = ()
                while self._left and not pieces:
                    pieces = self._next()
                return pieces
            except OSError as error:
                raise self._damaged(f"{error}") from error
            except PeerError as error:
                raise self._damaged(f"it cannot be converted: {error}") from error

    def _open(self) -> None:
        for path in self._places:
            try:
                self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                break
            except FileNotFoundError:
                continue
        else:
            raise self._damaged(f"there is no file {self._places[0]}")
        size = os.fstat(self._descriptor).st_size
        if size != self._stored.size:
            raise self._damaged(f"{self._places[0]} has {size} bytes instead of {self._stored.size}")
        os.lseek(self._descriptor, self._stored.data_offset, os.SEEK_SET)

    def _next(self) -> Sequence[Piece]:
        data = os.read(self._descriptor, min(PIECE_LENGTH, self._left))
        self._checksum = zlib.crc32(data, self._checksum)
        self._left -= len(data)
        if not data or (not self._left and self._checksum != self._stored.checksum):
            raise self._damaged(f"the content of {self._places[0]} has changed")
        if self._conversion is None:
            return (data,)
        pieces = self._conversion.feed((data,))
        return pieces if self._left else [*pieces, *self._conversion.finish()]

    def _damaged(self, log_detail: str) -> Incomplete:
        return Incomplete(
            f"the stored instance {self._stored.sop_instance_uid} is missing or damaged",
            log_detail=log_detail,
        )

    def close(self) -> None:
        """Close the file; harmless when it is not open."""
        with self._turn:
            if self._descriptor >= 0:
                descriptor, self._descriptor = self._descriptor, -1
                os.close(descriptor)
                self._left = 0
