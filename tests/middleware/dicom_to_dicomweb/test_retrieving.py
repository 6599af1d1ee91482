from typing import Any

import pytest

from harmonygw.dicom.web.attributes import Level
from harmonygw.dicom.web.media_types import negotiate_retrieve
from harmonygw.errors import (
    BadRequest,
    Busy,
    Denied,
    Incomplete,
    NotAcceptable,
    NotFound,
    PeerError,
    RejectedError,
    TimedOut,
    TooLarge,
    TransportError,
)
from harmonygw.exchange import Reply
from harmonygw.middleware.dicom_to_dicomweb import retrieving
from harmonygw.middleware.dicom_to_dicomweb.retrieving import accepts
from harmonygw.operations import Retrieve
from harmonygw.streams import Body, Cancelled
from tests.dicom.dataset.encoded import BIG_ENDIAN, EXPLICIT, IMPLICIT
from tests.middleware.dicom_to_dicomweb.server import (
    MULTIPART,
    Server,
    Source,
    ask,
    data_set,
    gathered,
    instances,
    multipart,
    of_study,
    part10,
    reply,
    request,
    row,
    rows,
    run,
)

STUDY = Retrieve(Level.STUDY, "1.2")
SERIES = Retrieve(Level.SERIES, "1.2", "1.2.3")
IMAGES = Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4", "1.2.3.5"))
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
FOUR, FIVE = part10("1.2.3.4"), part10("1.2.3.5")


async def read(stream: Any) -> list[tuple[str, bytes]]:
    result = []
    async for instance in stream:
        data = b"".join([bytes(piece) async for pieces in instance.data_set for piece in pieces])
        result.append((instance.sop_instance_uid, data))
    return result


def retrieved(*answers: Any, retrieve: Retrieve = STUDY) -> list[str]:
    return [uid for uid, _ in run(read(ask(Server(list(answers)), retrieve)))]


def noted(*answers: Any, retrieve: Retrieve = STUDY) -> list[str]:
    asked = request(retrieve)
    run(read(ask(Server(list(answers)), None, asked)))
    return asked.record.notes


# What is asked for, and what comes of it


def test_a_study_is_retrieved_as_it_streams() -> None:
    server = Server([of_study(count=2), instances(FOUR, FIVE, size=100)])
    assert run(read(ask(server, STUDY))) == [("1.2.3.4", data_set("1.2.3.4")), ("1.2.3.5", data_set("1.2.3.5"))]
    assert server.lines == [
        "GET /studies?StudyInstanceUID=1.2&includefield=IssuerOfPatientID&limit=10",
        "GET /studies/1.2",
    ]
    assert server.asked[1].headers["accept"] == ANY


def test_a_series_is_retrieved() -> None:
    counted = rows(row("1.2", "1.2.3", T00201209=1))
    server = Server([of_study(), counted, instances(FOUR)])
    assert len(run(read(ask(server, SERIES)))) == 1
    assert server.lines[1:] == [
        "GET /studies/1.2/series?SeriesInstanceUID=1.2.3&limit=10",
        "GET /studies/1.2/series/1.2.3",
    ]


def test_instances_are_retrieved_one_after_another() -> None:
    server = Server([of_study(), instances(FOUR), reply(FIVE, headers=(("Content-Type", "application/dicom"),))])
    assert [uid for uid, _ in run(read(ask(server, IMAGES)))] == ["1.2.3.4", "1.2.3.5"]
    assert server.lines[1:] == [
        "GET /studies/1.2/series/1.2.3/instances/1.2.3.4",
        "GET /studies/1.2/series/1.2.3/instances/1.2.3.5",
    ]


def test_instances_that_are_not_there_are_passed_over() -> None:
    gone = reply(status=410)
    assert retrieved(of_study(), gone, instances(FIVE), retrieve=IMAGES) == ["1.2.3.5"]
    assert retrieved(of_study(), instances(FOUR), reply(status=404), retrieve=IMAGES) == ["1.2.3.4"]
    with pytest.raises(NotFound):
        retrieved(of_study(), reply(status=404), reply(status=404), retrieve=IMAGES)
    assert noted(of_study(), reply(status=404), instances(FIVE), retrieve=IMAGES) == [
        "an instance that was asked for by its UID is not there"
    ]


