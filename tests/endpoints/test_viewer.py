"""The viewer endpoint: files of a folder, moved below a prefix on their way out, and the settings beside them."""

import gzip
import json
import os
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from harmonygw.config.loading import load
from harmonygw.endpoints import viewer
from harmonygw.endpoints.viewer import ViewerEndpoint
from harmonygw.errors import ConfigurationError, Denied
from harmonygw.exchange import AssociationOrigin, Reply, Request
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import PrefixTree
from harmonygw.pipeline import EndpointContext, Proceed, Respond, chain
from harmonygw.service import Gateway, available
from tests.endpoints.dicomweb_service import Answered, answered

PAGE = (
    b'<html><head><link href="/app.css"><link href="//elsewhere/x.css"><script>window.PUBLIC_URL="/"</script>'
    b'<script src="/app.js"></script></head><body><a href="https://ohif.org/">about</a></body></html>'
)
SCRIPT = b'(()=>{__webpack_require__.p = "/";r.p="";n.p="/",load(n.p+"1.js"),fetch("/other")})();'
STYLE = (
    b"@font-face{src:url(/font.woff2)}a{background:url('/a.png')}b{background:url(//c/d.png)}i{background:url(e.png)}"
)
MANIFEST = b'{"start_url": "/", "icons": [{"src": "/assets/icon.png"}], "other": "/x"}'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    for name, content in {
        "index.html": PAGE,
        "app.js": SCRIPT,
        "app.css": STYLE,
        "manifest.json": MANIFEST,
        "app.bundle.0f61.WASM": b"\0asm",
        "assets/icon.svg": b"<svg/>",
        "LICENSE.weird": b"?",
        ".secret": b"no",
        "empty.js": b"",
    }.items():
        (folder / name).write_bytes(content)
    (tmp_path / "outside.js").write_bytes(b"no")
    (folder / "link.js").symlink_to(tmp_path / "outside.js")
    return folder


class Served:
    """A viewer below `/viewer`, on a site of its own."""

    def __init__(self, root: Path, prefix: str = "/viewer", *, mounted: str | None = None, **options: Any) -> None:
        settings = {"path_prefix": prefix, "root": str(root), "dicomweb_prefix": "/dicom", "public_url": None}
        around = options.pop("around", lambda respond: chain((), respond))
        context = EndpointContext(
            SimpleNamespace(options=SimpleNamespace(**{**settings, **options})),
            chain((), _nobody),
            SimpleNamespace(),  # type: ignore[arg-type]
            Clock(),
            around=around,
        )
        self.endpoint = ViewerEndpoint(context)
        tree = PrefixTree()
        tree.put(prefix if mounted is None else mounted, self.endpoint.resource())
        self._site = HTTPSite(tree, reactor=Clock())

    def ask(self, path: str = "/viewer", method: str = "GET", **fields: str) -> Answered:
        return _asked(self._site, path, method, **fields)

    def settings(self, path: str = "/viewer/app-config.js") -> tuple[dict[str, Any], str]:
        """OHIF's settings, and the path of the three roots."""
        script = self.ask(path).body.decode()
        document = re.fullmatch(
            r"window\.config = (\{.*\n\});\n\{\n  const root = window\.location\.origin \+ (\"[^\"]*\");\n.*\}\n",
            script,
            re.DOTALL,
        )
        assert document is not None
        return json.loads(document[1]), json.loads(document[2])


def _asked(site: HTTPSite, path: str, method: str = "GET", **fields: str) -> Answered:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: gateway.example", "Connection: close", *lines, "", ""])
    channel = site.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(head.encode())
    return answered(transport.value())


async def _nobody(request: Request) -> Reply:
    raise AssertionError


