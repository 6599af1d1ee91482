import orjson
import pytest

from harmonygw.errors import TooLarge
from harmonygw.middleware.dicomweb_bridge import searching
from harmonygw.middleware.dicomweb_bridge.searching import EXCEEDED
from tests.middleware.dicomweb_bridge.archive import (
    Archive,
    Gateway,
    body_of,
    study,
    warnings_of,
)
from tests.middleware.dicomweb_bridge.searches import COUNTS, WITHOUT_COUNTS, studies, warning

# Pages


def test_a_page_is_a_part_of_the_matches_in_their_order() -> None:
    archive = Archive(*studies(5))
    assert Gateway(archive).uids("studies?limit=2&offset=1") == ["2", "3"]
    assert (archive.taken, archive.cancelled) == ([3], [True])


def test_no_more_is_read_than_the_page_needs() -> None:
    archive = Archive(*studies(5))
    assert Gateway(archive).uids("studies?limit=2") == ["1", "2"]
    assert (archive.taken, archive.cancelled) == ([2], [True])
    assert archive.asked[0].limit == 2


def test_a_page_of_no_matches_asks_nothing() -> None:
    archive = Archive(*studies(2))
    assert body_of(Gateway(archive).reply("studies?limit=0")) == b"[]"
    assert archive.asked == []


def test_an_offset_beyond_the_end_gives_an_empty_page() -> None:
    archive = Archive(*studies(2))
    reply = Gateway(archive).reply("studies?offset=1000000000&limit=10")
    assert (body_of(reply), warnings_of(reply), reply.status) == (b"[]", [], 200)


def test_no_match_is_an_empty_list() -> None:
    reply = Gateway(Archive()).reply("studies?PatientID=nobody")
    assert (reply.status, body_of(reply)) == (200, b"[]")


@pytest.mark.parametrize("secs", [30.0, 0.0])
@pytest.mark.parametrize("leaves_out", [(), WITHOUT_COUNTS])
def test_a_walk_until_empty_neither_repeats_nor_skips(secs: float, leaves_out: tuple[str, ...]) -> None:
    gateway = Gateway(Archive(*studies(7), leaves_out=leaves_out), page_memory_secs=secs, synthesis_limit=2)
    found: list[str] = []
    while page := gateway.uids(f"studies?limit=2&offset={len(found)}"):
        found += page
    assert found == ["1", "2", "3", "4", "5", "6", "7"]


def test_a_walk_in_single_steps_asks_seldom() -> None:
    archive = Archive(*studies(40))
    gateway = Gateway(archive)
    found: list[str] = []
    while page := gateway.uids(f"studies?limit=1&offset={len(found)}"):
        found += page
    assert found == [str(number) for number in range(1, 41)]
    assert archive.taken == [1, 2, 4, 8, 16, 32, 40]


def test_no_query_is_spent_on_later_pages() -> None:
    archive = Archive(*studies(8), leaves_out=WITHOUT_COUNTS)
    gateway = Gateway(archive)
    gateway.uids("studies?limit=2")
    asked = len(archive.asked)
    assert gateway.uids("studies?limit=1&offset=2") == ["3"]
    of_one_study = asked - 1
    assert len(archive.asked) - asked == 1 + of_one_study // 2


def test_a_walk_goes_on_where_it_was_when_the_archive_changes() -> None:
    archive = Archive(*studies(5))
    gateway = Gateway(archive)
    assert gateway.uids("studies?limit=2") == ["1", "2"]
    archive.studies.insert(0, study("new"))
    assert gateway.uids("studies?limit=2&offset=2") == ["new", "3"]
    del archive.studies[1]  # the first one of the first page
    assert gateway.uids("studies?limit=2&offset=4") == ["4", "5"]
    assert gateway.uids("studies?limit=2&offset=6") == []


def test_a_page_comes_from_what_the_page_before_it_has_seen() -> None:
    archive = Archive(*studies(3))
    gateway = Gateway(archive, max_results=2)
    assert gateway.uids("studies") == ["1", "2"]
    assert gateway.uids("studies?offset=2&limit=1") == ["3"]
    assert len(archive.asked) == 1