@pytest.mark.parametrize(
    ("retrieve", "error"),
    [
        (Retrieve(Level.STUDY, "1.2/3"), BadRequest),
        (Retrieve(Level.STUDY, "1..2"), BadRequest),
        (Retrieve(Level.SERIES, "1.2"), BadRequest),
        (Retrieve(Level.IMAGE, "1.2", "1.2.3"), NotFound),
        (Retrieve(Level.IMAGE, "1.2", "1.2.3", ("../x",)), BadRequest),
        (Retrieve(Level.STUDY, "1.2", without_bulk_data=True, whole_otherwise=False), NotAcceptable),
    ],
)
def test_what_cannot_be_asked_is_not(retrieve: Retrieve, error: type[Exception]) -> None:
    server = Server([])
    with pytest.raises(error):
        ask(server, retrieve)
    assert server.asked == []


def test_instances_come_whole_to_who_can_do_without_their_bulk_data() -> None:
    retrieve = Retrieve(Level.STUDY, "1.2", without_bulk_data=True)
    [instance] = run(gathered(ask(Server([of_study(), instances(FOUR)]), retrieve)))
    assert not instance.without_bulk_data


# Transfer syntaxes


@pytest.mark.parametrize(
    ("acceptable", "named"),
    [
        ((IMPLICIT,), [(EXPLICIT, 1.0)]),
        ((EXPLICIT, IMPLICIT, BIG_ENDIAN), [(EXPLICIT, 1.0)]),
        ((JPEG_2000, IMPLICIT, JPEG_LS), [(EXPLICIT, 1.0), (JPEG_2000, 0.9), (JPEG_LS, 0.9)]),
        ((JPEG_2000, JPEG_LS), [(JPEG_2000, 1.0), (JPEG_LS, 0.9)]),
        ((EXPLICIT, JPEG_BASELINE), [(EXPLICIT, 1.0)]),
    ],
)
def test_native_and_lossless_syntaxes_are_named_and_then_what_is_held_is_asked_for(
    acceptable: tuple[str, ...], named: list[tuple[str, float]]
) -> None:
    first, second = accepts(acceptable)
    assert sorted(negotiate_retrieve(first, one_instance=False).transfer_syntaxes) == sorted(uid for uid, _ in named)
    favourite = named[0][0]
    assert first.endswith(f"transfer-syntax={favourite}")  # servers that read one range mostly read the last
    assert [f"{uid};q={q}" in first for uid, q in named[1:]] == [True] * (len(named) - 1)
    assert second == ANY


def test_a_server_is_never_tempted_to_compress_with_loss() -> None:
    assert list(accepts((JPEG_BASELINE, "1.2.840.10008.1.2.4.102"))) == [ANY]
    assert list(accepts(("*",))) == [ANY]
    assert list(accepts((JPEG_BASELINE, "*"))) == [ANY]


@pytest.mark.parametrize("status", [400, 406, 415, 500, 501])
def test_what_a_server_cannot_make_is_taken_as_it_is_held(status: int) -> None:
    server = Server([of_study(), reply(status=status), instances(FOUR), instances(FIVE)])
    retrieve = Retrieve(Level.IMAGE, "1.2", "1.2.3", IMAGES.sop_instance_uids, (EXPLICIT,))
    assert len(run(read(ask(server, retrieve)))) == 2
    assert [origin.headers["accept"].rpartition("=")[2] for origin in server.asked[1:]] == [EXPLICIT, "*", "*"]
    with pytest.raises((BadRequest, NotAcceptable, RejectedError)):
        ask(Server([of_study(), reply(status=status)]), STUDY)


def test_the_file_decides_on_its_transfer_syntax() -> None:
    fields = (f"Content-Type: application/dicom; transfer-syntax={JPEG_LS}",)
    [instance] = run(gathered(ask(Server([of_study(), instances(FOUR, fields=fields)]), STUDY)))
    assert instance.transfer_syntax_uid == EXPLICIT
    assert noted(of_study(), instances(FOUR, fields=fields)) == [
        "a part names another transfer syntax than its file, which was believed"
    ]


# What was not asked for


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (part10("1.2.3.4", study="1.9"), "of another study"),
        (part10("1.2.3.4", series="1.9"), "of another series"),
        (part10("1.2.3.9"), "that was not asked for"),
        (part10("1.2.3.4", patient="P2"), "of another patient"),
        (part10("1.2.3.4", patient=""), "it has no PatientID"),
    ],
)
def test_what_was_not_asked_for_fails_the_retrieval_before_a_byte_of_it_goes_on(file: bytes, what: str) -> None:
    source = Source(multipart(file, FIVE))
    stream = ask(Server([of_study(), Reply(200, MULTIPART, Body(source))]), IMAGES)
    with pytest.raises(PeerError, match=what):
        run(anext(stream))
    assert source.given_up
    with pytest.raises(PeerError, match=what):
        run(anext(stream))


