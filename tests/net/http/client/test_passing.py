"""What of a header passes a proxy."""

from harmonygw.net.http.client.passing import PSEUDONYM, end_to_end, has_passed, with_via


def test_the_fields_of_one_connection_stay_behind() -> None:
    fields = (
        ("Accept", "a"),
        ("Connection", "close, X-Mine"),
        ("connection", "Keep-Alive"),
        ("Keep-Alive", "timeout=5"),
        ("X-Mine", "1"),
        ("Proxy-Authorization", "Basic x"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Connection", "close"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("HTTP2-Settings", "x"),
        ("Content-Length", "5"),
        ("Expect", "100-continue"),
        ("Host", "h"),
        ("X-Other", "2"),
    )
    assert end_to_end(fields) == (("Accept", "a"), ("X-Other", "2"))


def test_via_grows_by_us_and_shows_where_a_message_was() -> None:
    once = with_via((("A", "b"),))
    assert once == (("A", "b"), ("Via", f"1.1 {PSEUDONYM}"))
    assert with_via((("via", "1.0 fred"), ("A", "b"))) == (("A", "b"), ("Via", f"1.0 fred, 1.1 {PSEUDONYM}"))
    assert has_passed(once)
    assert not has_passed((("Via", "1.1 harmonygw-0"),))
    assert not has_passed((("X", PSEUDONYM),))
