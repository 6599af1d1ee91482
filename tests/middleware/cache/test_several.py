"""A cache before several archives as one: what is one archive's alone passes, and what is missing is said."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.errors import ConfigurationError
from harmonygw.exchange import SOURCE, HTTPOrigin, Reply, Request
from harmonygw.middleware.cache.middleware import source_of
from harmonygw.operations import Find
from tests.middleware.cache.archive import Archive, House, all_of, expected, items, series

MISSING = '299 harmonygw "B did not answer; what it holds is missing here."'


class Incomplete(Archive):
    """Several archives, one of which could not be asked."""

    missing: tuple[str, ...] = (MISSING,)

    def proceed(self, request: Request) -> "Deferred[Reply]":
        return super().proceed(request).addCallback(self._marked, request)

    def _marked(self, reply: Reply, request: Request) -> Reply:
        if isinstance(request.operation, Find):
            reply.result.missing = self.missing
        return reply


@ensureDeferred
async def test_what_names_one_of_the_archives_passes(tmp_path: Path) -> None:
    archive = Archive(items(2))
    async with House(tmp_path, archive) as house:
        await house.filled()
        before = len(archive.retrieved)
        plain = Request(HTTPOrigin("GET", ()), "10.0.0.1", "id", operation=series())
        reply = await house.cache.intercept(replace(plain, attributes={SOURCE: "A"}), archive.proceed)
        assert await all_of(reply.result) == expected(*archive.items)
        assert (len(archive.retrieved), house.state["hits"]) == (before + 1, 0)


@ensureDeferred
async def test_what_is_served_says_which_archive_could_not_be_asked_about_it(tmp_path: Path) -> None:
    archive = Incomplete(items(2))
    async with House(tmp_path, archive, revalidate_secs=60) as house:
        await house.filled()
        for _ in range(2):
            reply = await house.reply(series())
            assert reply.headers == (("Warning", MISSING),)
            await reply.result.aclose()
        archive.missing = ()
        house.clock.advance(61)
        assert (await house.reply(series())).headers == ()


def configuration(*strategies: str) -> Any:
    backend = SimpleNamespace(service="dicom_scu", called_ae_title="A", host="h", port=104, options=SimpleNamespace())
    return SimpleNamespace(
        pipelines={
            str(number): SimpleNamespace(backends=("a", "b"), middleware_names=("cache",), options=strategy)
            for number, strategy in enumerate(strategies)
        },
        backends={"a": backend, "b": backend},
    )


def test_pipelines_that_share_a_cache_make_one_of_several_in_the_same_way() -> None:
    assert source_of(configuration("federate", "federate"), "cache") == "dicom_scu A@h:104 ; dicom_scu A@h:104 "
    with pytest.raises(ConfigurationError, match="different backends cannot share a cache"):
        source_of(configuration("federate", "failover"), "cache")
