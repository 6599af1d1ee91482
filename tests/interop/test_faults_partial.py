"""The PACS says that sub-operations failed, and the gateway is to report it: 206, what came, and what did not."""

import os
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from harmonygw.dicom.dimse import statuses
from tests.interop import hospital as hospital_module
from tests.interop import house as house_module
from tests.interop.connection import Asked, Connection
from tests.interop.held import Held, study_of
from tests.interop.hospital import Hospital
from tests.interop.house import ANY_DICOM, CLIENT, CONFIGURATION, ENDS, STUDY, House, Reply
from tests.interop.pacs import PACS, drop

BIG = 300_000


@pytest.fixture(autouse=True)
def reporting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every house reports, and spools here."""
    return configure(tmp_path, monkeypatch)


def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> Path:
    spool = tmp_path / "spool"
    spool.mkdir(exist_ok=True)
    options = f'max_results = 50, partial = "report", spool_path = "{spool}"{more}'
    monkeypatch.setattr(house_module, "CONFIGURATION", CONFIGURATION.replace("max_results = 50", options))
    return spool


async def all_but_the_last(connection: Connection, asked: Asked) -> None:
    last = connection.pacs.held[-1]
    for held in connection.pacs.matching(asked):
        if held is not last:
            await connection.store(held)
    failed = int(asked.matches(last))
    connection.final(asked, statuses.SUB_OPERATIONS_WARNING if failed else statuses.SUCCESS, failed=failed)


def spooled(spool: Path) -> list[str]:
    """Files of the spool that this process still has open, named or not."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # of the listing itself
            continue
    return [one for one in links if one.startswith(f"{spool}/")]


def is_whole(reply: Reply) -> bool:
    boundary = reply.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    return reply.whole and reply.content.endswith(b"\r\n--" + boundary + b"--\r\n")


@ensureDeferred
async def test_what_came_is_206_and_what_did_not_is_named(tmp_path: Path, reporting: Path) -> None:
    pacs = PACS(study_of(3, size=BIG), get=all_but_the_last)
    async with House(tmp_path, pacs) as house:
        reply = await house.retrieve()
        assert (reply.status, reply.reset, is_whole(reply)) == (206, False, True)
        assert reply.content.count(b"DICM") == 2
        assert len(reply.content) == int(reply.headers["content-length"])
        assert reply.headers["warning"] == '299 harmonygw "1 of 3 instances are missing: 1.2.3.6"'
        logged = await house.logged()
        assert (logged["outcome"], logged["status"], logged["dimse_status"]) == ("complete", 206, "B000H")
        assert any("1 of 3 instances did not come" in note for note in logged["notes"])
        assert spooled(reporting) == []
        await house.audited("Begin 0", "Transferred 0", "Transferred 8", users=ENDS, instances=2)


@ensureDeferred
async def test_a_whole_study_is_200_and_announced(tmp_path: Path, reporting: Path) -> None:
    async with House(tmp_path, PACS(study_of(3, size=BIG))) as house:
        reply = await house.retrieve()
        assert (reply.status, is_whole(reply), "warning" in reply.headers) == (200, True, False)
        assert reply.content.count(b"DICM") == 3
        assert len(reply.content) == int(reply.headers["content-length"])
        assert spooled(reporting) == []
        await house.audited("Begin 0", "Transferred 0", users=ENDS, instances=3)


@ensureDeferred
async def test_nothing_is_502_as_ever(tmp_path: Path) -> None:
    async def fails(connection: Connection, asked: Asked) -> None:
        connection.final(asked, statuses.UNABLE_TO_PERFORM_SUB_OPERATIONS, failed=3)

    async with House(tmp_path, PACS(study_of(3), get=fails)) as house:
        reply = await house.retrieve()
        assert (reply.status, reply.problem["dimse_status"]) == (502, "A702H")
        await house.audited("Accessed 8", users=CLIENT[:2])


