"""Tokens of an issuer that says itself where its keys are, over real HTTP."""

from pathlib import Path

from pytest_twisted import ensureDeferred

from tests.interop.embedded import image
from tests.interop.token_issuer import Issuer, token_house
from tests.middleware.authentication.issuer import jwk, private_key

DESCRIPTION, KEYS = "/realm/.well-known/openid-configuration", "/realm/keys"
BY_URI = "/?requestType=WADO&studyUID=1.2&seriesUID=1.2.3&objectUID=1.2.3.1&contentType=application/dicom"
CHALLENGE = 'Bearer realm="harmonygw"'


@ensureDeferred
async def test_a_scope_lets_do_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    issuer = Issuer()
    async with token_house(tmp_path, issuer) as house:
        stores, searches = issuer.token("user/ImagingStudy.c"), issuer.token("openid user/ImagingStudy.s")
        reads = issuer.token("user/*.read")
        stored = await house.store(stores, image(1), image(2))
        assert stored.status == 200, stored.content
        assert len(stored.json["00081199"]["Value"]) == 2
        for token in (searches, reads):
            found = await house.ask("/studies?PatientID=P1", token)
            assert [row["0020000D"]["Value"] for row in found.json] == [["1.2"]]
        assert (await house.ask("/studies/1.2", reads)).status == 200
        assert (await house.ask("/studies/1.2/metadata", reads)).status == 200
        for path, token, wanted in (
            ("/studies", stores, "patient/ImagingStudy.s"),
            ("/studies/1.2", searches, "patient/ImagingStudy.r"),
            ("/studies/1.2/series/1.2.3/instances/1.2.3.1/frames/1", searches, "patient/ImagingStudy.r"),
            (BY_URI, searches, "patient/ImagingStudy.r"),
        ):
            refused = await house.ask(path, token)
            assert refused.status == 403
            assert refused.headers["www-authenticate"] == f'{CHALLENGE}, error="insufficient_scope", scope="{wanted}"'
            assert refused.json["detail"] == "The request is not allowed."
        assert (await house.ask(BY_URI, searches, "OPTIONS")).status == 403
        refused = await house.store(reads, image(3))
        assert (refused.status, 'scope="patient/ImagingStudy.c"' in refused.headers["www-authenticate"]) == (403, True)
        assert len((await house.ask("/instances", reads)).json) == 2
    assert issuer.asked == [DESCRIPTION, KEYS]


@ensureDeferred
async def test_what_needs_no_scope_needs_a_token_all_the_same(tmp_path: Path) -> None:
    issuer = Issuer()
    async with token_house(tmp_path, issuer) as house:
        assert (await house.ask("/", issuer.token(""))).status == 200
        assert "GET" in (await house.ask("/", issuer.token(""), "OPTIONS")).headers["allow"]
        assert (await house.ask("/studies", issuer.token(""), "OPTIONS")).status == 204
        refused = await house.ask("/")
        assert (refused.status, refused.headers["www-authenticate"]) == (401, CHALLENGE)


@ensureDeferred
async def test_whoever_is_not_the_issuer_gets_nowhere(tmp_path: Path) -> None:
    issuer = Issuer()
    async with token_house(tmp_path, issuer) as house:
        for claims in ({"iss": f"{issuer.url}/"}, {"iss": "https://evil.example"}, {"aud": "other"}, {"exp": 1}):
            refused = await house.ask("/studies", issuer.token("user/*.rs", **claims))
            assert (refused.status, refused.headers["www-authenticate"]) == (401, f'{CHALLENGE}, error="invalid_token"')
        issuer.key = private_key("RS256", 1)
        assert (await house.ask("/studies", issuer.token("user/*.rs"))).status == 401
        assert issuer.asked.count(KEYS) == 1


@ensureDeferred
async def test_a_description_of_another_issuer_leaves_no_keys(tmp_path: Path) -> None:
    issuer = Issuer()
    issuer.describe(issuer=f"{issuer.url}/", jwks_uri=f"{issuer.url}/keys")
    async with token_house(tmp_path, issuer) as house:
        assert (await house.ask("/studies", issuer.token("user/*.rs"))).status == 502
    assert KEYS not in issuer.asked


@ensureDeferred
async def test_no_redirection_is_followed_and_no_endless_document_read(tmp_path: Path) -> None:
    for number, page in enumerate((DESCRIPTION, KEYS)):
        issuer = Issuer()
        issuer.moved[page] = f"{issuer.url}/elsewhere"
        issuer.pages["/realm/elsewhere"] = issuer.pages[page]
        folder = tmp_path / str(number)
        folder.mkdir()
        async with token_house(folder, issuer) as house:
            assert (await house.ask("/studies", issuer.token("user/*.rs"))).status == 502
        assert "/realm/elsewhere" not in issuer.asked
        issuer = Issuer()
        issuer.pages[page] = b" " * 262_145 + issuer.pages[page]
        async with token_house(folder, issuer) as house:
            assert (await house.ask("/studies", issuer.token("user/*.rs"))).status == 502


@ensureDeferred
async def test_algorithms_of_the_description_narrow(tmp_path: Path) -> None:
    issuer = Issuer()
    more = {"id_token_signing_alg_values_supported": ["PS256"]}
    issuer.describe(issuer=issuer.url, jwks_uri=f"{issuer.url}/keys", **more)
    issuer.publish(jwk(issuer.key, "RS256", kid="1"))
    async with token_house(tmp_path, issuer) as house:
        assert (await house.ask("/studies", issuer.token("user/*.rs"))).status == 401
