"""What the cache answers from, and what it passes on."""

import gc
import os
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.errors import ConfigurationError, NotAcceptable, NotFound, PeerError, TransportError
from harmonygw.exchange import HTTPOrigin, Record, Reply, Request
from harmonygw.middleware.cache import middleware as module
from harmonygw.middleware.cache.middleware import source_of
from harmonygw.operations import Echo, Level, Retrieve
from tests.middleware.cache.archive import (
    SERIES,
    STUDY,
    Archive,
    House,
    all_of,
    expected,
    image,
    items,
    series,
    settled,
    study,
    turn,
    until,
)

FIRST, SECOND = f"{SERIES}.1", f"{SERIES}.2"
OTHER = "1.2.4"


@ensureDeferred
async def test_everything_but_a_retrieve_passes(tmp_path: Path) -> None:
    async with House(tmp_path, Archive([])) as house:
        answer = Reply(result=None)
        request = Request(HTTPOrigin("GET", ()), "10.0.0.1", "id", operation=Echo())

        def proceed(passed: Request) -> "Deferred[Reply]":
            assert passed is request
            done: Deferred[Reply] = Deferred()
            done.callback(answer)
            return done

        assert await house.cache.intercept(request, proceed) is answer


@ensureDeferred
async def test_the_log_tells_whence_and_how_many(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        for target in ("PACS", "cache"):
            for retrieve in (series(), study(), image(FIRST)):
                record = Record()
                request = Request(HTTPOrigin("GET", ()), "10.0.0.1", "id", operation=retrieve, record=record)
                found = await all_of((await house.cache.intercept(request, archive.proceed)).result)
                assert record.instances == len(found)
                assert record.target in (target, "cache")
            await until(lambda: not house.state["under_way"])


@ensureDeferred
async def test_what_is_read_by_parts_comes_with_its_file(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        for retrieve in (image(FIRST), series(random_access=True), series(without_bulk_data=True)):
            async for one in (await house.reply(retrieve)).result:
                assert one.file is not None
                assert one.file.layout is not None
                assert b'"00080018"' in one.file.layout.metadata


@ensureDeferred
async def test_a_study_under_way_serves_requests_for_its_series_and_instances(tmp_path: Path) -> None:
    archive = Archive([*items(2), *items(2, series=OTHER)])
    archive.gate(f"{OTHER}.1")
    async with House(tmp_path, archive) as house:
        whole = house.ask(study())
        await until(lambda: len(archive.sent) == 2)
        parts = [house.ask(series()), house.ask(image(f"{OTHER}.2", of=OTHER)), house.ask(series(OTHER))]
        assert await house.ask(image(FIRST)) == expected(archive.items[0])
        await settled()
        archive.let(f"{OTHER}.1")
        assert await parts[0] == expected(*archive.items[:2])
        assert await parts[1] == expected(archive.items[3])
        assert await parts[2] == expected(*archive.items[2:])
        assert await whole == expected(*archive.items)
        assert [one.level for one in archive.retrieved] == [Level.STUDY]
        await until(lambda: not house.state["under_way"])
        assert await house.ask(study()) == expected(*archive.items)
        assert len(archive.retrieved) == 1


@ensureDeferred
async def test_of_a_study_only_those_series_are_fetched_that_are_not_here(tmp_path: Path) -> None:
    archive = Archive([*items(2), *items(2, series=OTHER)])
    async with House(tmp_path, archive) as house:
        await house.filled(series(OTHER))
        archive.sent.clear()
        assert await house.ask(study()) == expected(*archive.items)
        assert archive.sent == [one.uid for one in archive.items[:2]]


@pytest.mark.parametrize(("most", "refused"), [(2, False), (1, True)])
@ensureDeferred
async def test_an_archive_that_lists_series_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, refused: bool
) -> None:
    monkeypatch.setattr(module, "MAX_SERIES", most)
    archive = Archive([*items(2), *items(2, series=OTHER)])
    async with House(tmp_path, archive) as house:
        await house.filled(series(OTHER))
        if refused:
            with pytest.raises(PeerError, match="more than 1 series"):
                await house.ask(study())
        else:
            assert await house.ask(study()) == expected(*archive.items)


@ensureDeferred
async def test_scope_study_fetches_the_study_that_an_instance_is_in_the_instance_first(tmp_path: Path) -> None:
    archive = Archive([*items(2), *items(2, series=OTHER)])
    async with House(tmp_path, archive, scope="study") as house:
        assert await house.ask(image(f"{OTHER}.2", of=OTHER)) == expected(archive.items[3])
        await until(lambda: not house.state["under_way"])
        assert [(one.level, one.sop_instance_uids) for one in archive.retrieved] == [
            (Level.IMAGE, (f"{OTHER}.2",)),
            (Level.STUDY, ()),
        ]
        assert sorted((await house.ask(study())).items()) == sorted(expected(*archive.items).items())
        assert len(archive.retrieved) == 2
        with pytest.raises(NotFound):
            await house.ask(Retrieve(Level.IMAGE, "1.9", "1.9.1", ("1.9.1.1",), random_access=True))


@ensureDeferred
async def test_a_failure_of_the_cache_midway_does_not_look_like_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive([*items(2), *items(2, series=OTHER)])
    async with House(tmp_path, archive) as house:
        await house.filled(series())
        archive.fails = {f"{OTHER}.1": TransportError("lost")}
        stream = (await house.reply(study())).result
        with pytest.raises(TransportError):
            await all_of(stream)


class Stripping(Archive):
    """An archive that is asked whether it can leave bulk data out."""

    def proceed(self, request: Request) -> "Deferred[Reply]":
        operation = request.operation
        if isinstance(operation, Retrieve) and operation.without_bulk_data and not operation.whole_otherwise:
            self.bare += 1
            if not self.strips:
                raise NotAcceptable("not here")
            items = self.items
            self.items = [items[0]]
            try:
                return super().proceed(request)
            finally:
                self.items = items
        return super().proceed(request)

    bare = 0


@pytest.mark.parametrize("strips", [True, False])
@ensureDeferred
async def test_metadata_comes_without_bulk_data_where_the_archive_has_that(tmp_path: Path, strips: bool) -> None:
    archive = Stripping(items(3), strips=strips)
    async with House(tmp_path, archive) as house:
        for _ in range(2):
            assert await house.ask(series(without_bulk_data=True))
            await until(lambda: not house.state["under_way"])
        assert archive.bare == 1
        assert await house.ask(series()) == expected(*archive.items)
        await house.cache.purge(STUDY)
        assert await house.ask(series(without_bulk_data=True))
        assert archive.bare == (2 if strips else 1)


def open_in(folder: Path) -> list[str]:
    """The files of a folder that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [one for one in found if one.startswith(str(folder))]


@ensureDeferred
async def test_a_stop_under_load_leaves_no_thread_no_file_and_no_descriptor(tmp_path: Path) -> None:
    archive = Archive(items(10, size=2_000_000))
    archive.halfway[f"{SERIES}.4"] = Deferred()
    house = House(tmp_path, archive)
    await house.cache.start()
    asked = [house.ask(series())]
    await until(lambda: len(archive.sent) == 4)
    asked += [house.ask(one) for one in (series(random_access=True), image(f"{SERIES}.7"), study())]
    await until(lambda: house.state["joined"] == 3)
    await until(lambda: open_in(house.folder))
    assert [one for one in threading.enumerate() if "cache-cache" in one.name]
    await house.cache.stop()
    for one in asked:
        with pytest.raises(TransportError):
            await one
    del asked, one
    await turn()  # the reactor holds what threads gave it until its turn ends
    gc.collect()
    assert archive.open == 0
    assert list((house.folder / "incoming").iterdir()) == []
    assert open_in(house.folder) == []
    assert not [one for one in threading.enumerate() if "cache-cache" in one.name]
    assert house.clock.getDelayedCalls() == []


@ensureDeferred
async def test_it_is_described(tmp_path: Path) -> None:
    async with House(tmp_path, Archive(items(2))) as house:
        await house.filled()
        await house.ask(series())
        assert house.state == {
            "bytes": sum(one.stat().st_size for one in house.files),
            "open": True,
            "held_bytes": 0,
            "loaded_series": 1,
            "evicted_series": 0,
            "failures": 0,
            "hits": 1,
            "joined": 0,
            "retrieves": 1,
            "passed_by": 0,
            "under_way": 0,
        }


def configuration(**backends: tuple[str, str]) -> Any:
    """Pipelines that share a cache, each with one backend at a host and with an AE title."""
    return SimpleNamespace(
        pipelines={
            name: SimpleNamespace(backends=(name.rstrip("2"),), middleware_names=("cache",)) for name in backends
        },
        backends={
            name: SimpleNamespace(
                service="dicom_scu", called_ae_title=aet, host=host, port=104, options=SimpleNamespace()
            )
            for name, (host, aet) in backends.items()
        },
    )


def test_pipelines_that_share_a_cache_have_the_same_backends() -> None:
    assert source_of(configuration(a=("pacs", "A"), a2=("pacs", "A")), "cache") == "dicom_scu A@pacs:104 "
    with pytest.raises(ConfigurationError, match="different backends cannot share a cache"):
        source_of(configuration(a=("pacs", "A"), b=("pacs", "B")), "cache")
    assert source_of(configuration(a=("pacs", "A"), b=("pacs", "B")), "another") == ""


@ensureDeferred
async def test_what_is_here_has_a_digest_and_what_comes_has_none(tmp_path: Path) -> None:
    archive = Archive(items(3))
    async with House(tmp_path, archive) as house:
        coming = await house.reply(series())
        assert coming.digest == ""
        await coming.result.aclose()
        await house.filled()
        digests = [(await house.reply(one)).digest for one in (series(), image(FIRST), image(FIRST), image(SECOND))]
        assert all(digests)
        assert digests[1] == digests[2]
        assert len(set(digests)) == 3


# Another configuration


@ensureDeferred
async def test_other_limits_hold_from_then_on(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive, revalidate_secs=1000.0) as house:
        await house.filled()
        context = House(tmp_path, archive, max_bytes=1, max_age_secs=9, revalidate_secs=5.0, serve_stale=True).context
        context.name = "renamed"
        house.cache.renew(context)
        assert house.cache._validation.revalidate_secs == 5.0
        record = Record()
        request = Request(HTTPOrigin("GET", ()), "10.0.0.1", "id", operation=series(), record=record)
        assert len(await all_of((await house.cache.intercept(request, archive.proceed)).result)) == 2
        assert record.target == "renamed"
        await house.cache.purge(STUDY)
        await house.filled()
        assert house.files == [], "nothing fits"


@ensureDeferred
async def test_limits_hold_for_a_folder_that_is_opened_later(tmp_path: Path) -> None:
    archive = Archive(items(1))
    house = House(tmp_path, archive)
    house.cache.renew(House(tmp_path, archive, max_bytes=1).context)
    async with house:
        await house.filled()
        assert house.files == []


def test_a_cache_is_of_its_folder_and_archive_and_nothing_else(tmp_path: Path) -> None:
    def foundation(**options: Any) -> object:
        return module.Cache.foundation(House(tmp_path, Archive([]), **options).context)

    assert foundation() == foundation(max_bytes=1, scope="study", serve_stale=True)
    assert foundation() == foundation(path=f"{tmp_path}/elsewhere/../cache")
    assert foundation() != foundation(path=f"{tmp_path}/elsewhere")
    assert foundation() != foundation(aet="OTHER")


@ensureDeferred
async def test_it_has_finished_when_what_was_under_way_has_ended(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        await house.cache.finish()
        reply = await house.reply(series())
        finished = Deferred.fromCoroutine(house.cache.finish())
        assert not finished.called
        await all_of(reply.result)
        await finished
        assert house.state["under_way"] == 0