@ensureDeferred
async def test_an_association_that_is_lost_is_502_and_nothing_of_it_gets_out(tmp_path: Path, reporting: Path) -> None:
    async def one_then_reset(connection: Connection, asked: Asked) -> None:
        await connection.store(connection.pacs.held[0])
        await drop(connection)

    async with House(tmp_path, PACS(study_of(3, size=BIG), get=one_then_reset)) as house:
        reply = await house.retrieve()
        assert (reply.status, reply.whole) == (502, True)
        assert b"DICM" not in reply.raw
        assert (await house.logged())["outcome"] == "failed"
        await house._until(lambda: not spooled(reporting))
        await house.audited("Begin 0", "Transferred 8", users=ENDS, instances=0)


@pytest.mark.parametrize(("more", "accept"), [(", partial_bytes = 400_000", ANY_DICOM), ("", "application/zip")])
@ensureDeferred
async def test_what_is_too_much_and_what_ends_as_a_file_is_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, accept: str
) -> None:
    spool = configure(tmp_path, monkeypatch, more)
    async with House(tmp_path, PACS(study_of(3, size=BIG), get=all_but_the_last)) as house:
        reply = await house.retrieve(accept)
        assert (reply.status, reply.whole, reply.reset) == (200, False, True)
        logged = await house.logged()
        assert logged["outcome"] == "aborted"
        assert any("partial_bytes" in note for note in logged["notes"]) is bool(more)
        assert spooled(spool) == []
        await house.audited("Begin 0", "Transferred 0", "Transferred 8", users=ENDS, instances=2)


@ensureDeferred
async def test_who_goes_away_while_it_is_gathered_has_it_cancelled(tmp_path: Path, reporting: Path) -> None:
    async def stuck(connection: Connection, asked: Asked) -> None:
        await connection.store(connection.pacs.held[0])
        connection.pacs.happened("one sent")
        await connection.pacs.saw("C-CANCEL-RQ")
        connection.final(asked, statuses.CANCEL, completed=1)

    pacs = PACS(study_of(2, size=BIG), get=stuck)
    async with House(tmp_path, pacs) as house:
        client = await house.connect()
        client.request(STUDY, ANY_DICOM)
        await pacs.saw("one sent")
        await house._until(lambda: bool(spooled(reporting)))
        client.transport.abortConnection()
        await pacs.saw("C-CANCEL-RQ")
        assert (await house.logged())["outcome"] == "client_gone"
        await house._until(lambda: not spooled(reporting))
        await house.audited("Begin 0", "Transferred 4", users=ENDS, instances=0)


@ensureDeferred
async def test_a_disk_that_is_full_is_502(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reporting: Path) -> None:
    real = os.write

    def full(descriptor: int, data: Any) -> int:
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"{reporting}/"):
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    async with House(tmp_path, PACS(study_of(2, size=BIG))) as house:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            reply = await house.retrieve()
        assert reply.status == 502
        assert "no room" in reply.problem["detail"]
        assert str(reporting) not in reply.raw.decode()
        await house.audited("Begin 0", "Transferred 8", users=ENDS, instances=0)


@pytest.mark.parametrize("middleware", [("bridge",), ("bridge", "cache")], ids=["", "cached"])
@ensureDeferred
async def test_of_several_archives_all_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, middleware: tuple[str, ...]
) -> None:
    bridge = 'type = "dicomweb_bridge"'
    configured = hospital_module.CONFIGURATION.replace(bridge, f'{bridge}\noptions = {{ partial = "report" }}')
    monkeypatch.setattr(hospital_module, "CONFIGURATION", configured)
    other = [Held(sop=f"1.2.9.{number}", series="1.2.9") for number in (1, 2)]
    pacs = {"A": PACS(study_of(3), get=all_but_the_last), "B": PACS(other)}
    async with Hospital(tmp_path, pacs, middleware=middleware) as hospital:
        reply = await hospital.ask("studies/1.2", ANY_DICOM)
        assert (reply.status, is_whole(reply)) == (206, True)
        came = [held.sop for one in pacs.values() for held in one.held if held.data_set() in reply.content]
        assert len(came) == reply.content.count(b"DICM")
        [said] = [value for name, value in reply.headers.items() if name == "warning"]
        missing = said.partition("missing: ")[2].strip('"').split(", ")
        assert sorted([*came, *missing]) == sorted(held.sop for one in pacs.values() for held in one.held)
        assert "1.2.3.6" in missing
