"""A Find by C-FIND: the identifier, the association it takes, and the matches with what should be said of them."""

from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.dimse.statuses import Category, category, describe
from harmonygw.dicom.web.attributes import QUERY_RETRIEVE_LEVEL, UNIQUE_KEYS
from harmonygw.errors import RejectedError
from harmonygw.exchange import Record
from harmonygw.net.association.operations import FindOperation
from harmonygw.operations import DataSet, Find, Level
from harmonygw.streams import Match


def identifier(find: Find) -> DataSet:
    """Return the identifier of a C-FIND-RQ: the level, the return keys, the unique key, and the matching keys."""
    return {
        UNIQUE_KEYS[find.level]: {"vr": "LO" if find.level is Level.PATIENT else "UI"},
        **find.return_keys,
        **find.keys,
        QUERY_RETRIEVE_LEVEL: {"vr": "CS", "Value": [find.level.value]},
    }


class PACSMatches:
    """The matches of one C-FIND, and its final status judged (PS3.4 Table C.4-1)."""

    def __init__(self, operation: FindOperation, record: Record) -> None:
        self._operation = operation
        self._record = record
        self._ahead: list[Match] = []
        self._ended = False
        self.warnings: list[str] = []

    async def begin(self) -> None:
        """Wait for the first match or the end, so that a failure before it fails the Find itself."""
        try:
            self._ahead.append(await self._operation.matches.__anext__())
        except StopAsyncIteration:
            self._judge()

    def __aiter__(self) -> "PACSMatches":
        return self

    async def __anext__(self) -> Match:
        if self._ahead:
            match = self._ahead.pop()
        elif self._ended:
            raise StopAsyncIteration
        else:
            try:
                match = await self._operation.matches.__anext__()
            except StopAsyncIteration:
                self._judge()
                raise
        self._record.matches += 1
        return match

    async def aclose(self) -> None:
        """Cancel the C-FIND, unless it has ended."""
        self._ended = True
        self._ahead.clear()
        await self._operation.matches.aclose()

    def _judge(self) -> None:
        self._ended = True
        outcome = self._operation.outcome
        status = outcome.status if outcome is not None else statuses.UNABLE_TO_PROCESS
        self._record.dimse_status = status
        if self._operation.optional_keys_unsupported:
            self.warnings.append("The archive did not match every optional key.")
        for tag in self._operation.undecodable:
            self._record.note(f"values of ({tag[:4]},{tag[4:]}) hold bytes that their character set lacks")
        if category(status) in (Category.FAILURE, Category.CANCEL):
            comment = outcome.error_comment if outcome is not None else ""
            raise RejectedError(
                f"the archive failed the query with status {describe(status)}",
                status=status,
                log_detail=comment,
            )
