"""A reload in front of a PACS: moves whose instances come in at the other house, and caches that stay."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint

from harmonygw.config.loading import load
from harmonygw.dicom.upperlayer.negotiation import AssociateRQ, ProposedContext
from harmonygw.net.association.operations import Timing
from harmonygw.net.association.requestor import Association
from harmonygw.service import available
from harmonygw.streams import Feed, Instance, Pieces
from tests.interop.connection import Asked, Connection
from tests.interop.held import CT, EXPLICIT, STUDY_FIND, STUDY_MOVE, Held, study_of
from tests.interop.house import ANY_DICOM, House
from tests.interop.pacs import PACS, deliver, reactor
from tests.interop.processes import free_port

pytestmark = pytest.mark.interop

CACHE = """
[middleware.cache]
type = "cache"
options = { path = "FOLDER", max_bytes = 20000000, write_behind_secs = 0, prefetch = false }
"""


class Reloading(House):
    """A gateway whose configuration changes."""

    def __init__(self, folder: Path, pacs: PACS, **options: Any) -> None:
        patience = dict.fromkeys(("connect_timeout_secs", "association_timeout_secs", "silence_timeout_secs"), 3.0)
        super().__init__(folder, pacs, **patience, **options)

    async def reload(self, *changes: tuple[str, str]) -> dict[str, Any]:
        main = self.folder / "config.toml"
        text = main.read_text()
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        main.write_text(text)
        return await self.gateway.reload(load(main, environ={}, available=available()))

    async def until_gone(self) -> None:
        """Wait until nothing is left of the configurations of before."""
        await self._until(lambda: self.gateway.describe()["info"]["reloads"]["configurations_leaving"] == 0)


ANOTHER_BACKEND = ("silence_timeout_secs = 3.0", "silence_timeout_secs = 4.0")


def moving(folder: Path, pacs: PACS) -> Reloading:
    pacs.models = (STUDY_FIND, STUDY_MOVE)
    pacs.move_port = free_port()
    return Reloading(folder, pacs, incoming_store_port=pacs.move_port, move_grace_secs=1.0)


@pytest.mark.parametrize("says_for_whom", [True, False], ids=["by its Message ID", "by its study"])
@ensureDeferred
async def test_a_move_under_way_gets_what_comes_in_at_the_new_listener(tmp_path: Path, says_for_whom: bool) -> None:
    async def in_two(connection: Connection, asked: Asked) -> None:
        held = connection.pacs.held
        await deliver(connection, asked, held[:1], message_id=None if says_for_whom else 0)
        connection.pacs.happened("half")
        await connection.pacs.told()
        assert await deliver(connection, asked, held[1:], message_id=None if says_for_whom else 0) == [0, 0]
        connection.final(asked, completed=3)

    pacs = PACS(study_of(3), move=in_two)
    async with moving(tmp_path, pacs) as house:
        client = await house.connect()
        client.request("/dicom/studies/1.2", ANY_DICOM)
        await pacs.saw("half")
        before = house.gateway._house.backends["pacs"]
        await house.reload(ANOTHER_BACKEND)
        assert house.gateway._house.backends["pacs"] is not before
        pacs.tell()
        reply = await client.reply()
        assert (reply.status, reply.whole, reply.content.count(b"DICM")) == (200, True, 3)
        await house.until_gone()
        pacs.behave()
        assert (await house.retrieve()).content.count(b"DICM") == 3


@ensureDeferred
async def test_a_new_move_gets_what_comes_on_an_association_of_before(tmp_path: Path) -> None:
    delivering: list[Association] = []

    async def over_one_association(connection: Connection, asked: Asked) -> None:
        assert connection.rq is not None
        if not delivering:
            delivering.append(await associated(pacs))
            pacs.happened("open")
            await pacs.told()
        for held in pacs.matching(asked):
            assert await store(delivering[0], held, connection.rq.calling_ae_title, asked.command.message_id) == 0
        connection.final(asked, completed=len(pacs.matching(asked)))

    held = [*study_of(1), Held(sop="8.8.1", series="8.8", study="8")]
    pacs = PACS(held, move=over_one_association)
    async with moving(tmp_path, pacs) as house:
        old = await house.connect()
        old.request("/dicom/studies/1.2", ANY_DICOM)
        await pacs.saw("open")
        await house.reload(ANOTHER_BACKEND)
        reply = await house.ask("/dicom/studies/8", ANY_DICOM)
        assert (reply.status, reply.whole, reply.content.count(b"DICM")) == (200, True, 1)
        pacs.tell()
        reply = await old.reply()
        assert (reply.status, reply.whole, reply.content.count(b"DICM")) == (200, True, 1)
        delivering[0].release()
        await house.until_gone()
        pacs.behave()
        pacs.held = study_of(1)


async def associated(pacs: PACS) -> Association:
    association = Association(
        clock=reactor, timing=Timing(first_answer=5, cancel_grace=1), silence_timeout=5, association_timeout=5
    )
    rq = AssociateRQ("HARMONYGW", "PACS", (ProposedContext(1, CT, (EXPLICIT,)),))
    await association.request(TCP4ClientEndpoint(reactor, "127.0.0.1", pacs.move_port), rq)
    return association


async def store(association: Association, held: Held, originator: str, message_id: int) -> int:
    data: Feed[Pieces] = Feed(limit=1)
    data.put((held.data_set(),))
    data.end()
    instance = Instance(held.sop_class, held.sop, held.syntax, data)
    outcome = await association.store(instance, originator_ae_title=originator, originator_message_id=message_id)
    return outcome.status


def with_cache(folder: Path) -> Sequence[tuple[str, str]]:
    table = CACHE.replace("FOLDER", str(folder / "cache"))
    return (
        ('middleware = ["bridge"]', 'middleware = ["bridge", "cache"]'),
        ("[backends.pacs]", f"{table}\n[backends.pacs]"),
    )


@ensureDeferred
async def test_a_cache_stays_warm_and_has_its_new_limit(tmp_path: Path) -> None:
    pacs = PACS([*study_of(2), Held(sop="8.8.1", series="8.8", study="8")])
    async with Reloading(tmp_path, pacs) as house:
        await house.reload(*with_cache(tmp_path))
        for _ in range(2):
            assert (await house.retrieve()).content.count(b"DICM") == 2
        assert pacs.seen.count("C-GET-RQ") == 1
        cache = house.gateway._house.middleware["cache"]
        told = await house.reload(("max_bytes = 20000000", "max_bytes = 2000"), ANOTHER_BACKEND)
        assert told["changed"] == {
            "backends": {"added": [], "removed": [], "changed": ["pacs"]},
            "middleware": {"added": [], "removed": [], "changed": ["cache"]},
        }
        assert house.gateway._house.middleware["cache"] is cache
        assert (await house.retrieve()).content.count(b"DICM") == 2
        assert pacs.seen.count("C-GET-RQ") == 1, "it is still there"
        for _ in range(2):
            assert (await house.ask("/dicom/studies/8", ANY_DICOM)).content.count(b"DICM") == 1
        assert house.gateway.describe()["middleware"]["cache"]["bytes"] <= 2000
        await house.until_gone()
        pacs.held = study_of(2)


def in_two(pacs: PACS) -> Any:
    """Return what sends one instance, waits to be told, and sends the others."""

    async def get(connection: Connection, asked: Asked) -> None:
        matching = pacs.matching(asked)
        await connection.store(matching[0])
        pacs.happened("half")
        await pacs.told()
        for held in matching[1:]:
            await connection.store(held)
        connection.final(asked, completed=len(matching))

    return get


@ensureDeferred
async def test_a_retrieve_that_is_shared_across_a_reload_ends_for_who_still_reads(tmp_path: Path) -> None:
    pacs = PACS(study_of(3))
    pacs.get = in_two(pacs)
    async with Reloading(tmp_path, pacs) as house:
        await house.reload(*with_cache(tmp_path))
        first = await house.connect()
        first.request("/dicom/studies/1.2", ANY_DICOM)
        await pacs.saw("half")
        await house.reload(ANOTHER_BACKEND)
        second = await house.connect()
        second.request("/dicom/studies/1.2", ANY_DICOM)
        await house._until(lambda: house.gateway.describe()["middleware"]["cache"]["joined"] == 1)
        first.transport.abortConnection()
        await house._until(lambda: len(house.exchanges) == 1)  # nothing of the house of before waits for it now
        pacs.tell()
        reply = await second.reply()
        assert (reply.status, reply.whole, reply.content.count(b"DICM")) == (200, True, 3)
        assert pacs.seen.count("C-GET-RQ") == 1
        await house.until_gone()
        pacs.behave()


@ensureDeferred
async def test_a_cache_of_another_archive_has_the_folder_when_the_one_of_before_has_ended(tmp_path: Path) -> None:
    pacs, other = PACS(study_of(2)), PACS(study_of(3))
    async with Reloading(tmp_path, pacs) as house:
        await house.reload(*with_cache(tmp_path))
        assert (await house.retrieve()).content.count(b"DICM") == 2
        pacs.held = [Held(sop="8.8.1", series="8.8", study="8"), Held(sop="8.8.2", series="8.8", study="8")]
        pacs.get = in_two(pacs)
        client = await house.connect()
        client.request("/dicom/studies/8", ANY_DICOM)
        await pacs.saw("half")
        await house.reload((f"port = {pacs.port}", f"port = {other.port}"))

        def cache() -> Any:
            return house.gateway.describe()["middleware"]["cache"]

        assert cache()["open"] is False
        for _ in range(2):
            assert (await house.retrieve()).content.count(b"DICM") == 3, "it is passed by"
        assert other.seen.count("C-GET-RQ") == 2
        pacs.tell()
        assert (await client.reply()).content.count(b"DICM") == 2
        await house.until_gone()
        await house._until(lambda: cache()["open"])
        for _ in range(2):
            assert (await house.retrieve()).content.count(b"DICM") == 3, "nothing of the other archive's"
        assert other.seen.count("C-GET-RQ") == 3
        assert [line for line in house.exchanges if line["outcome"] != "complete"] == []
        await house.reload((f"port = {other.port}", f"port = {pacs.port}"))
        pacs.behave()
        pacs.held = study_of(3)
        await house.until_gone()
    await other.stop()
