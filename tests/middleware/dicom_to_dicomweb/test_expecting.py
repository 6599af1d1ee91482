"""What a server says it has, and what becomes of a retrieval that it says otherwise of."""

from typing import Any

import pytest

from harmonygw.dicom.web.attributes import Level
from harmonygw.errors import Busy, Conflict, Incomplete, TimedOut, TransportError
from harmonygw.exchange import Reply
from harmonygw.middleware.dicom_to_dicomweb import expecting
from harmonygw.operations import Retrieve
from harmonygw.streams import Body
from tests.alerted import alerts
from tests.middleware.dicom_to_dicomweb.server import (
    Server,
    Source,
    ask,
    gathered,
    instances,
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
FOUR, FIVE = part10("1.2.3.4"), part10("1.2.3.5")


def retrieved(*answers: Any, retrieve: Retrieve = STUDY) -> list[str]:
    return [one.sop_instance_uid for one in run(gathered(ask(Server(list(answers)), retrieve)))]


def noted(*answers: Any) -> list[str]:
    asked = request(STUDY)
    run(gathered(ask(Server(list(answers)), None, asked)))
    return asked.record.notes


def test_a_study_of_two_patients_is_not_retrieved() -> None:
    both = rows(row("1.2", T00100020="A"), row("1.2", T00100020="B"))
    server = Server([both])
    with alerts() as raised, pytest.raises(Conflict):
        ask(server, STUDY)
    assert len(server.asked) == 1
    assert [one.kind for one in raised] == ["patients_differ"]


@pytest.mark.parametrize("nothing", [rows(), reply(status=500)])
def test_fewer_instances_than_the_server_counts_are_incomplete_when_it_lists_none(nothing: Reply) -> None:
    with pytest.raises(Incomplete) as caught:
        retrieved(of_study(count=2), instances(FOUR), nothing)
    assert caught.value.missing == ()


def test_a_stale_count_does_no_harm() -> None:
    listed = rows(row("1.2", "1.2.3", "1.2.3.4"))
    assert noted(of_study(count=2), instances(FOUR), listed, rows()) == [
        "the DICOMweb server counts 2 instances and has 1"
    ]
    assert len(retrieved(of_study(count=1), instances(FOUR, FIVE))) == 2


def test_the_instances_of_a_series_are_listed_where_they_are() -> None:
    counted = rows(row("1.2", "1.2.3", T00201209="2"))
    server = Server([of_study(), counted, instances(FOUR), rows(row("1.2", "1.2.3", "1.2.3.4")), rows()])
    run(gathered(ask(server, SERIES)))
    assert server.lines[3] == "GET /studies/1.2/series/1.2.3/instances?limit=500"


def test_a_list_without_end_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expecting, "MAX_INSTANCES", 2)
    listed = [row("1.2", "1.2.3", f"1.2.3.{number}") for number in (4, 5, 6)]
    with pytest.raises(Incomplete) as caught:
        retrieved(of_study(count=9), instances(FOUR), rows(*listed))
    assert caught.value.missing == ()
    with pytest.raises(Incomplete) as caught:
        retrieved(of_study(count=9), instances(FOUR), rows(*listed[:2]), rows())
    assert caught.value.missing == ("1.2.3.5",)


@pytest.mark.parametrize("count", ["many", -1, "", None])
def test_a_count_that_is_no_number_counts_nothing(count: Any) -> None:
    said = row("1.2", T00100020="P1") | {"00201208": {"vr": "IS", "Value": [count]}}
    assert retrieved(rows(said), instances(FOUR)) == ["1.2.3.4"]


@pytest.mark.parametrize(
    "says", [rows(), Reply(204), reply(status=404), reply(status=403), reply(status=500), reply(b"<html>")]
)
def test_a_server_that_does_not_tell_what_it_has_is_believed(says: Reply) -> None:
    assert retrieved(says, instances(FOUR)) == ["1.2.3.4"]


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (reply(status=503), Busy),
        (TimedOut("timeout_secs"), TimedOut),
        (TransportError("refused"), TransportError),
    ],
)
def test_a_server_that_is_not_there_is_not_asked_again(says: Any, error: type[Exception]) -> None:
    server = Server([says])
    with pytest.raises(error):
        ask(server, STUDY)
    assert len(server.asked) == 1


def test_only_so_many_rows_are_looked_at() -> None:
    source = Source(b"[" + b",".join([b'{"0020000D":{"vr":"UI","Value":["1.2"]}}'] * 10), *[b"," + b" " * 100] * 100)
    server = Server([Reply(200, (("Content-Type", "application/json"),), Body(source)), instances(FOUR)])
    run(gathered(ask(server, STUDY)))
    assert source.given_up
    assert source.left > 90
