from dataclasses import FrozenInstanceError

import pytest

from harmonygw.operations import ANY_TRANSFER_SYNTAX, Echo, Find, Level, Move, MoveResult, Retrieve, Store, StoreResult
from harmonygw.streams import Feed, Instance


def test_a_find_asks_for_everything_of_its_level_unless_it_says_otherwise() -> None:
    find = Find(Level.STUDY)
    assert (find.keys, find.return_keys, find.limit) == ({}, {}, None)
    assert not find.fuzzy_matching
    assert not find.relational


def test_finds_do_not_share_their_keys() -> None:
    assert Find(Level.STUDY).keys is not Find(Level.STUDY).keys


def test_a_retrieve_takes_what_the_archive_holds_unless_it_says_otherwise() -> None:
    retrieve = Retrieve(Level.STUDY, "1.2")
    assert retrieve.transfer_syntaxes == (ANY_TRANSFER_SYNTAX,) == ("*",)
    assert retrieve == Retrieve(Level.STUDY, "1.2", "", (), ("*",), False, "")


@pytest.mark.parametrize(
    "operation",
    [
        Find(Level.IMAGE),
        Retrieve(Level.STUDY, "1.2"),
        Move(Level.STUDY, "1.2", "ELSEWHERE"),
        MoveResult(1, 0),
        Store(Feed[Instance](limit=1)),
        StoreResult("1.2", "1.3", 0),
    ],
)
def test_an_operation_is_never_changed(operation: object) -> None:
    field = next(iter(operation.__dataclass_fields__))  # type: ignore[attr-defined]
    with pytest.raises(FrozenInstanceError):
        setattr(operation, field, None)


def test_two_echoes_are_the_same() -> None:
    assert Echo() == Echo()
