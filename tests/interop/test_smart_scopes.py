"""Who may see one patient sees nothing of another, over real HTTP, with and without a cache that has both."""

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.interop.embedded import image
from tests.interop.token_issuer import Answer, Issuer, token_house

OURS = {"study": "1.2", "series": "1.2.3", "PatientID": "P1", "PatientName": "Doe^Jane"}
THEIRS = {
    "study": "2.2",
    "series": "2.2.3",
    "PatientID": "P2",
    "PatientName": "Roe^Richard",
    "PixelData": b"\xa5\x5a" * 4,
}
MARKS = (b"P2", b"Roe", b"2.2.3.1", b"\xa5\x5a\xa5\x5a")
"""What only the other patient's instances have."""

INSTANCE = "/studies/{0}/series/{0}.3/instances/{0}.3.1"
BY_URI = "/?requestType=WADO&studyUID={0}&seriesUID={0}.3&objectUID={0}.3.1&contentType=application/dicom"
RETRIEVALS = (
    "/studies/{0}",
    "/studies/{0}/series/{0}.3",
    INSTANCE,
    "/studies/{0}/metadata",
    f"{INSTANCE}/metadata",
    f"{INSTANCE}/frames/1",
    f"{INSTANCE}/pixeldata",
    "/studies/{0}/bulkdata",
    f"{INSTANCE}/rendered",
    "/studies/{0}/thumbnail",
    BY_URI,
)
ANY = {
    "frames": 'multipart/related; type="application/octet-stream"',
    "pixeldata": 'multipart/related; type="application/octet-stream"',
    "bulkdata": 'multipart/related; type="application/octet-stream"',
}


def accept_of(path: str) -> str:
    return next((media_type for part, media_type in ANY.items() if part in path), "*/*")


def is_silent(answer: Answer) -> bool:
    """Whether nothing of the other patient is in an answer, as far as it was not what was asked."""
    return not any(mark in answer.content for mark in MARKS)


def found(answer: Answer) -> list[str]:
    """Return the PatientIDs of matches; none for a search that is answered with nothing."""
    if answer.status == 204:
        return []
    assert answer.status == 200, answer
    return sorted({row["00100020"]["Value"][0] for row in answer.json})


cached = pytest.mark.parametrize("cached", [False, True])


@cached
@ensureDeferred
async def test_a_search_finds_the_patient_only(tmp_path: Path, cached: bool) -> None:
    issuer = Issuer()
    async with token_house(tmp_path, issuer, cached=cached) as house:
        await house.store(issuer.token("user/*.c"), image(1, **OURS), image(1, **THEIRS))
        one = issuer.token("patient/ImagingStudy.s", patient="P1")
        everybody = issuer.token("patient/ImagingStudy.s user/ImagingStudy.s", patient="P1")
        for level in ("studies", "series", "instances"):
            path = f"/{level}?includefield=00100020"
            assert found(await house.ask(path, everybody)) == ["P1", "P2"]
            for query in ("", "&PatientID=P1", "&PatientID=P*", "&PatientID=*", "&PatientID=", "&limit=1", "&offset=0"):
                assert found(await house.ask(path + query, one)) == ["P1"], (level, query)
            for query in ("&PatientID=P2", "&00100020=P2", "&PatientName=Roe*", "&StudyInstanceUID=2.2"):
                answer = await house.ask(path + query, one)
                assert (found(answer), is_silent(answer)) == ([], True), (level, query)
        for path in ("/studies/2.2/series", "/studies/2.2/instances", "/studies/2.2/series/2.2.3/instances"):
            answer = await house.ask(path, one)
            assert answer.status in {403, 404} or answer.json == [], path
            assert is_silent(answer), path


@cached
@ensureDeferred
async def test_a_retrieval_of_another_patient_sends_not_a_byte(tmp_path: Path, cached: bool) -> None:
    issuer = Issuer()
    async with token_house(tmp_path, issuer, cached=cached) as house:
        await house.store(issuer.token("user/*.c"), image(1, **OURS), image(1, **THEIRS))
        one = issuer.token("patient/ImagingStudy.rs", patient="P1")
        everybody = issuer.token("user/ImagingStudy.rs")
        for path in RETRIEVALS:
            accept = accept_of(path)
            # It warms the cache, and says which of these this build answers at all.
            status = (await house.ask(path.format("2.2"), everybody, Accept=accept)).status
            assert (await house.ask(path.format("1.2"), one, Accept=accept)).status == status, path
            for method in ("GET", "HEAD"):
                answer = await house.ask(path.format("2.2"), one, method, Accept=accept)
                assert answer.status in {403, 404}, (method, path, answer)
                assert is_silent(answer) or b"detail" in answer.content, (method, path)
                assert b"Roe" not in answer.content


@ensureDeferred
async def test_a_store_of_another_patient_leaves_nothing(tmp_path: Path) -> None:
    issuer = Issuer()
    async with token_house(tmp_path, issuer) as house:
        stores = issuer.token("patient/ImagingStudy.c", patient="P1")
        searches = issuer.token("user/ImagingStudy.s")

        async def held() -> list[str]:
            answer = await house.ask("/instances?includefield=00080018", searches)
            return [] if answer.status == 204 else sorted(row["00080018"]["Value"][0] for row in answer.json)

        assert (await house.store(stores, image(1, **OURS))).status == 200
        refused = await house.store(stores, image(1, **THEIRS))
        assert refused.status in {403, 409}, refused
        assert await held() == ["1.2.3.1"]
        mixed = await house.store(stores, image(2, **OURS), image(2, **THEIRS))
        assert mixed.status in {202, 403, 409}, mixed
        assert not any(uid.startswith("2.2") for uid in await held())
        hidden: dict[str, Any] = {**OURS, "PatientID": "P2"}
        assert (await house.store(stores, image(3, **hidden), path="/studies/1.2")).status in {403, 409}
        assert "1.2.3.3" not in await held()


@ensureDeferred
async def test_the_same_number_of_another_hospital_is_another_patient(tmp_path: Path) -> None:
    issuer = Issuer()
    here, there = {**OURS, "IssuerOfPatientID": "HERE"}, {**THEIRS, "PatientID": "P1", "IssuerOfPatientID": "THERE"}
    async with token_house(tmp_path, issuer, more='patient_issuer = "HERE"\n') as house:
        await house.store(issuer.token("user/*.c"), image(1, **here), image(1, **there))
        one = issuer.token("patient/ImagingStudy.rs", patient="P1")
        rows = (await house.ask("/studies", one)).json
        assert [row["0020000D"]["Value"][0] for row in rows] == ["1.2"]
        assert (await house.ask("/studies/1.2", one)).status == 200
        refused = await house.ask("/studies/2.2", one)
        assert (refused.status in {403, 404}, b"Roe" in refused.content) == (True, False)


@ensureDeferred
async def test_a_patient_scope_without_a_patient_opens_nothing(tmp_path: Path) -> None:
    issuer = Issuer()
    async with token_house(tmp_path, issuer) as house:
        await house.store(issuer.token("user/*.c"), image(1, **OURS))
        for claims in ({}, {"patient": ""}, {"patient": "*"}, {"patient": ["P1"]}):
            token = issuer.token("patient/*.cruds", **claims)
            for path in ("/studies", "/studies/1.2", "/studies/1.2/metadata"):
                assert (await house.ask(path, token)).status == 403
