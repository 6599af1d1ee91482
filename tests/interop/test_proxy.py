"""A web server behind the gateway: every byte that goes out to it, and every byte that comes back to a client."""

import re
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.net.http.client.passing import PSEUDONYM
from tests.interop.web_server import OK, Peer, Proxy, WebServer, good

pytestmark = pytest.mark.interop


def via(text: str) -> bytes:
    return text.replace("VIA", f"1.1 {PSEUDONYM}").encode()


@ensureDeferred
async def test_a_request_goes_out_with_what_is_meant_for_the_server_alone(tmp_path: Path) -> None:
    server = WebServer()
    async with Proxy(tmp_path, server, service="http") as proxy:
        reply = await proxy.ask(
            "/dicom/studies//1.2/series?b=%2B1&a=x,y&b=&%C3%BC=%0d%0aX:%20y",
            "Accept: application/dicom+json",
            "Accept-Encoding: gzip, br",
            "Range: bytes=0-1",
            "Cookie: a=1",
            "Authorization: Bearer client",
            "TE: trailers",
            "Upgrade: websocket",
            "X-Named: 1",
            "Connection: X-Named, close",
            "Proxy-Authorization: Basic x",
            "Forwarded: for=10.0.0.1",
            "X-Forwarded-For: 10.0.0.1",
            "X-Real-IP: 10.0.0.1",
            "X-Rewrite-Url: /admin",
            "Via: 1.0 fred",
            "Expect: 100-continue",
        )
        assert (reply.status, reply.content) == (200, b"good")
        assert server.requests[0] == via(
            "GET /base/studies/1.2/series?b=%2B1&a=x,y&b=&%C3%BC=%0D%0AX:%20y HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{server.port}\r\n"
            "accept: application/dicom+json\r\n"
            "accept-encoding: gzip, br\r\n"
            "range: bytes=0-1\r\n"
            "cookie: a=1\r\n"
            "authorization: Bearer client\r\n"
            "Via: 1.0 fred, VIA\r\n"
            "Forwarded: for=127.0.0.1;host=gateway;proto=http\r\n"
            "X-Forwarded-For: 127.0.0.1\r\n"
            "X-Forwarded-Host: gateway\r\n"
            "X-Forwarded-Proto: http\r\n"
            "\r\n"
        )
        line = await proxy.logged()
        assert (line["operation"], line["target"], line["outcome"]) == ("Pass on", "server", "complete")