def test_the_page_and_what_it_loads_are_moved_below_the_prefix(root: Path) -> None:
    served = Served(root)
    assert served.ask().body == (
        b'<html><head><link href="/viewer/app.css"><link href="//elsewhere/x.css">'
        b'<script>window.PUBLIC_URL="/viewer/"</script><script src="/viewer/app.js"></script></head>'
        b'<body><a href="https://ohif.org/">about</a></body></html>'
    )
    assert served.ask("/viewer/app.js").body == (
        b'(()=>{__webpack_require__.p = "/viewer/";r.p="";n.p="/viewer/",load(n.p+"1.js"),fetch("/other")})();'
    )
    assert served.ask("/viewer/app.css").body == (
        b"@font-face{src:url(/viewer/font.woff2)}a{background:url('/viewer/a.png')}"
        b"b{background:url(//c/d.png)}i{background:url(e.png)}"
    )
    assert json.loads(served.ask("/viewer/manifest.json").body) == {
        "start_url": "/viewer/",
        "icons": [{"src": "/viewer/assets/icon.png"}],
        "other": "/x",
    }


@pytest.mark.parametrize(("prefix", "path"), [("", "/"), ("/a/b", "/a/b/")])
def test_the_prefix_may_be_any(root: Path, prefix: str, path: str) -> None:
    served = Served(root, prefix)
    assert f'<script src="{path}app.js">'.encode() in served.ask(path).body
    assert f'n.p="{path}",'.encode() in served.ask(f"{path}app.js").body
    settings, dicomweb = served.settings(f"{path}app-config.js")
    assert (settings["routerBasename"], dicomweb) == (prefix or "/", "/dicom")


def test_what_stands_before_the_prefix_stands_before_the_service_too(root: Path) -> None:
    """A gateway in somebody else's site, or behind a proxy that adds a path."""
    inside = Served(root, mounted="/imaging/viewer")
    settings, dicomweb = inside.settings("/imaging/viewer/app-config.js")
    assert (settings["routerBasename"], dicomweb) == ("/imaging/viewer", "/imaging/dicom")
    behind = Served(root, public_url="https://hospital.example/pacs/viewer")
    settings, dicomweb = behind.settings()
    assert (settings["routerBasename"], dicomweb) == ("/pacs/viewer", "/pacs/dicom")
    assert b'src="/pacs/viewer/app.js"' in behind.ask().body
    renamed = Served(root, public_url="https://hospital.example/images")
    settings, dicomweb = renamed.settings()
    assert (settings["routerBasename"], dicomweb) == ("/images", "/dicom")


def test_what_was_built_for_another_path_is_left_as_it_is(root: Path) -> None:
    (root / "index.html").write_bytes(PAGE.replace(b'PUBLIC_URL="/"', b'PUBLIC_URL="/images/"'))
    served = Served(root, "/images")
    assert b'<script src="/app.js">' in served.ask("/images").body
    assert served.ask("/images/app.js").body == SCRIPT


def test_what_says_no_public_path_is_moved(root: Path) -> None:
    (root / "index.html").write_bytes(b'<script src="/app.js"></script>')
    assert Served(root).ask().body == b'<script src="/viewer/app.js"></script>'


def test_the_settings_lead_to_the_service_on_the_browsers_own_origin(root: Path) -> None:
    served = Served(root)
    answer = served.ask("/viewer/app-config.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert b"gateway.example" not in answer.body
    settings, dicomweb = served.settings()
    assert dicomweb == "/dicom"
    [source] = settings["dataSources"]
    assert source["sourceName"] == settings["defaultDataSourceName"]
    assert source["configuration"]["imageRendering"] == "wadors"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/app.css", "text/css; charset=utf-8"),
        ("/manifest.json", "application/json"),
        ("/app.bundle.0f61.WASM", "application/wasm"),
        ("/assets/icon.svg", "image/svg+xml"),
        ("/LICENSE.weird", "application/octet-stream"),
    ],
)
def test_each_file_has_its_type_and_what_isolates_it(root: Path, path: str, media_type: str) -> None:
    answer = Served(root).ask(f"/viewer{path}")
    assert answer.status == 200
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    assert answer.headers["cache-control"] == "no-cache"
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_the_pages_own_scripts_are_allowed_by_their_hashes_and_no_other(root: Path) -> None:
    policy = Served(root).ask().headers["content-security-policy"]
    digest = b64encode(sha256(b'window.PUBLIC_URL="/viewer/"').digest()).decode()
    assert f"script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}';" in policy
    assert "frame-ancestors 'self'" in policy
    assert "default-src 'self'" in policy