def test_an_instance_that_comes_twice_fails_the_retrieval() -> None:
    with pytest.raises(PeerError, match="twice"):
        retrieved(of_study(count=2), instances(FOUR, FOUR))


def test_a_retrieval_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieving, "MAX_INSTANCES", 2)
    three = instances(FOUR, FIVE, part10("1.2.3.6"))
    with pytest.raises(TooLarge, match="MAX_INSTANCES"):
        retrieved(of_study(), three)
    assert len(retrieved(of_study(), instances(FOUR, FIVE))) == 2


# What is missing


def test_fewer_instances_than_the_server_counts_are_incomplete_when_it_lists_others() -> None:
    listed = rows(row("1.2", "1.2.3", "1.2.3.4"), row("1.2", "1.2.3", "1.2.3.5"))
    with pytest.raises(Incomplete, match="1 of 2") as caught:
        retrieved(of_study(count=2), instances(FOUR), listed, rows())
    assert caught.value.missing == ("1.2.3.5",)


def test_an_instance_that_a_reply_does_not_hold_is_missing() -> None:
    with pytest.raises(Incomplete, match="1 of 2") as caught:
        retrieved(of_study(), instances(FOUR), instances(), retrieve=IMAGES)
    assert caught.value.missing == ("1.2.3.5",)


def test_a_reply_of_some_instances_is_incomplete() -> None:
    listed = rows(row("1.2", "1.2.3", "1.2.3.4"), row("1.2", "1.2.3", "1.2.3.5"))
    stream = ask(Server([of_study(), instances(FOUR, status=206), listed, rows()]), STUDY)
    assert run(anext(stream)).sop_instance_uid == "1.2.3.4"
    with pytest.raises(Incomplete, match="1 of 2") as caught:
        run(anext(stream))
    assert caught.value.missing == ("1.2.3.5",)
    with pytest.raises(Incomplete, match="only 1 of more"):
        retrieved(of_study(), instances(FOUR, status=206), rows())


@pytest.mark.parametrize("nothing", [Reply(204), reply(status=404), instances()])
def test_nothing_is_not_found(nothing: Reply) -> None:
    with pytest.raises(NotFound):
        retrieved(of_study(), nothing)


def test_nothing_of_something_is_incomplete() -> None:
    with pytest.raises(Incomplete, match="0 of 2"):
        retrieved(of_study(count=2), instances(), rows())


def test_a_connection_that_breaks_is_no_end() -> None:
    body = multipart(FOUR, FIVE)
    stream = ask(Server([of_study(), reply(body[:-30], TransportError("lost"), headers=MULTIPART)]), STUDY)
    assert run(anext(stream)).sop_instance_uid == "1.2.3.4"
    second = run(anext(stream))
    with pytest.raises(TransportError):
        run(gathered(second.data_set))
    for _ in range(2):
        with pytest.raises(TransportError):
            run(anext(stream))


# Giving up, and failing


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(status=403), Denied),
        (reply(status=503), Busy),
        (reply(status=504), TimedOut),
        (reply(status=302), RejectedError),
        (reply(b"<html>", headers=(("Content-Type", "text/html"),)), PeerError),
        (reply(multipart(FOUR), headers=(*MULTIPART, ("Content-Encoding", "gzip"))), PeerError),
        (TransportError("refused"), TransportError),
    ],
)
def test_what_an_http_status_means_fails_the_retrieve_itself(answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(Server([of_study(), answer]), STUDY)


def test_a_retrieval_that_is_given_up_gives_its_reply_up_and_has_no_clean_end() -> None:
    source = Source(multipart(FOUR), *[multipart(FIVE)] * 3)
    server = Server([of_study(), Reply(200, MULTIPART, Body(source)), instances(FIVE)])
    stream = ask(server, IMAGES)
    run(anext(stream))
    run(stream.aclose())
    assert source.given_up
    with pytest.raises(Cancelled):
        run(anext(stream))
    assert len(server.asked) == 2


def test_giving_up_what_has_ended_is_harmless() -> None:
    stream = ask(Server([of_study(), instances(FOUR)]), STUDY)
    run(read(stream))
    run(stream.aclose())
    assert run(gathered(stream)) == []
