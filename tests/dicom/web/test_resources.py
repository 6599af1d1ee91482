from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.dataset.part10 import MAX_UID_LENGTH
from harmonygw.dicom.web.attributes import Level
from harmonygw.dicom.web.resources import (
    MAX_FRAME_DIGITS,
    MAX_FRAMES,
    SERVED,
    TRANSACTIONS,
    Kind,
    Resource,
    check_uid,
    parse,
    source_url,
    url,
)
from harmonygw.errors import BadRequest, NotFound

S, E, I = "1.2", "1.2.3", "1.2.3.4"  # noqa: E741


def at(path: str, method: str = "GET") -> Resource:
    return parse(tuple(segment for segment in path.split("/") if segment), method=method)


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("", Resource(Kind.CAPABILITIES)),
        ("studies", Resource(Kind.SEARCH_STUDIES)),
        ("series", Resource(Kind.SEARCH_SERIES)),
        ("instances", Resource(Kind.SEARCH_INSTANCES)),
        (f"studies/{S}/series", Resource(Kind.SEARCH_SERIES, S)),
        (f"studies/{S}/instances", Resource(Kind.SEARCH_INSTANCES, S)),
        (f"studies/{S}/series/{E}/instances", Resource(Kind.SEARCH_INSTANCES, S, E)),
        (f"studies/{S}", Resource(Kind.RETRIEVE, S)),
        (f"studies/{S}/series/{E}", Resource(Kind.RETRIEVE, S, E)),
        (f"studies/{S}/series/{E}/instances/{I}", Resource(Kind.RETRIEVE, S, E, I)),
        (f"studies/{S}/metadata", Resource(Kind.METADATA, S)),
        (f"studies/{S}/series/{E}/metadata", Resource(Kind.METADATA, S, E)),
        (f"studies/{S}/series/{E}/instances/{I}/metadata", Resource(Kind.METADATA, S, E, I)),
        (f"studies/{S}/thumbnail", Resource(Kind.THUMBNAIL, S)),
        (f"studies/{S}/series/{E}/rendered", Resource(Kind.RENDERED, S, E)),
        (f"studies/{S}/bulkdata", Resource(Kind.BULKDATA, S)),
        (f"studies/{S}/series/{E}/bulkdata", Resource(Kind.BULKDATA, S, E)),
        (f"studies/{S}/series/{E}/instances/{I}/bulkdata", Resource(Kind.BULKDATA, S, E, I)),
        (f"studies/{S}/pixeldata", Resource(Kind.PIXELDATA, S)),
        (f"studies/{S}/series/{E}/pixeldata", Resource(Kind.PIXELDATA, S, E)),
        (
            f"studies/{S}/series/{E}/instances/{I}/bulkdata/54000100/0/54001010",
            Resource(Kind.BULKDATA, S, E, I, bulk_path=("54000100", "0", "54001010")),
        ),
        (f"studies/{S}/series/{E}/instances/{I}/pixeldata", Resource(Kind.PIXELDATA, S, E, I)),
        (f"studies/{S}/series/{E}/instances/{I}/frames/3,1", Resource(Kind.FRAMES, S, E, I, (3, 1))),
        (f"studies/{S}/series/{E}/instances/{I}/frames/2/rendered", Resource(Kind.RENDERED, S, E, I, (2,))),
        (f"studies/{S}/series/{E}/instances/{I}/frames/2/thumbnail", Resource(Kind.THUMBNAIL, S, E, I, (2,))),
    ],
)
def test_paths_name_their_resources(path: str, resource: Resource) -> None:
    assert at(path) == resource


@pytest.mark.parametrize(
    "path",
    [
        "study",
        "Studies",
        f"series/{E}",
        f"studies/{S}/series/{E}/frames/1",
        f"studies/{S}/series/{E}/instances/{I}/frames",
        f"studies/{S}/metadata/x",
        f"studies/{S}/bulkdata/7FE00010",
        f"studies/{S}/series/{E}/bulkdata/7FE00010",
        f"studies/{S}/series/{E}/instances/{I}/pixeldata/1",
        f"studies/{S}/series/{E}/instances/{I}/frames/1/metadata",
        f"studies/{S}/series/{E}/instances/{I}/frames/1/rendered/x",
        f"studies/{S}/series/{E}/instances/{I}/thumbnail/x",
    ],
)
def test_unknown_paths_are_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        at(path)


def test_a_post_on_studies_or_a_study_is_a_store() -> None:
    assert at("studies", "POST") == Resource(Kind.STORE)
    assert at(f"studies/{S}", "POST") == Resource(Kind.STORE, S)


def test_a_method_that_a_path_lacks_gives_its_get_resource() -> None:
    assert at("series", "POST").kind is Kind.SEARCH_SERIES
    assert at("studies", "HEAD").kind is Kind.SEARCH_STUDIES


@pytest.mark.parametrize(
    ("path", "level", "levels"),
    [
        ("studies", Level.STUDY, (Level.STUDY,)),
        ("series", Level.SERIES, (Level.STUDY, Level.SERIES)),
        ("instances", Level.IMAGE, (Level.STUDY, Level.SERIES, Level.IMAGE)),
        (f"studies/{S}/series", Level.SERIES, (Level.SERIES,)),
        (f"studies/{S}/instances", Level.IMAGE, (Level.SERIES, Level.IMAGE)),
        (f"studies/{S}/series/{E}/instances", Level.IMAGE, (Level.IMAGE,)),
    ],
)
def test_a_search_answers_with_the_levels_that_its_path_leaves_open(
    path: str, level: Level, levels: tuple[Level, ...]
) -> None:
    assert at(path).level is level
    assert at(path).levels == levels