def test_another_page_has_a_policy_of_its_own_scripts(root: Path) -> None:
    (root / "silent-refresh.html").write_bytes(b"<script>renew()</script>")
    (root / "huge.html").write_bytes(b"<script>renew()</script>" + b" " * viewer.MAX_PAGE_BYTES)
    digest = b64encode(sha256(b"renew()").digest()).decode()
    served = Served(root)
    policy = served.ask("/viewer/silent-refresh.html").headers["content-security-policy"]
    assert f"script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}';" in policy
    assert "sha256" not in served.ask("/viewer/huge.html").headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("app.js", "default-src 'self' data: blob: 'unsafe-eval'"),
        ("assets/icon.svg", "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"),
    ],
)
def test_a_worker_may_ask_its_own_origin_and_a_picture_runs_nothing(root: Path, path: str, policy: str) -> None:
    assert Served(root).ask(f"/viewer/{path}").headers["content-security-policy"] == policy


@pytest.mark.parametrize("path", ["/", "/viewer?StudyInstanceUIDs=1.2", "/viewer/dicomweb", "/local", "/app.js/x"])
def test_a_route_of_the_application_is_the_page(root: Path, path: str) -> None:
    served = Served(root)
    assert served.ask(f"/viewer{path}").body == served.ask("/viewer").body


@pytest.mark.parametrize(
    "path",
    [
        "/missing.js",
        "/../outside.js",
        "/%2e%2e/outside.js",
        "/..%2foutside.js",
        "/assets/..%5C..%5Coutside.js",
        "/link.js",
        "/.secret",
        "/app.js%00",
        "/assets/.",
        "/" + "x" * 300,
    ],
)
def test_what_is_not_in_the_folder_is_not_found(root: Path, path: str) -> None:
    answer = Served(root).ask(f"/viewer{path}")
    assert answer.status == 404
    assert answer.problem["detail"] == "There is no such file of the viewer."


def test_a_path_that_is_not_utf_8_is_a_bad_request(root: Path) -> None:
    assert Served(root).ask("/viewer/%ff.js").status == 400


def test_a_folder_is_no_file(root: Path) -> None:
    assert b"<html>" in Served(root).ask("/viewer/assets/").body


@pytest.mark.parametrize("path", ["/viewer", "/viewer/app.js", "/viewer/app-config.js"])
def test_what_the_browser_has_is_not_sent_again(root: Path, path: str) -> None:
    served = Served(root)
    etag = served.ask(path).headers["etag"]
    answer = served.ask(path, If_None_Match=f'"other", {etag}')
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
    assert served.ask(path, If_None_Match='"other"').status == 200


def test_another_content_of_the_same_date_and_length_has_another_tag(root: Path) -> None:
    """A package's files all have the date of 1985."""
    served = Served(root)
    os.utime(root / "app.js", (0, 0))
    before = served.ask("/viewer/app.js").headers["etag"]
    (root / "new.js").write_bytes(SCRIPT.replace(b"1.js", b"2.js"))
    os.utime(root / "new.js", (0, 0))
    (root / "new.js").rename(root / "app.js")
    answer = served.ask("/viewer/app.js", If_None_Match=before)
    assert answer.status == 200
    assert b"2.js" in answer.body


def test_another_prefix_has_another_tag(root: Path) -> None:
    tags = [Served(root, public_url=url).ask("/viewer/app.js").headers["etag"] for url in (None, "http://h/other")]
    assert len(set(tags)) == 2


def test_a_date_counts_when_there_is_no_tag(root: Path) -> None:
    served = Served(root)
    modified = served.ask("/viewer/app.js").headers["last-modified"]
    assert served.ask("/viewer/app.js", If_Modified_Since=modified).status == 304
    assert served.ask("/viewer/app.js", If_Modified_Since="Sat, 26 Oct 1985 08:15:00 GMT").status == 200
    assert served.ask("/viewer/app.js", If_Modified_Since="yesterday").status == 200
    assert served.ask("/viewer/app.js", If_Modified_Since=modified, If_None_Match='"x"').status == 200


