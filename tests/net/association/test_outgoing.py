"""What is proposed for instances on their way out, on which context each goes, and what becomes of its data set."""

import pytest

from harmonygw.dicom.upperlayer.negotiation import AcceptedContext, ProposedContext
from harmonygw.errors import Incomplete, NotAcceptable, PeerError
from harmonygw.net.association.outgoing import OutgoingData, StorageContexts, contexts_for, native_alternatives
from harmonygw.streams import Feed, Pieces
from tests.net.association.peers import (
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    MR,
    content,
    failure,
    feed_of,
    instance,
    read,
    result,
    spawn,
)

BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
UID_EXPLICIT = bytes.fromhex("08001800 5549 0400") + b"1.2\0"
UID_IMPLICIT = bytes.fromhex("08001800 04000000") + b"1.2\0"


def accepted(*pairs: tuple[str, str], as_scu: bool = True) -> list[AcceptedContext]:
    return [AcceptedContext(2 * n + 1, *pair, as_scu, not as_scu) for n, pair in enumerate(pairs)]


# What is proposed


def test_a_native_instance_is_proposed_as_it_is_and_in_the_native_syntaxes_that_can_be_made_of_it() -> None:
    contexts = StorageContexts()
    assert not contexts.include((CT, BIG_ENDIAN))
    assert contexts.proposed == (
        ProposedContext(1, CT, (BIG_ENDIAN,)),
        ProposedContext(3, CT, (EXPLICIT,)),
        ProposedContext(5, CT, (IMPLICIT,)),
    )


def test_what_came_before_is_proposed_again() -> None:
    contexts = StorageContexts()
    contexts.include((CT, EXPLICIT))
    proposed = contexts.proposed
    assert contexts.include((CT, EXPLICIT))
    assert contexts.proposed is proposed
    contexts.include((MR, JPEG_2000))
    assert [(one.abstract_syntax, *one.transfer_syntaxes) for one in contexts.proposed] == [
        (CT, EXPLICIT),
        (CT, IMPLICIT),
        (MR, JPEG_2000),
    ]


def test_what_came_least_lately_is_left_out_when_an_association_has_no_room() -> None:
    contexts = StorageContexts()
    for number in range(64):
        contexts.include((f"1.2.{number}", EXPLICIT))
    assert len(contexts.proposed) == 128
    contexts.include(("1.2.0", EXPLICIT))
    contexts.include(("1.2.64", JPEG_2000))
    classes = {one.abstract_syntax for one in contexts.proposed}
    assert len(contexts.proposed) == 127
    assert classes >= {"1.2.0", "1.2.2", "1.2.64"}
    assert "1.2.1" not in classes


def test_alternatives_of_who_can_do_more_are_proposed_too() -> None:
    contexts = StorageContexts(lambda uid: (JPEG_2000, EXPLICIT))
    contexts.include((CT, "1.2.840.10008.1.2.4.80"))
    assert [one.transfer_syntaxes for one in contexts.proposed] == [
        ("1.2.840.10008.1.2.4.80",),
        (JPEG_2000,),
        (EXPLICIT,),
    ]


# On which context it goes


@pytest.mark.parametrize(
    ("held", "taken", "sent"),
    [
        (IMPLICIT, (EXPLICIT, IMPLICIT), IMPLICIT),
        (BIG_ENDIAN, (IMPLICIT, EXPLICIT), EXPLICIT),
        (EXPLICIT, (IMPLICIT,), IMPLICIT),
        (EXPLICIT, (BIG_ENDIAN, DEFLATED), DEFLATED),
        (JPEG_2000, (EXPLICIT, JPEG_2000), JPEG_2000),
    ],
)
def test_an_instance_goes_as_it_is_or_in_the_best_that_was_accepted(
    held: str, taken: tuple[str, ...], sent: str
) -> None:
    contexts = accepted((MR, held), *((CT, syntax) for syntax in taken))
    best, *_ = contexts_for(instance(feed_of(), syntax=held), contexts)
    assert (best.abstract_syntax, best.transfer_syntax) == (CT, sent)


@pytest.mark.parametrize(
    ("held", "contexts"),
    [
        (EXPLICIT, accepted((CT, BIG_ENDIAN))),
        (EXPLICIT, accepted((CT, EXPLICIT), as_scu=False)),
        (EXPLICIT, accepted((MR, EXPLICIT))),
        (JPEG_2000, accepted((CT, EXPLICIT), (CT, DEFLATED))),
    ],
)
def test_without_a_context_the_error_says_class_and_syntax(held: str, contexts: list[AcceptedContext]) -> None:
    with pytest.raises(NotAcceptable, match=rf"{CT} in (Explicit VR Little Endian|JPEG 2000 .*)$"):
        contexts_for(instance(feed_of(), syntax=held), contexts)


def test_who_can_do_more_prefers_in_its_own_order() -> None:
    contexts = accepted((CT, IMPLICIT), (CT, EXPLICIT))
    chosen = contexts_for(instance(feed_of(), syntax=JPEG_2000), contexts, lambda uid: (EXPLICIT, IMPLICIT))
    assert [one.transfer_syntax for one in chosen] == [EXPLICIT, IMPLICIT]
    assert native_alternatives(JPEG_2000) == ()


# The data set


def test_a_data_set_goes_as_it_comes_and_is_counted() -> None:
    data_set = result(spawn(OutgoingData.of(instance(feed_of((b"ab", b"cd"), (b"ef",))), EXPLICIT)))
    assert data_set.size == 0
    assert result(read(data_set)) == [(b"ab", b"cd"), (b"ef",)]
    assert data_set.size == 6


def test_a_data_set_is_converted_as_it_flows() -> None:
    source: Feed[Pieces] = Feed(limit=1 << 20)
    beginning = spawn(OutgoingData.of(instance(source), IMPLICIT))
    source.put((UID_EXPLICIT[:5],))
    assert not beginning.called
    source.put((UID_EXPLICIT[5:],))
    reading = read(result(beginning))
    source.end()
    assert content(result(reading)) == UID_IMPLICIT


def test_what_cannot_be_read_is_told_before_anything_is_sent() -> None:
    assert isinstance(failure(spawn(OutgoingData.of(instance(feed_of()), EXPLICIT))), Incomplete)
    broken: Feed[Pieces] = Feed(limit=1)
    broken.fail(Incomplete("damaged"))
    assert "damaged" in str(failure(spawn(OutgoingData.of(instance(broken), EXPLICIT))))
    cut = feed_of((UID_EXPLICIT[:5],))
    assert isinstance(failure(spawn(OutgoingData.of(instance(cut), IMPLICIT))), PeerError)


def test_giving_it_up_gives_its_source_up() -> None:
    source: Feed[Pieces] = Feed(limit=1)
    source.put((b"ab",))
    data_set = result(spawn(OutgoingData.of(instance(source), EXPLICIT)))
    result(spawn(data_set.aclose()))
    assert source.done
