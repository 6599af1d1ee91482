"""Stores over several archives: each instance to its own, and the results in the order of the instances."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.config.pipeline_options import SourceRoute
from harmonygw.errors import Busy, TransportError
from harmonygw.exchange import Reply
from harmonygw.operations import Level, Retrieve, Store, StoreResult
from harmonygw.several import storing
from harmonygw.streams import Instance
from tests.middleware.dicomweb_bridge.archive import Sent
from tests.several.archives import CT, PACS, Hospital, image, read, result_of, series, study

GONE = TransportError("gone")


class Instances:
    """Instances that are stored: named by their number, and by their modality."""

    def __init__(self, *named: str) -> None:
        self.instances = [
            Instance(CT, name, "1.2.840.10008.1.2.1", Sent(), leading={"Modality": name[:2]}) for name in named
        ]
        self.closed = False

    async def __aiter__(self) -> AsyncGenerator[Instance, None]:
        for one in self.instances:
            yield one

    def store(self) -> Store:
        return Store(self._stream())

    async def _stream(self) -> AsyncGenerator[Instance, None]:
        try:
            for one in self.instances:
                yield one
        finally:
            self.closed = True


class Uploading(PACS):
    """Says what became of instances only when it has them all, as an HTTP server does."""

    async def _stored(self, store: Store) -> AsyncGenerator[StoreResult, None]:
        uids = [instance.sop_instance_uid async for instance in store.instances]
        self.stored += ["|", *uids]
        for uid in uids:
            yield StoreResult(CT, uid, 0)


def hospital(mg: PACS | None = None, rest: PACS | None = None) -> Hospital:
    return Hospital(
        {"MG": mg or PACS(), "REST": rest or PACS()},
        strategy="route",
        routes=(SourceRoute("mg", {"Modality": ("MG",)}),),
        default="rest",
    )


def outcomes(results: list[StoreResult]) -> list[tuple[str, int]]:
    return [(one.sop_instance_uid, one.status) for one in results]


def test_each_instance_goes_to_its_archive_and_the_results_keep_their_order() -> None:
    one, sent = hospital(), Instances("MG1", "CT2", "CT3", "MG4")
    results = result_of(read(one.respond(sent.store()).result))
    assert outcomes(results) == [("MG1", 0), ("CT2", 0), ("CT3", 0), ("MG4", 0)]
    assert (one.pacs["MG"].stored, one.pacs["REST"].stored) == (["MG1", "MG4"], ["CT2", "CT3"])
    assert sent.closed


def test_what_follows_one_another_to_one_archive_is_one_store() -> None:
    one = hospital(rest=Uploading())
    results = result_of(read(one.respond(Instances("CT1", "CT2", "MG3", "CT4").store()).result))
    assert outcomes(results) == [("CT1", 0), ("CT2", 0), ("MG3", 0), ("CT4", 0)]
    assert one.pacs["REST"].stored == ["|", "CT1", "CT2", "|", "CT4"]


def test_an_archive_that_fails_fails_its_own_instances_only() -> None:
    one = hospital()
    one.pacs["MG"].error = GONE
    asked, [reply] = one.begin(Instances("MG1", "MG2", "CT3", "MG4").store())
    results = result_of(read(reply.result))
    assert outcomes(results) == [("MG1", 0x0110), ("MG2", 0x0110), ("CT3", 0), ("MG4", 0x0110)]
    assert results[0].detail == "gone"
    assert asked.record.notes == ["MG failed to store: gone"]
    one.pacs["MG"].error = Busy("later")
    assert outcomes(result_of(read(one.respond(Instances("MG1").store()).result))) == [("MG1", 0xA700)]


def test_what_an_archive_was_given_and_says_nothing_of_has_failed() -> None:
    class Breaking(PACS):
        async def _stored(self, store: Store) -> AsyncGenerator[StoreResult, None]:
            async for instance in store.instances:
                if instance.sop_instance_uid == "MG2":
                    raise GONE
                yield StoreResult(CT, instance.sop_instance_uid, 0)

    class Mute(PACS):
        async def _stored(self, store: Store) -> AsyncGenerator[StoreResult, None]:
            async for _ in store.instances:
                break
            return
            yield

    one = hospital(Breaking(), Mute())
    results = result_of(read(one.respond(Instances("MG1", "MG2", "MG3", "CT4").store()).result))
    assert outcomes(results) == [("MG1", 0), ("MG2", 0x0110), ("MG3", 0), ("CT4", 0x0110)]
    assert results[3].detail == "REST did not say what became of the instance"


def test_nothing_to_store_is_no_result() -> None:
    assert result_of(read(hospital().respond(Instances().store()).result)) == []


def test_cancelling_is_no_failure_of_an_archive() -> None:
    class Waiting(PACS):
        async def respond(self, request: Any) -> Reply:
            await Deferred()
            raise AssertionError

    one, sent = hospital(Waiting()), Instances("MG1")
    results: list[Any] = []
    reading = Deferred.fromCoroutine(read(one.respond(sent.store()).result))
    reading.addBoth(results.append)
    reading.cancel()
    assert results[0].check(CancelledError)
    assert sent.closed


@pytest.mark.parametrize("strategy", ["federate", "failover"])
def test_without_routes_all_goes_to_the_first_or_to_the_one_that_is_named(strategy: str) -> None:
    one = Hospital({"A": PACS(), "B": PACS()}, strategy=strategy)
    assert len(result_of(read(one.respond(Instances("CT1").store()).result))) == 1
    named = Hospital(one.pacs, strategy=strategy, store_to="b")
    result_of(read(named.respond(Instances("CT2").store()).result))
    result_of(read(named.respond(Instances("CT3").store(), source="A").result))
    assert (one.pacs["A"].stored, one.pacs["B"].stored) == (["CT1", "CT3"], ["CT2"])


def test_where_a_study_is_is_looked_for_anew_once_something_of_it_was_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MAX_STUDIES", 1)
    one = Hospital({"A": PACS(study("1", series("1.1", image("1.1.1")))), "B": PACS()}, store_to="b")
    assert one.retrieved(Retrieve(Level.STUDY, "1")) == ["1.1.1"]
    sent = Instances("CT1", "CT2")
    sent.instances[0].study_instance_uid, sent.instances[1].study_instance_uid = "7", "1"
    result_of(read(one.respond(sent.store()).result))
    one.pacs["B"].studies.append(study("1", series("1.2", image("1.2.1"))))
    assert one.retrieved(Retrieve(Level.STUDY, "1")) == ["1.1.1", "1.2.1"]
