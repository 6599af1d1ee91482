"""Attempts to break what must hold whatever else fails: no patient for another, nothing lost in silence, no guesses."""

import json
import os
import struct
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dimse import statuses
from harmonygw.dicom.upperlayer.negotiation import SupportedContext
from tests.interop import hospital as hospital_module
from tests.interop import house as house_module
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, EXPLICIT, IMPLICIT, Held, study_of
from tests.interop.hospital import Hospital
from tests.interop.house import ANY_DICOM, PATIENT, STUDY, Client, House
from tests.interop.pacs import PACS
from tests.interop.stow import JSON, Module, related

SERIES = "studies/1.2/series/1.2.3"
ONE = f"{SERIES}/instances/1.2.3.4"
SINGLE = "application/dicom; transfer-syntax=*"
KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
BIG = 300_000


def cache_option(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    """Give the cache of every hospital one more option."""
    configured = hospital_module.CONFIGURATION.replace("revalidate_secs = 0.001", f"revalidate_secs = 0.001, {option}")
    monkeypatch.setattr(hospital_module, "CONFIGURATION", configured)


# A study that changes behind the cache


@pytest.mark.parametrize(
    "change",
    [
        lambda held: [replace(one, patient="Q1") for one in held],
        lambda held: held[:1],
        lambda held: [*held, replace(held[0], sop="1.2.3.9")],
    ],
    ids=["corrected", "an instance deleted", "an instance added"],
)
@ensureDeferred
async def test_what_changed_behind_the_cache_is_served_as_it_is_now(tmp_path: Path, change: Any) -> None:
    pacs = PACS(study_of(2))
    async with Hospital(tmp_path, {"A": pacs}, middleware=("bridge", "cache")) as hospital:
        assert (await hospital.ask(SERIES, ANY_DICOM)).content.count(b"DICM") == 2
        pacs.held = change(pacs.held)
        reply = await hospital.ask(SERIES, ANY_DICOM)
        if pacs.held[0].patient == "Q1":  # until what the backend remembers of the study has been forgotten
            assert (reply.status, b"DICM" in reply.raw) == (502, False)
            assert "another patient" in reply.problem["detail"]
            reply = await hospital.ask(SERIES, ANY_DICOM)
        assert (reply.status, reply.whole) == (200, True)
        assert reply.content.count(b"DICM") == len(pacs.held)
        for one in pacs.held:
            assert one.data_set() in reply.content
        if pacs.held[0].patient == "Q1":
            assert reply.content.count(b"LO\x02\0Q1") == 2
            assert b"LO\x02\0P1" not in reply.content
        assert (await hospital.ask(ONE, SINGLE)).content.endswith(pacs.held[0].data_set())


@ensureDeferred
async def test_two_studies_that_were_merged_are_404_and_what_they_became(tmp_path: Path) -> None:
    pacs = PACS([*study_of(1), Held(sop="1.9.1.1", series="1.9.1", study="1.9")])
    async with Hospital(tmp_path, {"A": pacs}, middleware=("bridge", "cache")) as hospital:
        for study in ("1.2", "1.9"):
            assert (await hospital.ask(f"studies/{study}", ANY_DICOM)).status == 200
        pacs.held = [pacs.held[0], replace(pacs.held[1], study="1.2")]
        assert (await hospital.ask("studies/1.9", ANY_DICOM)).status == 404
        assert (await hospital.ask("studies/1.9/series/1.9.1", ANY_DICOM)).status == 404
        reply = await hospital.ask("studies/1.2", ANY_DICOM)
        assert (reply.status, reply.content.count(b"DICM")) == (200, 2)


def rejection_note(code: str) -> Held:
    def sequence(**item: Any) -> dict[str, Any]:
        return {"vr": "SQ", "Value": [{tag.strip("_"): element for tag, element in item.items()}]}

    def uid(value: str) -> dict[str, Any]:
        return {"vr": "UI", "Value": [value]}

    title = {"_00080100": {"vr": "SH", "Value": [code]}, "_00080102": {"vr": "SH", "Value": ["DCM"]}}
    instances = sequence(_00081155=uid("1.2.3.4"))
    series = sequence(_0020000E=uid("1.2.3"), _00081199=instances)
    evidence = sequence(_0020000D=uid("1.2"), _00081115=series)
    more = {"0040A043": sequence(**title), "0040A375": evidence}
    return Held("1.2.7.1", "1.2.7", sop_class=KEY_OBJECT_SELECTION, more=more, without_bulk_data=True)


@pytest.mark.parametrize("code", ["113001", "113037", "113038", "113039"])
@ensureDeferred
async def test_what_a_note_rejects_is_asked_for_again_and_not_served_from_the_cache(tmp_path: Path, code: str) -> None:
    note = rejection_note(code)
    pacs = PACS([*study_of(2), note])

    async def accept(connection: Connection) -> None:
        storage = SupportedContext((EXPLICIT, IMPLICIT), scp=True, scu=True)
        supported = dict.fromkeys(pacs.models, SupportedContext((EXPLICIT, IMPLICIT)))
        connection.accept({**supported, CT: storage, KEY_OBJECT_SELECTION: storage})

    pacs.associate = accept
    async with Hospital(tmp_path, {"A": pacs}, middleware=("bridge", "cache")) as hospital:
        assert (await hospital.ask(ONE, SINGLE)).status == 200
        assert (await hospital.ask(f"studies/1.2/series/{note.series}", ANY_DICOM)).status == 200

        async def withdraws(connection: Connection, asked: Asked) -> None:
            """Send it no more, whatever it lists."""
            kept = [one for one in pacs.matching(asked) if one.sop != "1.2.3.4"]
            for one in kept:
                await connection.store(one)
            connection.final(asked, completed=len(kept))

        pacs.get = withdraws
        reply = await hospital.ask(ONE, SINGLE)
        assert reply.status == 502
        assert b"DICM" not in reply.raw
        pacs.held = pacs.held[1:]
        assert (await hospital.ask(ONE, SINGLE)).status == 404


@pytest.mark.parametrize("stale", [False, True])
@ensureDeferred
async def test_with_the_pacs_down_what_is_cached_is_served_only_when_that_is_configured(
    tmp_path: Path, stale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stale:
        cache_option(monkeypatch, "serve_stale = true")
    pacs = PACS(study_of(1))
    async with Hospital(tmp_path, {"A": pacs}, middleware=("bridge", "cache")) as hospital:
        fresh = await hospital.ask(ONE, SINGLE)
        assert "warning" not in fresh.headers
        await pacs.stop()
        reply = await hospital.ask(ONE, SINGLE)
        if stale:
            assert (reply.status, reply.headers["warning"]) == (200, '110 - "Response is Stale"')
            assert reply.content == fresh.content
        else:
            assert reply.status == 502
            assert b"DICM" not in reply.raw


# A transfer that is cut short


class OldClient(Client):
    """Speaks HTTP/1.0, where the end of the connection is the end of the body."""

    def request(self, path: str, accept: str = "*/*", method: str = "GET") -> None:
        self.transport.write(f"{method} {path} HTTP/1.0\r\nHost: gateway\r\nAccept: {accept}\r\n\r\n".encode())


@pytest.mark.parametrize(
    ("path", "accept"),
    [(STUDY, ANY_DICOM), (STUDY, "application/zip"), (f"/dicom/{ONE}", SINGLE), (f"{STUDY}/metadata", "*/*")],
)
@pytest.mark.parametrize("client", [Client, OldClient])
@ensureDeferred
async def test_a_transfer_that_was_cut_short_never_looks_whole(
    tmp_path: Path, path: str, accept: str, client: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house_module, "Client", client)

    async def half(connection: Connection, asked: Asked) -> None:
        first, second = connection.pacs.held
        if path.endswith("metadata"):
            await connection.store(first)
        connection.begin_object(second if path.endswith("metadata") else first)
        await connection.pacs.told()
        connection.reset()

    pacs = PACS(study_of(2, size=BIG), get=half)
    async with House(tmp_path, pacs, **PATIENT) as house:
        asking = await house.connect()
        asking.request(path, accept)
        await asking.bytes_received(400)
        pacs.tell()
        reset = await asking.ended
        head, _, body = bytes(asking.received).partition(b"\r\n\r\n")
        assert head[:12] in (b"HTTP/1.1 200", b"HTTP/1.0 200")
        assert reset, "the connection ends with a reset, which no client takes for an end"
        boundary = head.partition(b"boundary=")[2].partition(b"\r\n")[0]
        endings = [b"0\r\n\r\n", b"]", b"]\r\n", *([b"--" + boundary + b"--\r\n"] if boundary else [])]
        assert not any(body.endswith(one) for one in endings)
        assert b"PK\x05\x06" not in body, "an archive without its directory"
        assert b"content-length" not in head.lower()
        monkeypatch.undo()


@ensureDeferred
async def test_what_was_announced_and_cut_short_is_shorter_than_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_option(monkeypatch, "write_behind_secs = 0")
    # What a cache knows the length of is announced; its file is damaged behind its first bytes.
    pacs = PACS([Held(size=4 * 1024 * 1024)])
    async with Hospital(tmp_path, {"A": pacs}, middleware=("bridge", "cache")) as hospital:
        path = f"{ONE}/bulkdata/7FE00010"
        whole = await hospital.ask(path, "application/octet-stream")
        assert (whole.status, whole.whole, len(whole.content)) == (200, True, 4 * 1024 * 1024)
        [file] = [one for one in (tmp_path / "cache" / "objects").rglob("*") if one.is_file()]
        hospital.gateway._house.middleware["cache"]._shelf._unload(("1.2", "1.2.3"))
        with file.open("r+b") as output:
            before = file.stat()
            output.seek(3 * 1024 * 1024)
            output.write(b"\xff")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        reply = await hospital.ask(path, "application/octet-stream")
        assert (reply.whole and reply.content == whole.content) or not reply.whole
        assert b"\xff" not in reply.content


# What is sent is what was there


LOSSY = {
    "00282110": {"vr": "CS", "Value": ["01"]},
    "00282112": {"vr": "DS", "Value": [10.5]},
    "00282114": {"vr": "CS", "Value": ["ISO_10918_1"]},
}
PIXELS = {
    "00280002": {"vr": "US", "Value": [1]},
    "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
    "00280010": {"vr": "US", "Value": [16]},
    "00280011": {"vr": "US", "Value": [16]},
    "00280100": {"vr": "US", "Value": [16]},
    "00280101": {"vr": "US", "Value": [16]},
    "00280102": {"vr": "US", "Value": [15]},
    "00280103": {"vr": "US", "Value": [0]},
}


@pytest.mark.parametrize("syntax", ["*", EXPLICIT, RLE])
@ensureDeferred
async def test_what_is_said_of_a_lossy_compression_stays(tmp_path: Path, syntax: str) -> None:
    pytest.importorskip("imagecodecs")
    held = Held(size=512, more={**PIXELS, **LOSSY})
    async with House(tmp_path, PACS([held]), **PATIENT) as house:
        await house.gateway.when_ready()
        reply = await house.ask(f"/dicom/{ONE}", f"application/dicom; transfer-syntax={syntax}")
        assert reply.status == 200
        for element in (b"\x28\0\x10\x21CS\x02\0" + b"01", b"\x28\0\x12\x21DS\x04\0" + b"10.5"):
            assert element in reply.content
        assert b"ISO_10918_1" in reply.content
        if syntax == RLE:
            assert b"MONOCHROME2" in reply.content
            assert RLE.encode() in reply.content
        else:
            assert reply.content.endswith(held.data_set())


@ensureDeferred
async def test_nothing_lossy_is_made_of_an_object(tmp_path: Path) -> None:
    async with House(tmp_path, PACS([Held(size=512, more=PIXELS)]), **PATIENT) as house:
        reply = await house.ask(f"/dicom/{ONE}", f"application/dicom; transfer-syntax={JPEG_BASELINE}")
        assert reply.status == 406
        assert b"DICM" not in reply.raw


def with_bytes(value: bytes) -> Held:
    """An instance whose Study Description is these bytes, whatever its character set makes of them."""

    class Raw(Held):
        def header(self) -> bytes:
            before = struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"
            element = struct.pack("<HH2sH", 0x0008, 0x1030, b"LO", len(value)) + value
            start, _, rest = super().header().partition(before)
            return start + before + element + rest

    return Raw()


UNDECODABLE = b"M\xfcller"
assert len(UNDECODABLE) % 2 == 0


@ensureDeferred
async def test_what_cannot_be_decoded_is_shown_as_that_and_its_bytes_stay(tmp_path: Path) -> None:
    held = with_bytes(UNDECODABLE)
    async with House(tmp_path, PACS([held]), **PATIENT) as house:
        reply = await house.ask(f"{STUDY}/metadata", "application/dicom+json")
        [model] = json.loads(reply.content)
        assert model["00081030"]["Value"] == ["M\ufffdller"]
        reply = await house.ask(f"/dicom/{ONE}", SINGLE)
        assert reply.content.endswith(held.data_set())
        assert UNDECODABLE in reply.content
        model["00080018"]["Value"] = ["1.2.3.8"]
        model["7FE00010"] = {"vr": "OW", "InlineBinary": ""}
        body = related((json.dumps([model]).encode(), {"Content-Type": "application/dicom+json"}))
        client = await house.connect()
        head = f"POST /dicom/studies HTTP/1.1\r\nHost: gateway\r\nContent-Type: {JSON}\r\nConnection: close\r\n"
        client.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        stored = await client.reply()
        module = Module(stored.content)
        assert (stored.status, module.stored, list(module.failed)) == (409, [], ["1.2.3.8"])
        assert house.pacs.received == []


TIMES = {
    "00080020": {"vr": "DA", "Value": ["20250101"]},
    "00080030": {"vr": "TM", "Value": ["000500.123"]},
    "0008002A": {"vr": "DT", "Value": ["20250101000500.123456-0800"]},
    "00080201": {"vr": "SH", "Value": ["+0900"]},
}


@ensureDeferred
async def test_no_time_is_shifted_whatever_its_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    try:
        held = Held(more=TIMES)

        async def find(connection: Connection, asked: Asked) -> None:
            row = held.row(asked.level, connection.pacs.held)
            connection.match(asked, {**row, **{tag: TIMES[tag] for tag in ("00080020", "00080030", "00080201")}})
            connection.found(asked, statuses.SUCCESS)

        async with House(tmp_path, PACS([held], find=find), **PATIENT) as house:
            query = "StudyInstanceUID=1.2&includefield=StudyTime&includefield=TimezoneOffsetFromUTC&StudyDate=20250101"
            [match] = json.loads((await house.ask(f"/dicom/studies?{query}")).content)
            for tag in ("00080020", "00080030", "00080201"):
                assert match[tag] == TIMES[tag]
            [asked] = [one for one in house.pacs.asked if one.level == "STUDY"]
            assert asked.identifier["00080020"]["Value"] == ["20250101"]
            [model] = json.loads((await house.ask(f"{STUDY}/metadata", "application/dicom+json")).content)
            assert {tag: model[tag] for tag in TIMES} == TIMES
            assert (await house.ask(f"/dicom/{ONE}", SINGLE)).content.endswith(held.data_set())
    finally:
        monkeypatch.undo()
        time.tzset()