@ensureDeferred
async def test_a_response_comes_back_with_what_is_meant_for_the_client_alone(tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        await peer.request()
        peer.send(
            b"HTTP/1.1 203 Whatever\r\nServer: secret/1.0\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nAlt-Svc: clear\r\n"
            b"Strict-Transport-Security: max-age=1\r\nConnection: X-Named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\n"
            b'Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nETag: "x"\r\nX-Mine: 1\r\nContent-Encoding: br\r\n'
            b"Content-Type: application/dicom+json\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"
        )

    server = WebServer(answer)
    async with Proxy(tmp_path, server, service="http") as proxy:
        reply = await proxy.ask()
        assert (reply.content, reply.whole) == (b"abc", True)
        head = reply.raw.partition(b"\r\n\r\n")[0]
        head = re.sub(rb"(?i)date: [^\r]*", b"Date: now", head)
        assert head == via(
            "HTTP/1.1 203 Non-Authoritative Information\r\n"
            "Date: now\r\n"
            "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
            'ETag: "x"\r\n'
            "X-Mine: 1\r\n"
            "Content-Encoding: br\r\n"
            "Content-Type: application/dicom+json\r\n"
            "Via: VIA\r\n"
            "Connection: close\r\n"
            "Transfer-Encoding: chunked"
        )


@ensureDeferred
@pytest.mark.parametrize(
    ("service", "sent", "received"),
    [
        ("http", "Location: BASE/studies/1", "OURS/studies/1"),
        ("http", "Location: /base/studies?x=1", "/dicom/studies?x=1"),
        ("http", "Location: /base", "/dicom"),
        ("http", "Location: /basement", "/basement"),
        ("http", "Location: //evil.example/base/x", "//evil.example/base/x"),
        ("http", "Location: https://elsewhere.example/base/x", "https://elsewhere.example/base/x"),
        ("http", "Location: http://gateway/base/studies/1", "OURS/studies/1"),
        ("dicomweb", "Content-Location: BASE/studies/1", "OURS/studies/1"),
        ("dicomweb", "Content-Location: studies/1", "studies/1"),
    ],
)
async def test_redirects_are_passed_on_and_lead_back_to_us(
    service: str, sent: str, received: str, tmp_path: Path
) -> None:
    async def answer(peer: Peer) -> None:
        await peer.request()
        field = sent.replace("BASE", f"http://127.0.0.1:{server.port}/base")
        peer.send(f"HTTP/1.1 307 Moved\r\n{field}\r\nContent-Length: 0\r\n\r\n".encode())

    server = WebServer(answer)
    async with Proxy(tmp_path, server, service=service) as proxy:
        reply = await proxy.ask()
        name = sent.partition(":")[0].lower()
        assert (reply.status, reply.headers[name]) == (307, received.replace("OURS", "http://gateway/dicom"))
        assert len(server.requests) == 1


@ensureDeferred
@pytest.mark.parametrize("status", [200, 206, 401, 403, 404, 429, 500, 503])
async def test_a_servers_statuses_are_passed_on(status: int, tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        await peer.request()
        fields = "Retry-After: 7\r\nWWW-Authenticate: Basic\r\nContent-Length: 2"
        peer.send(f"HTTP/1.1 {status} X\r\n{fields}\r\n\r\nhm".encode())

    async with Proxy(tmp_path, WebServer(answer)) as proxy:
        reply = await proxy.ask()
        assert (reply.status, reply.content) == (status, b"hm")
        assert (reply.headers["retry-after"], reply.headers["www-authenticate"]) == ("7", "Basic")


@ensureDeferred
async def test_head_and_not_modified_have_no_body(tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        assert (await peer.request()).startswith(b"HEAD")
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 700\r\n\r\n")
        assert b'if-none-match: "x"' in await peer.request()
        peer.send(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n')

    async with Proxy(tmp_path, WebServer(answer)) as proxy:
        client = await proxy.send("HEAD /dicom/studies HTTP/1.1", "Host: gateway")
        await client.ended
        head, _, rest = bytes(client.received).partition(b"\r\n\r\n")
        assert b"\r\nContent-Length: 700" in head
        assert rest == b""
        client = await proxy.send("GET /dicom/studies HTTP/1.1", "Host: gateway", 'If-None-Match: "x"')
        await client.ended
        assert client.received.startswith(b"HTTP/1.1 304 Not Modified\r\n")
        assert client.received.endswith(b"\r\n\r\n")


@ensureDeferred
async def test_a_message_that_goes_round_is_stopped(tmp_path: Path) -> None:
    server = WebServer()
    async with Proxy(tmp_path, server) as proxy:
        reply = await proxy.ask("/dicom/studies", f"Via: 1.1 {PSEUDONYM}")
        assert reply.status == 400
        assert "circle" in reply.problem["detail"]
        assert server.requests == []


@ensureDeferred
@pytest.mark.parametrize("path", ["%2e%2e", "..", "..%2Fadmin", "a%2Fb", "a%5Cb", "a%00b", "a%0d%0ab", "%2e"])
async def test_a_path_that_leads_elsewhere_is_refused(path: str, tmp_path: Path) -> None:
    server = WebServer()
    async with Proxy(tmp_path, server) as proxy:
        reply = await proxy.ask(f"/dicom/studies/{path}")
        assert reply.status in (400, 404)
        assert server.requests == []


@ensureDeferred
async def test_credentials_of_ours_take_the_place_of_the_clients_and_challenges_stay_here(tmp_path: Path) -> None:
    async def answer(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok")

    server = WebServer(answer)
    headers = {"X-Api": "1", "Accept": "x/y", "Host": "virtual"}
    async with Proxy(tmp_path, server, headers=headers, pass_credentials=False) as proxy:
        reply = await proxy.ask("/dicom/studies", "Authorization: Bearer client", "Cookie: c=1", "Accept: a/b")
        assert (reply.status, reply.content) == (200, b"ok")
        assert "set-cookie" not in reply.headers
        assert "www-authenticate" not in reply.headers
        assert b"uthorization" not in server.requests[0]
        assert b"ookie" not in server.requests[0]
        assert server.requests[0].startswith(b"GET /base/studies HTTP/1.1\r\nHost: virtual\r\n")
        assert server.requests[0].endswith(b"\r\nX-Api: 1\r\nAccept: x/y\r\n\r\n")
        assert b"a/b" not in server.requests[0]
        assert server.requests[0].count(b"\r\nHost: ") == 1


@ensureDeferred
async def test_links_of_the_servers_own_lead_to_it_and_other_methods_there_do_not(tmp_path: Path) -> None:
    server = WebServer()
    async with Proxy(tmp_path, server) as proxy:
        assert (await proxy.ask("/dicom/studies/1.2/bulk/7fe00010")).status == 200
        assert server.requests[0].startswith(b"GET /base/studies/1.2/bulk/7fe00010 HTTP/1.1\r\n")
        for method in ("PUT", "POST", "DELETE"):
            assert (await proxy.ask("/dicom/studies/1.2/bulk/7fe00010", method=method)).status == 404
        assert len(server.requests) == 1


@ensureDeferred
async def test_a_connection_is_kept_between_requests(tmp_path: Path) -> None:
    server = WebServer(good)
    async with Proxy(tmp_path, server) as proxy:
        for _ in range(3):
            assert (await proxy.ask()).content == b"good"
        assert len(server.peers) == 1
        assert proxy.target["idle_connections"] == 1
        assert OK.endswith(b"good")
