"""A DICOM file in a request's body as an instance to be stored: identified by its beginning, streamed from there."""

from harmonygw.dicom.dataset.part10_reading import Part10Reading
from harmonygw.errors import BadRequest, PeerError
from harmonygw.streams import Body, Instance, InstanceStream, Pieces


async def instance_of(body: Body) -> Instance:
    """Return the instance that a body holds; its data set is the rest of the body.

    Raises `BadRequest` for what is no DICOM file or is malformed, and what reading raises.
    """
    reading = Part10Reading()
    async for pieces in body:
        ahead = list(pieces)
        while ahead and not _feed(reading, ahead.pop(0)):
            pass
        if reading.identified:
            return _identified(reading, _Rest([*reading.data_set, *ahead], body))
    try:
        reading.end()
    except PeerError as error:
        raise BadRequest(f"The body is no whole DICOM file: {error.detail}.") from error
    return _identified(reading, _Rest(reading.data_set, body))


def _feed(reading: Part10Reading, piece: bytes | memoryview) -> bool:
    try:
        return reading.feed(piece)
    except PeerError as error:
        raise BadRequest(f"The DICOM file is malformed: {error.detail}.") from error


def _identified(reading: Part10Reading, data_set: "_Rest") -> Instance:
    if mismatch := reading.mismatch():
        raise BadRequest(f"The DICOM file contradicts itself: {mismatch}.")
    values = reading.values
    sop_class_uid, sop_instance_uid = values.get("SOPClassUID", ""), values.get("SOPInstanceUID", "")
    if not (sop_class_uid and sop_instance_uid):
        raise BadRequest("The DICOM file lacks SOPClassUID or SOPInstanceUID: nothing can be stored without them.")
    return Instance(
        sop_class_uid,
        sop_instance_uid,
        reading.transfer_syntax_uid,
        data_set,
        study_instance_uid=values.get("StudyInstanceUID", ""),
        series_instance_uid=values.get("SeriesInstanceUID", ""),
        leading=values,
    )


class _Rest:
    """The data set: what was read of it, and then the rest of the body."""

    def __init__(self, read: Pieces, body: Body) -> None:
        self._read = read
        self._body = body

    def __aiter__(self) -> "_Rest":
        return self

    async def __anext__(self) -> Pieces:
        read, self._read = self._read, ()
        return read or await self._body.__anext__()

    async def aclose(self) -> None:
        self._read = ()
        await self._body.aclose()


class Alone:
    """A stream of one instance."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._taken = False

    def __aiter__(self) -> InstanceStream:
        return self

    async def __anext__(self) -> Instance:
        if self._taken:
            raise StopAsyncIteration
        self._taken = True
        return self._instance

    async def aclose(self) -> None:
        """Give it up."""
        await self._instance.data_set.aclose()
