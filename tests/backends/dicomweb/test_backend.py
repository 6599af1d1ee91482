"""A DICOMweb server's answers name us, where they named it."""

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from harmonygw.errors import HarmonyError, Incomplete
from harmonygw.streams import Cancelled
from tests.backends.http.served import request
from tests.backends.http.test_backend import Served
from tests.net.http.client.wire import Read

TEXT = 'options = { base_url = "http://192.0.2.7/web" }'
OURS = "http://gateway/dicom"
JSON = '[{"00081190":{"vr":"UR","Value":["URL/studies/1"]}}]'


def answered(served: Served, *fields: str, body: bytes, status: str = "200 OK") -> Read:
    head = (f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", "")
    served.answer("\r\n".join(head).encode() + body)
    assert served.reply is not None, served.failure
    assert served.reply.body is not None
    return Read(served.reply.body)  # type: ignore[arg-type]


@pytest.mark.parametrize("theirs", ["http://192.0.2.7/web", "http://virtual/web"])
@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "409 Conflict"])
def test_urls_in_json_are_ours(theirs: str, status: str, tmp_path: Path) -> None:
    text = 'options = { base_url = "http://192.0.2.7/web", headers = { Host = "virtual" } }'
    served = Served(tmp_path, text, "dicomweb")
    sent = served.ask(request("GET", "studies", headers={"accept-encoding": "gzip"}))
    assert b"\r\naccept-encoding: identity\r\n" in sent
    assert b"\r\nForwarded: for=192.0.2.1\r\n" in sent
    assert b"gateway/" not in sent
    fields = ("Content-Type: application/dicom+json", 'ETag: "x"', "Content-MD5: y", f"Content-Location: {theirs}/a")
    read = answered(served, *fields, body=JSON.replace("URL", theirs).encode(), status=status)
    assert (read.data.decode(), read.outcome) == (JSON.replace("URL", OURS), "whole")
    assert served.reply is not None
    assert served.reply.body is not None
    assert served.reply.body.length is None
    headers = dict(served.reply.headers)
    assert headers["ETag"] == 'W/"x"'
    assert headers["Content-Location"] == f"{OURS}/a"
    assert "Content-MD5" not in headers


def test_pixels_pass_as_they_are_between_headers_that_are_ours(tmp_path: Path) -> None:
    part = "--B\r\nContent-Type: application/dicom\r\nContent-Location: URL/a\r\n\r\n"
    served = Served(tmp_path, TEXT, "dicomweb")
    served.ask(request("GET", "studies", "1"))
    pixels = b'\0\xff"BulkDataURI":"http://192.0.2.7/web/x'
    body = part.replace("URL", "http://192.0.2.7/web").encode() + pixels + b"\r\n--B--\r\n"
    read = answered(served, 'Content-Type: multipart/related; type="application/dicom"; boundary=B', body=body)
    assert read.data == part.replace("URL", OURS).encode() + pixels + b"\r\n--B--\r\n"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Content-Type: application/dicom",), "200 OK"),
        (("Content-Type: application/dicom+json", "Content-Encoding: gzip"), "200 OK"),
        (("Content-Type: application/dicom+json", "Content-Range: bytes 0-1/2"), "206 Partial Content"),
    ],
)
def test_other_bodies_pass_as_they_are(fields: tuple[str, ...], status: str, tmp_path: Path) -> None:
    served = Served(tmp_path, TEXT, "dicomweb")
    served.ask(request())
    body = JSON.replace("URL", "http://192.0.2.7/web").encode()
    read = answered(served, *fields, 'ETag: "x"', body=body, status=status)
    assert read.data == body
    assert served.reply is not None
    assert dict(served.reply.headers)["ETag"] == '"x"'
    assert served.reply.body is not None
    assert served.reply.body.length == len(body)


def test_a_request_that_no_browser_sent_gets_the_servers_own_urls(tmp_path: Path) -> None:
    served = Served(tmp_path, TEXT, "dicomweb")
    sent = served.ask(request(base_url="", headers={"accept-encoding": "gzip"}))
    assert b"\r\naccept-encoding: gzip\r\n" in sent
    body = JSON.replace("URL", "http://192.0.2.7/web").encode()
    assert answered(served, "Content-Type: application/dicom+json", body=body).data == body


def test_head_has_no_body_and_no_length_that_would_be_another(tmp_path: Path) -> None:
    served = Served(tmp_path, TEXT, "dicomweb")
    served.ask(request("HEAD"))
    served.answer(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 7\r\n\r\n")
    assert served.reply is not None
    assert served.reply.body is None
    assert "Content-Length" not in dict(served.reply.headers)


def test_what_breaks_off_is_never_whole(tmp_path: Path) -> None:
    served = Served(tmp_path, TEXT, "dicomweb")
    served.ask(request())
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 9000\r\n\r\n"
    served.answer(head + b" " * 5000)
    assert served.reply is not None
    assert served.reply.body is not None
    read = Read(served.reply.body)  # type: ignore[arg-type]
    assert 0 < len(read.data) < 5000
    served.connection.connectionLost(Failure(ConnectionLost()))
    assert isinstance(read.outcome, Incomplete)


def test_giving_up_reaches_the_server(tmp_path: Path) -> None:
    served = Served(tmp_path, TEXT, "dicomweb")
    served.ask(request())
    served.answer(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 9\r\n\r\n[")
    assert served.reply is not None
    assert served.reply.body is not None
    outcome: list[object] = []
    served.reply.body.when_done().addErrback(lambda failure: outcome.append(failure.value))
    Deferred.fromCoroutine(served.reply.body.abort(HarmonyError("enough")))
    assert served.transport.aborted
    assert isinstance(outcome[0], HarmonyError)
    read = Read(served.reply.body)  # type: ignore[arg-type]
    assert isinstance(read.outcome, HarmonyError | Cancelled)


def test_a_server_that_has_our_url_keeps_its_words(tmp_path: Path) -> None:
    served = Served(tmp_path, TEXT, "dicomweb")
    served.ask(request(base_url="http://192.0.2.7/web"))
    body = JSON.replace("URL", "http://192.0.2.7/web").encode()
    assert answered(served, "Content-Type: application/dicom+json", body=body).data == body
    assert served.reply is not None
    assert served.reply.body is not None
    assert served.reply.body.length == len(body)
