from base64 import b64encode

import pytest

from harmonygw.audit.participants import MAX_CREDENTIALS, aetitles, archive, claimed, client, destination, gateway
from harmonygw.dicom.audit.message import ActiveParticipant
from tests.audit.parts import dimse, http


def basic(credentials: str) -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(credentials.encode()).decode()}


def test_the_gateway_has_all_its_titles() -> None:
    assert gateway("gw", ["A", "", "B", "A"]) == ActiveParticipant(
        "gw", alternative_user_id="AETITLES=A;B", user_name="harmonygw"
    )
    assert aetitles([""]) == ""


def test_a_client_is_who_it_was_authenticated_as() -> None:
    request = http()
    assert client(request) == ActiveParticipant("192.0.2.1", is_requestor=True, access_point="192.0.2.1")
    request.record.principal = "doctor"
    assert client(request) == ActiveParticipant(
        "doctor", is_requestor=True, user_name="doctor", access_point="192.0.2.1"
    )


def test_an_application_entity_is_its_title() -> None:
    assert client(dimse("C-FIND", principal="CN=ct")) == ActiveParticipant(
        "MODALITY",
        is_requestor=True,
        alternative_user_id="AETITLES=MODALITY",
        user_name="CN=ct",
        access_point="192.0.2.2",
    )


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        (basic("eve:secret"), "eve"),
        (basic("e" * MAX_CREDENTIALS), "192.0.2.1"),
        ({"authorization": "Basic %%%"}, "192.0.2.1"),
        ({"authorization": "Basic /w=="}, "192.0.2.1"),
        ({"authorization": "Bearer ZXZlOmE="}, "192.0.2.1"),
        ({}, "192.0.2.1"),
    ],
)
def test_who_failed_is_who_he_said_he_was_and_no_password_is_told(headers: dict[str, str], name: str) -> None:
    told = claimed(http(headers=headers))
    assert told.user_id == name
    assert "secret" not in str(told)


def test_those_behind_the_gateway() -> None:
    assert archive(http()) == (ActiveParticipant("pacs"),)
    assert archive(http(target="")) == ()
    assert destination("WS") == ActiveParticipant("WS", alternative_user_id="AETITLES=WS")