def test_a_retrieve_has_the_level_of_what_it_names() -> None:
    assert at(f"studies/{S}").level is Level.STUDY
    assert at(f"studies/{S}/series/{E}").level is Level.SERIES
    assert at(f"studies/{S}/series/{E}/instances/{I}/metadata").level is Level.IMAGE


@pytest.mark.parametrize("uid", ["1.2.840.10008", "1.2.a-b_C", "0", "1" * MAX_UID_LENGTH, "1.2~x:%@"])
def test_uids_as_archives_give_them_are_let_through(uid: str) -> None:
    assert parse(("studies", uid)).study == uid


@pytest.mark.parametrize(
    "uid",
    [
        *("1" * (MAX_UID_LENGTH + 1), "..", ".", "1..2", "1.2/3", "1.2\\3", "*", "1?", "1,2", '1"'),
        *("1.2\x00", "1.2\n", "1.2\x7f", "1.2 ", "1.é", "1٢"),
    ],
)
def test_what_cannot_be_a_uid_is_a_bad_request(uid: str) -> None:
    with pytest.raises(BadRequest, match="StudyInstanceUID"):
        parse(("studies", uid))


def test_an_empty_uid_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="StudyInstanceUID is empty"):
        check_uid("", "StudyInstanceUID")


@pytest.mark.parametrize("frames", ["x", "1,", ",1", "1.5", "-1", "١", ""])
def test_a_frame_list_that_is_none_is_a_bad_request(frames: str) -> None:
    with pytest.raises(BadRequest):
        parse(("studies", S, "series", E, "instances", I, "frames", frames))


@pytest.mark.parametrize("frames", ["0", "1,0", "9" * (MAX_FRAME_DIGITS + 1)])
def test_a_frame_number_that_no_frame_has_is_not_found(frames: str) -> None:
    with pytest.raises(NotFound):
        at(f"studies/{S}/series/{E}/instances/{I}/frames/{frames}")


def test_a_frame_list_has_an_end() -> None:
    path = f"studies/{S}/series/{E}/instances/{I}/frames/"
    assert len(at(path + ",".join(["1"] * MAX_FRAMES)).frames) == MAX_FRAMES
    with pytest.raises(BadRequest, match=str(MAX_FRAMES)):
        at(path + ",".join(["1"] * (MAX_FRAMES + 1)))


def test_only_a_get_or_head_is_a_retrieve_by_uri() -> None:
    """OPTIONS came back with the object, past whoever takes OPTIONS for harmless."""
    query = (("requestType", "WADO"), ("studyUID", S), ("seriesUID", E), ("objectUID", I))
    assert parse((), method="HEAD", query=query).kind is Kind.WADO_URI
    assert parse((), method="OPTIONS", query=query) == Resource(Kind.CAPABILITIES)


def test_wado_uri_is_told_by_its_query() -> None:
    query = (("contentType", "image/jpeg"), ("requestType", "WADO"), ("studyUID", S), ("seriesUID", E))
    assert parse((), query=(*query, ("objectUID", I))) == Resource(Kind.WADO_URI, S, E, I)
    assert parse((), query=(("x", "y"),)) == Resource(Kind.CAPABILITIES)
    with pytest.raises(BadRequest, match="objectUID is empty"):
        parse((), query=query)
    with pytest.raises(BadRequest, match="requestType"):
        parse((), query=(("requestType", "QIDO"),))


def test_urls_are_absolute_and_percent_encoded() -> None:
    assert url("https://h/dicom", S) == "https://h/dicom/studies/1.2"
    assert url("https://h/dicom", S, E, I) == "https://h/dicom/studies/1.2/series/1.2.3/instances/1.2.3.4"
    assert url("", S, None, None, "metadata") == "/studies/1.2/metadata"
    assert url("https://h", "1.2%a#b", E) == "https://h/studies/1.2%25a%23b/series/1.2.3"


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)))
def test_every_uid_that_is_let_through_comes_back_from_its_url(uids: list[str]) -> None:
    for uid in uids:
        try:
            check_uid(uid, "UID")
        except BadRequest:
            continue
        segments = url("http://h", uid, "1").removeprefix("http://h/").split("/")
        assert parse([unquote(segment) for segment in segments]) == Resource(Kind.RETRIEVE, uid, "1")


def test_everything_is_served() -> None:
    assert set(Kind) == SERVED


def test_every_transaction_of_the_table_is_reached() -> None:
    values = {"{study}": S, "{series}": E, "{instance}": I, "{frames}": "1", "{bulk_path}": "00420011"}
    for transaction in TRANSACTIONS:
        path = transaction.path
        for variable, value in values.items():
            path = path.replace(variable, value)
        assert at(path, transaction.method).kind is transaction.kind


def test_the_url_of_one_archive_of_several() -> None:
    assert source_url("https://h/dicom", "") == "https://h/dicom"
    assert source_url("https://h/dicom", "A/B C") == "https://h/dicom/aets/A%2FB%20C"
