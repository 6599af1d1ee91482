"""`[authorizations]`: who is named, by what attributes, and what is refused."""

import pytest

from harmonygw.config.authorizations import Authorization, name_pattern, tag_of_key
from harmonygw.errors import ConfigurationError
from tests.config.conftest import Configure, Problems

BASE = """
[proxy]
id = "gateway"
[network.default.http]
bind_address = "127.0.0.1"
[pipelines.web]
networks = ["default"]
endpoints = ["web"]
middleware = MIDDLEWARE
backends = ["archive"]
[endpoints.web]
service = "dicomweb"
[backends.archive]
service = "storage"
[middleware.kept]
type = "cache"
[middleware.users]
type = "basic_auth"
options = { username = "a", password = "b" }
[middleware.tokens]
type = "token_auth"
authentication = "tokens"
[authentications.tokens]
method = "bearer"
options = { token = "0123456789abcdef0123456789abcdef" }
"""


def with_middleware(middleware: str, rest: str = "") -> str:
    return BASE.replace("MIDDLEWARE", middleware) + rest


PLAIN = with_middleware('["users", "dicomweb_bridge", "kept"]')


def test_a_table_says_who_may_see_what(configure: Configure) -> None:
    text = """
    [authorizations.wards]
    principals = ["anna", "lab-*", "*"]
    ae_titles = [" CT1 "]
    keys = { InstitutionName = ["St Elsewhere"], Modality = ["US", "CT"], 00100021 = [], "0008103e" = ["x"] }
    pipelines = ["web"]
    [authorizations.nobody]
    principals = ["x"]
    enabled = false
    """
    tables = configure(PLAIN + text.replace('"0008103e" = ["x"]', '"0008103e" = ["x"]')).authorizations
    table = tables["wards"]
    assert (table.principals, table.ae_titles) == (("anna", "lab-*", "*"), ("CT1",))
    assert table.values_by_tag == {
        "00080080": ("St Elsewhere",),
        "00080060": ("US", "CT"),
        "00100021": (),
        "0008103E": ("x",),
    }
    assert table.applies_to("web")
    assert not table.applies_to("other")
    assert not tables["nobody"].applies_to("web")
    assert Authorization(("x",)).applies_to("any")
    assert dict(Authorization(("x",)).values_by_tag) == {}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("", 'authorizations.x: names nobody: give "principals" or "ae_titles"'),
        ('principals = ["a*b"]', "authorizations.x.principals[0]: 'a*b' is not a name"),
        ('principals = [" "]', "authorizations.x.principals[0]: ' ' is not a name"),
        ('principals = ["a"]\npipelines = ["wep"]', 'there is no pipeline "wep"; did you mean "web"?'),
        (
            'principals = ["a"]\nkeys = { InstitutionNam = ["x"] }',
            'keys: "InstitutionNam" is neither the keyword nor the tag of an attribute; did you mean "Institution'
            'Name"?',
        ),
        ('principals = ["a"]\nkeys = { q0 = ["x"] }', 'keys: "q0" is neither the keyword nor the tag of an attribute'),
        (
            'principals = ["a"]\nkeys = { ModalitiesInStudy = ["x"] }',
            'keys: "ModalitiesInStudy" is not an attribute with one value that is short text; name "Modality" instead',
        ),
        ('principals = ["a"]\nkeys = { Rows = ["1"] }', 'keys: "Rows" is not an attribute with one value'),
        ('principals = ["a"]\nkeys = { ImageType = ["ORIGINAL"] }', 'keys: "ImageType" is not an attribute with one'),
        ('principals = ["a"]\nkeys = { "00091001" = ["1"] }', 'keys: "00091001" is not an attribute with one value'),
        ('principals = ["a"]\nkeys = { QueryRetrieveLevel = ["1"] }', 'keys: "QueryRetrieveLevel" says nothing of'),
        ('principals = ["a"]\nkeys = { TransferSyntaxUID = ["1"] }', 'keys: "TransferSyntaxUID" says nothing of'),
        (
            'principals = ["a"]\nkeys = { PatientID = ["1"], "00100020" = ["2"] }',
            'keys: "00100020" is "PatientID" too; name it once',
        ),
        ('principals = ["a"]\nkeys = { PatientID = ["a\\\\b"] }', "keys: \"PatientID\": 'a\\\\b' is not one value"),
        ('principals = ["a"]\nkeys = { PatientID = ["a", " "] }', "keys: \"PatientID\": ' ' is not one value"),
        ('principals = ["a"]\nkeys = { PatientID = "a" }', "must be a list"),
        ('principal = ["a"]', 'unknown key; did you mean "principals"?'),
    ],
)
def test_what_cannot_be_kept_to_is_refused(problems: Problems, table: str, problem: str) -> None:
    found = problems(f"{PLAIN}\n[authorizations.x]\n{table}")
    assert any(problem in one for one in found), found
    assert all("config.toml:" in one for one in found)


@pytest.mark.parametrize("name", ["a", "*", "lab-*", " a "])
def test_a_name_is_a_name_or_the_beginning_of_some(name: str) -> None:
    assert name_pattern(name) == name.strip()


def test_a_key_is_a_keyword_or_a_tag() -> None:
    assert [tag_of_key(one) for one in ("PatientID", "00100020", "0008103E")] == ["00100020", "00100020", "0008103E"]
    with pytest.raises(ConfigurationError):
        tag_of_key("0010002")


@pytest.mark.parametrize(
    ("middleware", "late"),
    [
        ('["users", "dicomweb_bridge", "kept"]', None),
        ('["dicomweb_bridge", "kept"]', None),
        ('["dicomweb_bridge", "users"]', "dicomweb_bridge users"),
        ('["dicomweb_bridge", "kept", "users"]', "dicomweb_bridge users"),
        ('["users", "kept", "dicomweb_bridge", "tokens"]', "kept tokens"),
        (
            '{ left = ["kept", "users", "dicomweb_bridge"], right = ["kept", "dicomweb_bridge"] }',
            "dicomweb_bridge users",
        ),
        ('{ left = ["users", "dicomweb_bridge", "kept"], right = ["kept", "dicomweb_bridge", "users"] }', None),
        ('["dicomweb_bridge", "kept", "nowhere"]', None),
    ],
)
def test_nobody_is_authenticated_behind_what_keeps_answers(
    configure: Configure, problems: Problems, middleware: str, late: str | None
) -> None:
    """It would answer who is not authenticated, with or without authorizations."""
    text = with_middleware(middleware)
    if late is None and "nowhere" not in middleware:
        configure(text)
        return
    said = [one for one in problems(text) if "stands behind" in one]
    if late is None:
        assert said == []
        return
    keeping, checking = late.split()
    kind = {"kept": "cache"}.get(keeping, keeping)
    (sentence,) = said
    assert sentence.endswith(
        f'"{checking}" stands behind "{keeping}" ({kind}), which would answer who is not authenticated from what it '
        "keeps; put it in front"
    )


def test_tables_that_do_not_count_confine_nobody_which_is_said(configure: Configure) -> None:
    off = '\n[authorizations.x]\nprincipals = ["a"]\nenabled = false\n'
    sentence = "authorizations: none is enabled: nobody is confined to anything"
    assert any(one.endswith(sentence) for one in configure(PLAIN + off).warnings)
    on = '\n[authorizations.y]\nprincipals = ["a"]\n'
    assert not any(sentence in one for one in configure(PLAIN + off + on).warnings)
    assert not any(sentence in one for one in configure(PLAIN).warnings)
