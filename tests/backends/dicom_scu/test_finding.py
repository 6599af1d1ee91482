import pytest
from pytest_twisted import ensureDeferred

from harmonygw.backends.dicom_scu.finding import PACSMatches, identifier
from harmonygw.errors import RejectedError, TransportError
from harmonygw.exchange import Record
from harmonygw.net.association.operations import Outcome
from harmonygw.operations import Find, Level
from harmonygw.streams import Feed, Match
from tests.backends.dicom_scu.archive import study


class FindOperation:
    """A C-FIND that the test answers."""

    def __init__(self) -> None:
        self.cancelled: list[BaseException] = []
        self.matches: Feed[Match] = Feed(limit=100, on_abort=self.cancelled.append)
        self.outcome: Outcome | None = None
        self.optional_keys_unsupported = False
        self.undecodable: list[str] = []

    def end(self, status: int = 0, comment: str = "") -> None:
        self.outcome = Outcome(status, error_comment=comment)
        self.matches.end()


def finding() -> tuple[FindOperation, Record, PACSMatches]:
    operation, record = FindOperation(), Record()
    return operation, record, PACSMatches(operation, record)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("level", "unique"),
    [
        (Level.PATIENT, {"00100020": {"vr": "LO"}}),
        (Level.STUDY, {"0020000D": {"vr": "UI"}}),
        (Level.SERIES, {"0020000E": {"vr": "UI"}}),
        (Level.IMAGE, {"00080018": {"vr": "UI"}}),
    ],
)
def test_an_identifier_names_its_level_and_asks_for_its_unique_key(
    level: Level, unique: dict[str, dict[str, str]]
) -> None:
    assert identifier(Find(level)) == {**unique, "00080052": {"vr": "CS", "Value": [level.value]}}


def test_a_matching_key_stands_before_a_return_key_of_the_same_tag() -> None:
    key = {"vr": "UI", "Value": ["1.2"]}
    find = Find(Level.STUDY, {"0020000D": key}, {"0020000D": {"vr": "UI"}, "00100010": {"vr": "PN"}})
    assert identifier(find) == {
        "0020000D": key,
        "00100010": {"vr": "PN"},
        "00080052": {"vr": "CS", "Value": ["STUDY"]},
    }


@ensureDeferred
async def test_matches_come_in_their_order_and_are_counted() -> None:
    operation, record, matches = finding()
    for uid in "123":
        operation.matches.put(study(uid))
    operation.end()
    await matches.begin()
    assert [match["0020000D"]["Value"] async for match in matches] == [["1"], ["2"], ["3"]]
    assert (record.matches, record.dimse_status) == (3, 0)
    assert matches.warnings == []
    with pytest.raises(StopAsyncIteration):
        await matches.__anext__()


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0xFE00])
@ensureDeferred
async def test_a_failure_before_the_first_match_fails_the_find(status: int) -> None:
    operation, record, matches = finding()
    operation.end(status, "out of everything")
    with pytest.raises(RejectedError, match=f"failed the query with status {status:04X}H") as caught:
        await matches.begin()
    assert (caught.value.status, caught.value.log_detail) == (status, "out of everything")
    assert record.dimse_status == status


@ensureDeferred
async def test_a_failure_after_a_match_fails_the_reading() -> None:
    operation, _, matches = finding()
    operation.matches.put(study())
    await matches.begin()
    operation.end(0xC000)
    assert (await matches.__anext__())["0020000D"]["Value"] == ["1.2"]
    with pytest.raises(RejectedError):
        await matches.__anext__()


@ensureDeferred
async def test_no_match_is_an_end_without_failure() -> None:
    operation, record, matches = finding()
    operation.end()
    await matches.begin()
    assert [match async for match in matches] == []
    assert record.matches == 0


@ensureDeferred
async def test_a_lost_association_fails_the_find() -> None:
    operation, _, matches = finding()
    operation.matches.fail(TransportError("lost"))
    with pytest.raises(TransportError):
        await matches.begin()


@ensureDeferred
async def test_giving_up_cancels_and_ends() -> None:
    operation, record, matches = finding()
    operation.matches.put(study())
    await matches.begin()
    await matches.aclose()
    assert len(operation.cancelled) == 1
    assert [match async for match in matches] == []
    assert record.matches == 0


@ensureDeferred
async def test_what_was_not_matched_and_not_decoded_is_told() -> None:
    operation, record, matches = finding()
    operation.optional_keys_unsupported = True
    operation.undecodable = ["00100010"]
    operation.end()
    await matches.begin()
    assert matches.warnings == ["The archive did not match every optional key."]
    assert record.notes == ["values of (0010,0010) hold bytes that their character set lacks"]
