"""Several PACS as one over real sockets: one silent, one killed, clashing identifiers, parts, and DIMSE in front."""

import json
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor

from tests.interop.conftest import Tool
from tests.interop.held import Held
from tests.interop.hospital import Hospital
from tests.interop.pacs import PACS, silence

reactor: Any = _reactor

ANY_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def held(study: str, *, patient: str = "P1", series: str = "", count: int = 1, first: int = 1) -> list[Held]:
    series = series or f"{study}.1"
    return [
        Held(sop=f"{series}.{number}", series=series, study=study, patient=patient)
        for number in range(first, first + count)
    ]


def values(rows: list[dict[str, Any]], *tags: str) -> list[tuple[Any, ...]]:
    return [tuple(row.get(tag, {}).get("Value", [None])[0] for tag in tags) for row in rows]


@ensureDeferred
async def test_with_one_of_three_silent_the_others_matches_come_when_its_time_is_over(tmp_path: Path) -> None:
    pacs = {"A": PACS(held("1.1")), "B": PACS(held("1.2")), "C": PACS(held("1.3"))}
    async with Hospital(tmp_path, pacs, source_timeout_secs=0.4) as hospital:
        pacs["B"].find = silence
        began = reactor.seconds()
        reply = await hospital.ask("studies")
        took = reactor.seconds() - began
        assert (reply.status, reply.headers["warning"]) == (
            200,
            '299 harmonygw "B did not answer; what it holds is missing here."',
        )
        assert values(json.loads(reply.content), "0020000D", "00080054") == [("1.1", "A"), ("1.3", "C")]
        assert 0.39 < took < 0.8
        await pacs["B"].saw("C-CANCEL-RQ")


@ensureDeferred
async def test_with_one_of_three_killed_the_others_answer_and_none_is_an_error(tmp_path: Path) -> None:
    pacs = {"A": PACS(held("1.1")), "B": PACS(held("1.2"))}
    async with Hospital(tmp_path, pacs) as hospital:
        assert len(await hospital.search("studies")) == 2
        await pacs["B"].stop()
        reply = await hospital.ask("studies")
        assert values(json.loads(reply.content), "0020000D") == [("1.1",)]
        assert "B did not answer" in reply.headers["warning"]
        assert (await hospital.ask("studies/1.9", ANY_DICOM)).status == 502
        reply = await hospital.ask("studies/1.1", ANY_DICOM)
        assert (reply.status, reply.whole) == (200, True)
        await pacs["A"].stop()
        assert (await hospital.ask("studies")).status == 502


@ensureDeferred
async def test_clashing_identifiers_are_two_rows_and_a_retrieve_names_its_source(tmp_path: Path) -> None:
    pacs = {"A": PACS(held("1.1", patient="P1")), "B": PACS(held("1.1", patient="Q1", count=2))}
    async with Hospital(tmp_path, pacs) as hospital:
        rows = await hospital.search("studies")
        assert values(rows, "00100020", "00080054", "00201208") == [("P1", "A", 1), ("Q1", "B", 2)]
        for row, name in zip(rows, ("Name^of P1", "Name^of Q1"), strict=True):
            assert row["00100010"]["Value"] == [{"Alphabetic": name}]
        reply = await hospital.ask("studies/1.1", ANY_DICOM)
        assert (reply.status, "aets/{AE title}" in reply.problem["detail"]) == (409, True)
        assert (await hospital.ask("studies/1.1/metadata")).status == 409
        assert [(event["alert"].kind, event["alert"].peer) for event in hospital.alerts] == [
            ("patients_differ", "A, B")
        ]
        assert "ALERT" in hospital.exchanges[-1]["notes"][0]
        for row, count in zip(rows, (1, 2), strict=True):
            path = row["00081190"]["Value"][0].partition("/dicom/")[2]
            assert path == f"aets/{row['00080054']['Value'][0]}/studies/1.1"
            reply = await hospital.ask(path, ANY_DICOM)
            assert (reply.status, reply.whole, reply.content.count(b"Content-Location")) == (200, True, count)
            assert row["00100020"]["Value"][0].encode() in reply.content
            assert f"/dicom/{path}/series/1.1.1/instances/".encode() in reply.content
        assert (await hospital.ask("aets/C/studies/1.1")).status == 404


@ensureDeferred
async def test_both_patients_are_never_in_one_cache_entry(tmp_path: Path) -> None:
    pacs = {"A": PACS(held("1.1", patient="P1")), "B": PACS()}
    async with Hospital(tmp_path, pacs, middleware=("bridge", "cache"), remember_secs=0) as hospital:
        frame = "studies/1.1/series/1.1.1/instances/1.1.1.1"
        single = "application/dicom; transfer-syntax=*"
        assert b"P1" in (await hospital.ask(frame, single)).content
        pacs["B"].held = held("1.1", patient="Q1")
        reply = await hospital.ask(f"aets/B/{frame}", single)
        assert (reply.status, b"Q1" in reply.content) == (200, True)
        assert (await hospital.ask(frame, single)).status == 409
        assert b"P1" in (await hospital.ask(f"aets/A/{frame}", single)).content


