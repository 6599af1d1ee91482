"""An issuer of tokens on a real socket, and a gateway in this process that goes by its tokens."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import treq
from twisted.internet import reactor as _reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from harmonygw.config.loading import load
from harmonygw.service import Gateway, available
from tests.interop.processes import free_port
from tests.interop.stow import BOUNDARY, file_of, multipart
from tests.middleware.authentication.issuer import jwk, private_key, signed

reactor: Any = _reactor

GATEWAY = """
[proxy]
id = "tokens"
drain_timeout_secs = 0

[network.default.http]
bind_address = "127.0.0.1"
bind_port = HTTP_PORT

[pipelines.web]
networks = ["default"]
endpoints = ["dicomweb"]
middleware = MIDDLEWARE
backends = ["archive"]

[endpoints.dicomweb]
service = "dicomweb"
authentication = "issuer"
options = { path_prefix = "/dicom" }

[authentications.issuer]
method = "jwt"

[authentications.issuer.options]
discovery = "openid"
issuer = "ISSUER"
audience = "gateway"
scopes = "smart"

[backends.archive]
service = "storage"
options = { root = "FOLDER" }
"""

MEDIA_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
CALLER = {"sub": "viewer", "aud": "gateway"}


class Issuer(Resource):
    """A server that describes itself and has keys; `pages` may be changed, and what was asked is in `asked`."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.key = private_key("RS256")
        self.asked: list[str] = []
        self._listening = reactor.listenTCP(0, Site(self), interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self._listening.getHost().port}/realm"
        self.pages: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.describe(issuer=self.url, jwks_uri=f"{self.url}/keys")
        self.publish(jwk(self.key, "RS256", kid="1"))

    def describe(self, **members: Any) -> None:
        self.pages["/realm/.well-known/openid-configuration"] = json.dumps(members).encode()

    def publish(self, *keys: dict[str, Any]) -> None:
        self.pages["/realm/keys"] = json.dumps({"keys": keys}).encode()

    def render(self, request: Any) -> bytes:
        path = request.path.decode()
        self.asked.append(path)
        if path in self.moved:
            request.redirect(self.moved[path].encode())
            return b""
        if path not in self.pages:
            request.setResponseCode(404)
            return b""
        request.setHeader("Content-Type", "application/json")
        return self.pages[path]

    def token(self, scope: str, **claims: Any) -> str:
        """Return a token for an hour."""
        now = int(reactor.seconds())
        members = {**CALLER, "iss": self.url, "iat": now, "exp": now + 3600, "scope": scope, **claims}
        return signed(self.key, "RS256", members, kid="1", typ="at+jwt")

    async def stop(self) -> None:
        await self._listening.stopListening()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class TokenHouse:
    """A gateway with an embedded archive behind it, and the issuer whose tokens it takes."""

    def __init__(self, port: int, issuer: Issuer) -> None:
        self.port = port
        self.issuer = issuer

    async def ask(
        self, path: str, token: str = "", method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            fields["Authorization"] = f"Bearer {token}"
        url = f"http://127.0.0.1:{self.port}/dicom{path}"
        response = await treq.request(method, url, headers=fields, data=body, persistent=False, timeout=10)
        found = {name.decode().lower(): values[-1].decode() for name, values in response.headers.getAllRawHeaders()}
        return Answer(response.code, found, await response.content())

    async def store(self, token: str, *data_sets: Any, path: str = "/studies") -> Answer:
        body = multipart(*map(file_of, data_sets))
        return await self.ask(path, token, "POST", body, Content_Type=MEDIA_TYPE)


@asynccontextmanager
async def token_house(
    folder: Path, issuer: Issuer, *, more: str = "", cached: bool = False
) -> AsyncGenerator[TokenHouse, None]:
    """A gateway that runs; `more` are further lines of its authentication's options."""
    port = free_port()
    text = GATEWAY.replace("HTTP_PORT", str(port)).replace("ISSUER", issuer.url).replace("FOLDER", str(folder / "kept"))
    text = text.replace("MIDDLEWARE", '["dicomweb_bridge", "kept_near"]' if cached else '["dicomweb_bridge"]')
    text += f'[middleware.kept_near]\ntype = "cache"\noptions = {{ path = "{folder / "near"}" }}\n' if cached else ""
    main = folder / "config.toml"
    main.write_text(text.replace('scopes = "smart"\n', f'scopes = "smart"\n{more}'), encoding="utf-8")
    one = Gateway(load(main, environ={}, available=available()), reactor)
    one.startService()
    try:
        await one.when_ready()
        yield TokenHouse(port, issuer)
    finally:
        await one.stopService()
        await issuer.stop()
