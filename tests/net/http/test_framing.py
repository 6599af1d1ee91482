"""Request smuggling: what could be read in two ways, byte for byte; and what is unusual but right."""

import pytest
from twisted.web.http_headers import Headers

from harmonygw.net.http.framing import asks_to_close, field_fault, header_fault, origin_form, request_line_fault
from harmonygw.net.http.limits import MAX_FIELD_NAME_BYTES, MAX_LENGTH_DIGITS, MAX_TARGET_BYTES
from tests.net.http.wire import Wire

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
CL_TE = b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n"


def post(fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"POST / HTTP/" + version + b"\r\nHost: a\r\n" + fields + b"\r\n"


FRAMINGS = {
    "CL.TE": CL_TE,
    "TE.CL": b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
    "CL of 0 and TE": b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    "space before the colon": b"Transfer-Encoding : chunked\r\n",
    "tab before the colon": b"Transfer-Encoding\t: chunked\r\n",
    "leading space": b" Transfer-Encoding: chunked\r\n",
    "leading tab": b"X: x\r\n\tTransfer-Encoding: chunked\r\n",
    "vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "form feed": b"Transfer-Encoding: chunked\x0c\r\n",
    "next line": b"Transfer-Encoding: chunked\x85\r\n",
    "no-break space": b"Transfer-Encoding:\xa0chunked\r\n",
    "chunked, identity": b"Transfer-Encoding: chunked, identity\r\n",
    "identity, chunked": b"Transfer-Encoding: identity, chunked\r\n",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n",
    "chunked, chunked": b"Transfer-Encoding: chunked, chunked\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked and identity": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "identity and chunked": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n",
    "quoted": b'Transfer-Encoding: "chunked"\r\n',
    "with a parameter": b"Transfer-Encoding: chunked;q=1\r\n",
    "trailing comma": b"Transfer-Encoding: chunked,\r\n",
    "leading comma": b"Transfer-Encoding: ,chunked\r\n",
    "empty coding": b"Transfer-Encoding:\r\n",
    "folded": b"Transfer-Encoding:\r\n chunked\r\n",
    "bare line feed": b"X: x\nTransfer-Encoding: chunked\r\n",
    "bare carriage return": b"X: x\rTransfer-Encoding: chunked\r\n",
    "NUL in a value": b"X: x\x00\r\n",
    "NUL in a name": b"X\x00: x\r\n",
    "DEL in a value": b"X: x\x7f\r\n",
    "escape in a value": b"X: \x1b[31m\r\n",
    "underscore would be a hyphen": b"Transfer\xe2\x80\x90Encoding: chunked\r\n",
    "empty name": b": x\r\n",
    "no token": b"X(y): x\r\n",
    "no colon": b"Transfer-Encoding chunked\r\n",
    "two lengths": b"Content-Length: 6\r\nContent-Length: 0\r\n",
    "two equal lengths": b"Content-Length: 6\r\nContent-Length: 6\r\n",
    "a list of lengths": b"Content-Length: 6, 6\r\n",
    "a plus": b"Content-Length: +6\r\n",
    "a minus": b"Content-Length: -0\r\n",
    "a minus and a body": b"Content-Length: -6\r\n",
    "hexadecimal": b"Content-Length: 0x6\r\n",
    "an underscore": b"Content-Length: 1_0\r\n",
    "a fraction": b"Content-Length: 6.0\r\n",
    "an exponent": b"Content-Length: 1e1\r\n",
    "other digits": b"Content-Length: \xd9\xa6\r\n",
    "superscript": b"Content-Length: \xb2\r\n",
    "a space within": b"Content-Length: 1 0\r\n",
    "no length": b"Content-Length:\r\n",
    "huge": b"Content-Length: 1" + b"0" * MAX_LENGTH_DIGITS + b"\r\n",
    "more digits than Python converts": b"Content-Length: " + b"9" * 5000 + b"\r\n",
    "more zeros than Python converts": b"Content-Length: " + b"0" * 5000 + b"6\r\n",
    "zeros, and spaces before them": b"Content-Length:" + b" " * 50 + b"0" * 5000 + b"6\r\n",
}


@pytest.mark.parametrize("fields", FRAMINGS.values(), ids=FRAMINGS.keys())
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_body_whose_end_is_disputable_is_refused_and_nothing_after_it_is_read(fields: bytes, version: bytes) -> None:
    wire = Wire()
    wire.receive(post(fields, version) + b"0\r\n\r\n" + SMUGGLED)
    assert wire.status == 400
    assert wire.sent.count(b"HTTP/1.1 ") == 1
    assert wire.app.requests == []


BODIES = {
    "a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a minus": b"-1\r\n",
    "a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "leading space": b" 5\r\nhello\r\n0\r\n\r\n",
    "trailing space": b"5 \r\nhello\r\n0\r\n\r\n",
    "trailing tab": b"5\t\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "no size, an extension": b";x\r\nhello\r\n0\r\n\r\n",
    "not hexadecimal": b"g\r\nhello\r\n0\r\n\r\n",
    "bare line feed after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare line feed in an extension": b"5;x\ny\r\nhello\r\n0\r\n\r\n",
    "bare carriage return in an extension": b"5;x\ry\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;\x00\r\nhello\r\n0\r\n\r\n",
    "bare line feed after the data": b"5\r\nhello\n0\r\n\r\n",
    "data that is longer": b"5\r\nhello!\r\n0\r\n\r\n",
    "a long extension": b"5;" + b"x" * 1_000_000,
    "a long size": b"0" * 1_000_000 + b"5\r\n",
    "long trailers": b"0\r\n" + b"X: x\r\n" * 200_000,
    "a long trailer": b"0\r\nX: " + b"x" * 1_000_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_malformed_chunks_end_the_connection_with_one_reply(body: bytes) -> None:
    wire = Wire()
    wire.receive(post(b"Transfer-Encoding: chunked\r\n"), body, SMUGGLED)
    assert len(wire.app.requests) == 1
    assert wire.sent.count(b"HTTP/1.1 ") == 1
    assert wire.transport.disconnecting


def test_a_chunk_of_a_size_that_no_machine_has_is_waited_for_and_not_made_room_for() -> None:
    wire = Wire()
    wire.receive(post(b"Transfer-Encoding: chunked\r\n"), b"f" * 900 + b"\r\nhello")
    assert wire.app.requests[0]._received_bytes == 5


LINES = {
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "no version": b"GET / \r\nHost: a\r\n\r\n",
    "a longer version": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "two empty lines before": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "tabs": b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "a leading space": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a trailing space": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "no method": b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method that is no token": b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a NUL in the method": b"G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment": b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a NUL": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "DEL": b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
    "UTF-8": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "overlong UTF-8": b"GET /\xc0\xaf HTTP/1.1\r\nHost: a\r\n\r\n",
    "Latin-1 that Twisted takes": b"GET /\x90 HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority form": b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a file": b"GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    "a host and no slash": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "a backslash": b"GET \\ HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk of another method": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "another host": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "another port": b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "userinfo": b"GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n",
    "userinfo in both": b"GET http://a@b/ HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "absolute form without host": b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("read", LINES.values(), ids=LINES.keys())
def test_a_request_line_that_is_none_is_refused(read: bytes) -> None:
    wire = Wire()
    wire.receive(read + SMUGGLED)
    assert wire.status == 400
    assert wire.sent.count(b"HTTP/1.1 ") == 1
    assert wire.app.requests == []


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b" ",
        b"a b",
        b"a,b",
        b"a@b",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"http://a",
        b"a:b",
        b"a:80:80",
        b"a:65536",
        b"a:99999",
        b"a:-1",
        b"a:+1",
        b"a:000080",
        b".a",
        b"a..b",
        b"-a",
        b"a-",
        b"a%00",
        b"xn--\xc3\xa9",
        b"<script>",
        b"'a'",
        b"[::1",
        b"::1",
        b"[]",
        b"[:::]",
        b"[....]",
        b"[1.2.3.4]",
        b"[fe80::1%25eth0]",
        b"[::1]a",
        b"[v1.x]",
        b"a" * 64,
        b"a." * 4000,
    ],
)
def test_a_host_that_is_none_is_refused(host: bytes) -> None:
    wire = Wire()
    wire.receive(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    if len(host) < 1000:
        assert wire.status == 400
        assert wire.app.requests == []


@pytest.mark.parametrize(
    "host", [b"a", b"a.", b"a:", b"a:0", b"a:65535", b"[::1]:8080", b"[::ffff:192.0.2.1]", b"1.2.3.4"]
)
def test_a_host_is_a_name_or_an_address_and_a_port(host: bytes) -> None:
    assert header_fault(Headers({b"host": [host]}), b"HTTP/1.1") is None


@pytest.mark.parametrize(
    ("expectations", "version", "status"),
    [
        ([b"100-continue"], b"HTTP/1.1", None),
        ([b"100-Continue"], b"HTTP/1.1", None),
        ([b"200-ok"], b"HTTP/1.1", 417),
        ([b"100-continue, x"], b"HTTP/1.1", 417),
        ([b"100-continue", b"x"], b"HTTP/1.1", 417),
        ([b""], b"HTTP/1.1", 417),
        ([b"x"], b"HTTP/1.0", None),
    ],
)
def test_the_only_expectation_is_100_continue(expectations: list[bytes], version: bytes, status: int | None) -> None:
    fault = header_fault(Headers({b"host": [b"a"], b"expect": expectations}), version)
    assert (None if fault is None else fault.status) == status


def test_an_expectation_that_cannot_be_met_ends_the_connection() -> None:
    wire = Wire()
    wire.receive(post(b"Expect: the unexpected\r\nContent-Length: 5\r\n") + b"hello" + SMUGGLED)
    assert wire.status == 417
    assert wire.sent.count(b"HTTP/1.1 ") == 1
    assert wire.app.requests == []


def test_the_name_of_a_field_has_a_limit() -> None:
    assert field_fault(b"x" * MAX_FIELD_NAME_BYTES + b": 1") is None
    fault = field_fault(b"x" * (MAX_FIELD_NAME_BYTES + 1) + b": 1")
    assert fault is not None
    assert fault.status == 431


def test_a_content_length_has_a_limit() -> None:
    assert field_fault(b"CONTENT-length: \t " + b"9" * MAX_LENGTH_DIGITS + b" ") is None
    fault = field_fault(b"content-LENGTH:" + b"0" * (MAX_LENGTH_DIGITS + 1))
    assert fault is not None
    assert fault.status == 400
    assert field_fault(b"Content-Location: " + b"9" * 100) is None


def test_a_target_has_a_limit() -> None:
    assert request_line_fault(b"GET /" + b"x" * (MAX_TARGET_BYTES - 1) + b" HTTP/1.1") is None
    fault = request_line_fault(b"GET /" + b"x" * MAX_TARGET_BYTES + b" HTTP/1.1")
    assert fault is not None
    assert fault.status == 414


@pytest.mark.parametrize(
    "target", [b"/", b"//", b"//evil/x", b"/..%2f", b"/%00", b"/%c0%af", b'/"<>^`{|}', b"/?a?b", b"/a:b@c"]
)
def test_what_a_path_means_is_for_others_to_say(target: bytes) -> None:
    assert origin_form(b"GET", target, Headers()) == (target, None)


def test_the_asterisk_is_for_options() -> None:
    assert origin_form(b"OPTIONS", b"*", Headers()) == (b"*", None)


@pytest.mark.parametrize(
    ("values", "closes"),
    [
        ([], False),
        ([b"keep-alive"], False),
        ([b"close"], True),
        ([b"Close"], True),
        ([b"keep-alive,close"], True),
        ([b"keep-alive, close , x"], True),
        ([b"keep-alive", b"close"], True),
        ([b"closed"], False),
    ],
)
def test_close_is_one_option_among_others(values: list[bytes], closes: bool) -> None:
    assert asks_to_close(Headers({b"connection": values})) is closes