@pytest.mark.parametrize("path", ["/viewer", "/viewer/app.js"])
def test_head_has_the_header_alone(root: Path, path: str) -> None:
    served = Served(root)
    answer, whole = served.ask(path, "HEAD"), served.ask(path)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(whole.body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_can_only_be_read(root: Path, method: str) -> None:
    answer = Served(root).ask("/viewer/app.js", method)
    assert answer.problem["status"] == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


def test_options_says_so(root: Path) -> None:
    answer = Served(root).ask("/viewer/app.js", "OPTIONS")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_file_goes_out_in_bounded_pieces_with_the_path_where_it_belongs(
    root: Path, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    monkeypatch.setattr(viewer, "PIECE_BYTES", 64)
    name = b'a.p="/"'
    content = b"x" * (64 + extra - 5) + name + b"y" * 64 + name
    (root / "long.js").write_bytes(content)
    assert Served(root).ask("/viewer/long.js").body == content.replace(b'"/"', b'"/viewer/"')


def test_a_file_that_became_shorter_on_its_way_looks_broken_off(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Served(root).endpoint._look_at((root / "app.js").resolve())
    (root / "app.js").write_bytes(b"x")
    monkeypatch.setattr(ViewerEndpoint, "_look_at", lambda self, path: found)
    answer = Served(root).ask("/viewer/app.js")
    assert len(answer.body) < int(answer.headers["content-length"])


def test_an_empty_file_is_served(root: Path) -> None:
    answer = Served(root).ask("/viewer/empty.js")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_scripts_are_compressed_for_who_takes_that(root: Path) -> None:
    content = b'n.p="/";' + b"x" * 5000
    (root / "big.js").write_bytes(content)
    answer = Served(root).ask("/viewer/big.js", Accept_Encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == content.replace(b'"/"', b'"/viewer/"')


def test_no_more_files_are_remembered_than_the_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "MAX_KNOWN_FILES", 2)
    served = Served(root)
    for name in ("app.js", "app.css", "app.js"):
        served.ask(f"/viewer/{name}")
    assert len(served.endpoint._known) == 2
    served.ask("/viewer/manifest.json")
    assert list(served.endpoint._known) == [root / "manifest.json"]


def test_a_folder_without_a_page_is_no_viewer(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'options\.root: there is no index\.html in "'):
        Served(tmp_path)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_page_is_as_long_as_a_page_may_be(root: Path, monkeypatch: pytest.MonkeyPatch, extra: int) -> None:
    monkeypatch.setattr(viewer, "MAX_PAGE_BYTES", len(PAGE) - extra)
    if extra:
        with pytest.raises(ConfigurationError, match=r"its index\.html is larger than"):
            Served(root)
    else:
        assert Served(root).ask().status == 200


def test_the_middleware_of_its_pipeline_stands_before_the_files(root: Path) -> None:
    class Refusing:
        async def intercept(self, request: Request, proceed: Proceed) -> Reply:
            raise Denied("no")

    def around(respond: Respond) -> Proceed:
        return chain([Refusing()], respond)

    served = Served(root, around=around)
    assert [served.ask(path).status for path in ("/viewer", "/viewer/app.js")] == [403, 403]


CONFIGURATION = """
[proxy]
id = "gateway"

[network.default.http]
bind_address = "127.0.0.1"
bind_port = 0

[pipelines.viewer]
networks = ["default"]
endpoints = ["ohif"]
middleware = ["here"]

[endpoints.ohif]
service = "viewer"
options = { root = "ROOT" }

[middleware.here]
type = "policies"
options = { policies = ["here"] }

[policies.here]
rules = ["files"]

[rules.files]
type = "path"
options = { mode = "allow", paths = ["/app.js"] }
"""


def test_in_a_gateway_it_needs_no_backend_and_its_policies_hold(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CONFIGURATION.replace("ROOT", str(root)), encoding="utf-8")
    gateway = Gateway(load(path, environ={}, available=available()), Clock())
    site = HTTPSite(gateway.resource("default"), reactor=Clock())
    assert _asked(site, "/viewer/app.js").status == 200
    assert _asked(site, "/viewer/app.css").status == 403


@ensureDeferred
async def test_it_answers_http_alone(root: Path) -> None:
    endpoint = Served(root).endpoint
    with pytest.raises(viewer.NotFound, match="over HTTP"):
        await endpoint.respond(Request(AssociationOrigin("A", "B"), "127.0.0.1", "id"))
