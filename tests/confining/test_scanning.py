"""An object is looked at while it arrives, and is whole afterwards."""

import pytest

from harmonygw.confining.constraints import Constraints
from harmonygw.confining.scanning import look
from harmonygw.errors import PeerError
from harmonygw.exchange import Restriction
from harmonygw.streams import Feed, Instance, Pieces
from tests.confining.archive import EXPLICIT, Sent, elements, encoded, result_of, tag

CONSTRAINTS = Constraints([Restriction({tag("InstitutionName"): ("Main",), tag("Modality"): ("US",)}, "")])
ROW = elements(
    Modality="US", InstitutionName="Main", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", InstanceNumber="7"
)
DATA = encoded(ROW)


async def whole(instance: Instance) -> bytes:
    return b"".join([bytes(piece) async for pieces in instance.data_set for piece in pieces])


@pytest.mark.parametrize("size", [1, 9, 30, 1000])
def test_what_was_looked_at_is_whole_afterwards(size: int) -> None:
    pieces = [DATA[start : start + size] for start in range(0, len(DATA), size)]
    for reads in ([(one,) for one in pieces], [tuple(pieces)]):
        instance = Instance("1.2", "1", EXPLICIT, Sent(*reads))
        study, values = result_of(look(instance, CONSTRAINTS))
        assert (study, values) == ("1.2", {tag("InstitutionName"): "Main", tag("Modality"): "US"})
        assert result_of(whole(instance)) == DATA


def test_no_more_is_read_than_is_needed() -> None:
    feed: Feed[Pieces] = Feed(limit=1)
    feed.put((DATA + b"\0" * 8,))
    instance = Instance("1.2", "1", EXPLICIT, feed)
    assert result_of(look(instance, CONSTRAINTS))[0] == "1.2"
    assert not feed.done
    result_of(instance.data_set.aclose())
    assert feed.done


def test_what_is_malformed_can_still_be_given_up() -> None:
    sent = Sent((DATA[:30],))
    instance = Instance("1.2", "1", EXPLICIT, sent)
    with pytest.raises(PeerError):
        result_of(look(instance, CONSTRAINTS))
    result_of(instance.data_set.aclose())
    assert sent.closed
