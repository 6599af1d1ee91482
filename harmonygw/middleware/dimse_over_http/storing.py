"""A DICOM file in a request's body as an instance to be stored: identified by its beginning, streamed from there."""

from harmonygw.dicom.dataset.completeness import Completeness
from harmonygw.dicom.dataset.header_scan import HEADER_SCAN_LIMIT
from harmonygw.dicom.dataset.part10_reading import Part10Reading
from harmonygw.errors import BadRequest, PeerError
from harmonygw.streams import Body, Instance, InstanceStream, Pieces

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


class Upload:
    """One DICOM file on its way in. As a stream of instances it is one, to be read once."""

    def __init__(self, instance: Instance, data_set: "_Rest") -> None:
        self.instance = instance
        self._data_set = data_set
        self._taken = False

    @property
    def fault(self) -> BadRequest | None:
        """Why nothing can have been stored of it, when that is its own fault: it was cut short."""
        return self._data_set.fault

    @classmethod
    async def begun(cls, body: Body) -> "Upload":
        """Read the beginning of a body; raises `BadRequest` for what is no DICOM file, and what reading raises."""
        reading = Part10Reading()
        async for pieces in body:
            ahead = list(pieces)
            while ahead and not _feed(reading, ahead.pop(0)):
                pass
            if reading.identified:
                return cls._identified(reading, ahead, body)
        try:
            reading.end()
        except PeerError as error:
            raise BadRequest(f"The body is no whole DICOM file: {error.detail}.") from error
        return cls._identified(reading, [], body)

    @classmethod
    def _identified(cls, reading: Part10Reading, ahead: Pieces, body: Body) -> "Upload":
        values = reading.values
        if missing := [keyword for keyword in _NEEDED if not values.get(keyword)]:
            where = f"in the first {HEADER_SCAN_LIMIT} bytes of the data set"
            raise BadRequest(f"The DICOM file lacks {' and '.join(missing)} {where}.")
        if reading.claims_another_class:
            raise BadRequest("The DICOM file contradicts itself: its file meta information names another SOP class.")
        data_set = _Rest([*reading.data_set, *ahead], body, reading.transfer_syntax_uid)
        instance = Instance(
            values["SOPClassUID"],
            values["SOPInstanceUID"],
            reading.transfer_syntax_uid,
            data_set,
            study_instance_uid=values["StudyInstanceUID"],
            series_instance_uid=values["SeriesInstanceUID"],
            leading=values,
        )
        return cls(instance, data_set)

    def __aiter__(self) -> InstanceStream:
        return self

    async def __anext__(self) -> Instance:
        if self._taken:
            raise StopAsyncIteration
        self._taken = True
        return self.instance

    async def aclose(self) -> None:
        """Give it up."""
        await self._data_set.aclose()


def _feed(reading: Part10Reading, piece: bytes | memoryview) -> bool:
    try:
        return reading.feed(piece)
    except PeerError as error:
        raise BadRequest(f"The DICOM file is malformed: {error.detail}.") from error


class _Rest:
    """The data set: what was read of it, then the rest of the body. It ends where its elements do, or in an error."""

    def __init__(self, read: Pieces, body: Body, transfer_syntax_uid: str) -> None:
        self._read = read
        self._body = body
        self._completeness = Completeness(transfer_syntax_uid)
        self.fault: BadRequest | None = None

    def __aiter__(self) -> "_Rest":
        return self

    async def __anext__(self) -> Pieces:
        pieces, self._read = self._read, ()
        try:
            pieces = pieces or await self._body.__anext__()
        except StopAsyncIteration:
            self._check_end()
            raise
        self._completeness.feed(pieces)
        return pieces

    def _check_end(self) -> None:
        try:
            self._completeness.finish()
        except PeerError as error:
            self.fault = BadRequest(f"The DICOM file is cut short: {error.detail}.")
            raise self.fault from error

    async def aclose(self) -> None:
        self._read = ()
        await self._body.aclose()