@ensureDeferred
async def test_a_cached_study_says_that_a_source_is_missing(tmp_path: Path) -> None:
    pacs = {"A": PACS(held("1.1")), "B": PACS()}
    async with Hospital(tmp_path, pacs, middleware=("bridge", "cache"), remember_secs=0) as hospital:
        assert "warning" not in (await hospital.ask("studies/1.1", ANY_DICOM)).headers
        await pacs["B"].stop()
        reply = await hospital.ask("studies/1.1/series/1.1.1", ANY_DICOM)
        assert (reply.status, reply.whole) == (200, True)
        assert "B did not answer" in reply.headers["warning"]


@ensureDeferred
async def test_a_study_in_two_parts_is_one(tmp_path: Path) -> None:
    pacs = {
        "A": PACS([*held("1.1", count=2), *held("1.1", series="1.1.2", count=2)]),
        "B": PACS([*held("1.1", series="1.1.2", first=2, count=2), *held("1.1", series="1.1.3")]),
    }
    async with Hospital(tmp_path, pacs) as hospital:
        [row] = await hospital.search("studies")
        assert values([row], "00201206", "00201208", "00080054") == [(3, 6, "A")]
        rows = await hospital.search("studies/1.1/series")
        assert values(rows, "0020000E", "00201209") == [("1.1.1", 2), ("1.1.2", 3), ("1.1.3", 1)]
        assert len(await hospital.search("studies/1.1/instances")) == 6
        reply = await hospital.ask("studies/1.1", ANY_DICOM)
        assert (reply.status, reply.whole, reply.content.count(b"Content-Location")) == (200, True, 6)
        reply = await hospital.ask("studies/1.1/metadata")
        assert len({row["00080018"]["Value"][0] for row in json.loads(reply.content)}) == 6


@ensureDeferred
async def test_a_second_part_that_breaks_breaks_the_whole(tmp_path: Path) -> None:
    pacs = {"A": PACS(held("1.1")), "B": PACS(held("1.1", series="1.1.2", count=2))}
    async with Hospital(tmp_path, pacs) as hospital:

        async def get(connection: Any, asked: Any) -> None:
            connection.reset()

        pacs["B"].get = get
        reply = await hospital.ask("studies/1.1", ANY_DICOM)
        assert (reply.status, reply.is_broken_off) == (200, True)


@ensureDeferred
async def test_a_client_that_goes_ends_the_query_everywhere(tmp_path: Path) -> None:
    pacs = {"A": PACS(held("1.1")), "B": PACS(held("1.2"))}
    async with Hospital(tmp_path, pacs) as hospital:
        for one in pacs.values():
            one.find = silence
        client = await hospital.connect()
        client.request("/dicom/studies")
        for one in pacs.values():
            await one.saw("C-FIND-RQ")
        client.transport.abortConnection()
        for one in pacs.values():
            await one.saw("C-CANCEL-RQ")


@ensureDeferred
async def test_failover_over_sockets(tmp_path: Path) -> None:
    pacs = {"A": PACS(held("1.1")), "B": PACS([*held("1.1"), *held("1.2")])}
    async with Hospital(tmp_path, pacs, strategy="failover") as hospital:
        assert values(await hospital.search("studies"), "0020000D", "00080054") == [("1.1", "A")]
        await pacs["A"].stop()
        reply = await hospital.ask("studies")
        assert reply.headers["warning"] == '299 harmonygw "A did not answer; B answered instead."'
        assert values(json.loads(reply.content), "0020000D", "00080054") == [("1.1", "B"), ("1.2", "B")]
        reply = await hospital.ask("studies/1.1", ANY_DICOM)
        assert (reply.status, reply.whole) == (200, True)


@pytest.mark.interop
@ensureDeferred
async def test_findscu_and_getscu_see_one_archive(tmp_path: Path, dcmtk: Tool) -> None:
    pacs = {
        "A": PACS([*held("1.1"), *held("1.5", patient="P1")]),
        "B": PACS([*held("1.2"), *held("1.5", patient="Q1")]),
    }
    async with Hospital(tmp_path, pacs, scp=True) as hospital:
        here = ("-aec", "HARMONYGW", "127.0.0.1", hospital.scp_port)
        keys = [word for key in ("StudyInstanceUID", "PatientID") for word in ("-k", key)]
        code, said = await dcmtk("findscu", "-v", "-S", "-k", "QueryRetrieveLevel=STUDY", *keys, *here)
        assert code == 0, said
        assert said.count("RetrieveAETitle") == said.count("[HARMONYGW") == 4, said
        said = said.replace("\0", "")
        assert [said.count(f"[{uid}]") for uid in ("1.1", "1.2", "1.5")] == [1, 1, 2]
        assert (said.count("[P1]"), said.count("[Q1]")) == (3, 1)
        got = tmp_path / "got"
        got.mkdir()
        retrieve = ("getscu", "-v", "-S", "-od", got, "-k", "QueryRetrieveLevel=STUDY", "-k")
        code, said = await dcmtk(*retrieve, "StudyInstanceUID=1.2", *here)
        assert (code, len(list(got.iterdir()))) == (0, 1), said
        code, said = await dcmtk(*retrieve, "StudyInstanceUID=1.5", "-d", *here)
        assert "0xa900" in said, said
        assert "belongs to different patients" in said, said
        assert len(list(got.iterdir())) == 1