def test_the_end_is_remembered() -> None:
    archive = Archive(*studies(3))
    gateway = Gateway(archive)
    assert gateway.uids("studies?limit=4") == ["1", "2", "3"]
    assert gateway.uids("studies?offset=2&limit=4") == ["3"]
    assert gateway.uids("studies?offset=3&limit=4") == []
    assert len(archive.asked) == 1


def test_the_first_page_always_asks_anew() -> None:
    archive = Archive(*studies(2))
    gateway = Gateway(archive)
    assert gateway.uids("studies?limit=5") == ["1", "2"]
    archive.studies.insert(0, study("new"))
    assert gateway.uids("studies?limit=5") == ["new", "1", "2"]


def test_a_page_before_the_one_that_asked_first_asks_anew() -> None:
    archive = Archive(*studies(5))
    gateway = Gateway(archive)
    assert gateway.uids("studies?limit=2&offset=3") == ["4", "5"]
    assert gateway.uids("studies?limit=2&offset=1") == ["2", "3"]
    assert len(archive.asked) == 2


def test_an_answer_is_forgotten_after_its_time_and_never_shared() -> None:
    archive = Archive(*studies(3))
    gateway = Gateway(archive, page_memory_secs=10)
    gateway.uids("studies?limit=5")
    gateway.uids("studies?limit=5&offset=1", client="10.0.0.2")
    gateway.uids("studies?limit=5&offset=1&PatientName=Doe*")
    assert len(archive.asked) == 3
    gateway.clock.advance(9.9)
    gateway.uids("studies?offset=1&limit=5")
    assert len(archive.asked) == 3
    gateway.clock.advance(0.1)
    gateway.uids("studies?offset=1&limit=5")
    assert len(archive.asked) == 4


def test_matches_before_the_page_are_not_completed() -> None:
    archive = Archive(*studies(4), leaves_out=COUNTS)
    gateway = Gateway(archive)
    assert gateway.uids("studies?limit=1&offset=2") == ["3"]
    assert archive.log == ["STUDY", "SERIES StudyInstanceUID=3"]


def test_more_matches_than_the_maximum_are_cut_with_a_warning() -> None:
    archive = Archive(*studies(4))
    gateway = Gateway(archive, max_results=3)
    for target in ("studies", "studies?limit=100"):
        reply = gateway.reply(target)
        assert len(orjson.loads(body_of(reply))) == 3
        assert warnings_of(reply) == [
            '299 harmonygw "The number of results exceeded the maximum supported by the server. '
            'Additional results can be requested."'
        ]
    assert archive.taken == [4, 4]


@pytest.mark.parametrize(("target", "count"), [("studies?limit=2", 2), ("studies?limit=3", 3), ("studies?offset=1", 3)])
def test_what_the_client_cut_itself_and_a_last_page_need_no_warning(target: str, count: int) -> None:
    reply = Gateway(Archive(*studies(4)), max_results=3).reply(target)
    assert (len(orjson.loads(body_of(reply))), warnings_of(reply)) == (count, [])


def test_a_default_limit_cuts_with_a_warning() -> None:
    gateway = Gateway(Archive(*studies(4)), default_limit=2)
    reply = gateway.reply("studies")
    assert (len(orjson.loads(body_of(reply))), warnings_of(reply)) == (2, [warning(EXCEEDED)])
    assert len(gateway.search("studies?limit=3")) == 3


def test_a_search_reaches_so_far_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MAX_REACH", 3)
    assert Gateway(Archive(*studies(5))).uids("studies?offset=1&limit=2") == ["2", "3"]
    assert Gateway(Archive(*studies(2))).uids("studies?offset=1&limit=50") == ["2"]
    with pytest.raises(TooLarge, match="MAX_REACH"):
        Gateway(Archive(*studies(5))).reply("studies?offset=2&limit=2")
