"""webhook: what is sent, by whom, and that no exchange waits for it."""

from typing import Any

import orjson
import pytest

from harmonygw.config.model import Authentication, AuthenticationOptions
from harmonygw.config.options import WebhookOptions
from harmonygw.errors import ConfigurationError, NotFound
from harmonygw.exchange import Reply
from harmonygw.middleware.webhook import MAX_BODY_BYTES, Webhook
from harmonygw.operations import Echo
from harmonygw.pipeline import MIDDLEWARE, load
from harmonygw.streams import Body
from tests.middleware.exchanges import Pipeline, context, dimse, http, post

URL = "https://hook.example/in"


class Sent:
    """A delivery room that keeps everything."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.arguments, self.more = arguments, more
        self.documents: list[Any] = []
        self.diary: list[str] = []

    def start(self) -> None:
        self.diary.append("start")

    def stop(self) -> Any:
        self.diary.append("stop")

    def state(self) -> Any:
        return {"delivered": 7}

    def send(self, payload: bytes) -> None:
        self.documents.append(orjson.loads(payload))


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    built: list[Sent] = []

    def build(*arguments: Any, **more: Any) -> Sent:
        built.append(Sent(*arguments, **more))
        return built[-1]

    monkeypatch.setattr("harmonygw.middleware.webhook.Deliveries", build)
    return built


def webhook(authentication: Any = None, **options: Any) -> Webhook:
    named = {} if authentication is None else {"who": authentication}
    return Webhook(
        context(
            WebhookOptions(URL, **options),
            name="hook",
            authentications=named,
            authentication="who" if named else None,
        )
    )


def test_the_registry_has_it() -> None:
    assert load(MIDDLEWARE["webhook"]) is Webhook


def test_the_request_is_sent(room: list[Sent]) -> None:
    request = http(
        "GET",
        "studies",
        headers={"authorization": "x"},
        attributes={"webhook.hook": '{"tenant":"a"}', "secret": "s"},
    )
    assert Pipeline(webhook(redact_metadata=("secret",))).ask(request) == Reply()
    [document] = room[0].documents
    assert document.pop("time") > 1_700_000_000
    assert document == {
        "middleware": "webhook",
        "name": "hook",
        "side": "left",
        "correlation_id": "c1",
        "peer": "192.0.2.1",
        "principal": None,
        "request": {
            "method": "GET",
            "uri": "/studies",
            "headers": {"authorization": "<redacted>"},
            "query_params": {},
            "metadata": {"webhook.hook": '{"tenant":"a"}', "secret": "<redacted>"},
        },
        "extra": {"tenant": "a"},
    }


def test_the_reply_is_sent_with_how_it_went(room: list[Sent]) -> None:
    reply = Reply(200, (("Content-Type", "application/json"),), Body.of(b'{"PatientID":"17"}'))
    Pipeline(webhook(apply="right"), lambda request: reply).ask(post(b"{}"))
    [document] = room[0].documents
    assert document["response"] == {
        "status": 200,
        "headers": {"content-type": "application/json"},
        "content": {"content_type": "application/json", "size": 18, "body": {"PatientID": "<redacted>"}},
    }
    assert (document["side"], document["outcome"], document["duration_ms"]) == ("right", "complete", 0.0)


def test_a_failure_is_sent(room: list[Sent]) -> None:
    Pipeline(webhook(apply="both"), lambda request: NotFound("nothing")).ask(dimse(Echo()))
    assert [document["side"] for document in room[0].documents] == ["left", "right"]
    assert (room[0].documents[1]["outcome"], room[0].documents[1]["error"]) == ("failed", "NotFound: nothing")


def test_of_a_body_a_part_is_sent(room: list[Sent]) -> None:
    raw = orjson.dumps([1] * MAX_BODY_BYTES)
    one = Pipeline(webhook())
    one.ask(post(raw))
    content = room[0].documents[0]["request"]["content"]
    assert content["truncated"] is True
    assert content["size"] == len(raw)
    assert 0 < len(content["body"]) <= MAX_BODY_BYTES // 2
    assert one.body == raw


@pytest.mark.parametrize(("extra", "sent"), [("plain", "plain"), ("x" * 65_537, None), ("7", 7)])
def test_extra_is_json_or_text(room: list[Sent], extra: str, sent: Any) -> None:
    Pipeline(webhook()).ask(http(attributes={"webhook.hook": extra}))
    assert room[0].documents[0]["extra"] == sent


@pytest.mark.parametrize(
    ("method", "options", "headers"),
    [
        ("basic", {"username": "u", "password": "pä"}, {"Authorization": "Basic dTpww6Q="}),
        ("bearer", {"token": "t"}, {"Authorization": "Bearer t"}),
        ("api_key", {"token": "t"}, {"X-API-Key": "t"}),
        ("none", {}, {}),
    ],
)
def test_who_we_are(room: list[Sent], method: Any, options: Any, headers: dict[str, str]) -> None:
    webhook(Authentication(method, AuthenticationOptions(**options)), timeout_secs=3)
    assert room[0].arguments == (URL, tuple(headers.items()))
    assert (room[0].more["timeout"], room[0].more["name"]) == (3, "hook")


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("basic", {"credentials_path": "users"}, "authentications.who: "),
        ("jwt", {"jwks_uri": URL}, "authentications.who: "),
        (
            "mutual_tls",
            {"cert_path": "c", "key_path": "k"},
            'middleware.hook.authentication: "who": a webhook shows no',
        ),
    ],
)
def test_what_cannot_be_sent_is_an_error(method: Any, options: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{sentence}"):
        webhook(Authentication(method, AuthenticationOptions(**options)))


def test_it_begins_and_ends_with_the_gateway(room: list[Sent]) -> None:
    one = webhook()
    one.start()
    one.stop()
    assert room[0].diary == ["start", "stop"]
    assert one.state() == {"delivered": 7}
