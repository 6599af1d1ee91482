"""Looking at what passes: the same goes on, at the same pace, and a bounded part of it is kept."""

from typing import Any

import pytest

from harmonygw.errors import TransportError
from harmonygw.middleware.tapping import Sample, TappedStream, tapped
from harmonygw.streams import Body, Cancelled
from tests.middleware.exchanges import arriving, bytes_of, items_of, result_of
from tests.service.parts import Found


class TestBody:
    def test_what_is_here_is_told_at_once_and_stays_what_it_is(self) -> None:
        samples: list[Sample] = []
        body = Body.of(b"ab", b"cd")
        assert tapped(body, 4, samples.append) is body
        assert tapped(Body.of(b"abcde"), 4, samples.append).whole == (b"abcde",)
        assert samples == [Sample(b"abcd", complete=True, size=4), Sample(b"abcd", complete=False, size=5)]

    def test_what_comes_is_told_at_its_end(self) -> None:
        samples: list[Sample] = []
        plain, feed = arriving(b"ab", b"cd", length=4)
        body = tapped(plain, 4, samples.append)
        assert (body.length, samples) == (4, [])
        feed.end()
        assert bytes_of(body) == b"abcd"
        assert samples == [Sample(b"abcd", complete=True, size=4)]
        assert result_of(plain.when_done()) is None

    @pytest.mark.parametrize("length", [None, 8])
    def test_what_is_too_long_is_told_before_its_end(self, length: int | None) -> None:
        samples: list[Sample] = []
        plain, feed = arriving(b"ab", b"cd", length=length)
        body = tapped(plain, 3, samples.append)
        assert result_of(body.__anext__()) == (b"ab",)
        assert samples == []
        assert result_of(body.__anext__()) == (b"cd",)
        assert samples == [Sample(b"abc", complete=False, size=length)]
        feed.put((b"efgh",))
        feed.end()
        assert bytes_of(body) == b"efgh"
        assert len(samples) == 1

    def test_what_breaks_off_is_told_with_why(self) -> None:
        samples: list[Sample] = []
        plain, feed = arriving(b"ab")
        body = tapped(plain, 9, samples.append)
        result_of(body.__anext__())
        error = TransportError("gone")
        feed.fail(error)
        assert bytes_of(body) is error
        assert samples == [Sample(b"ab", complete=False, size=None, error=error)]

    def test_given_up_it_gives_the_other_up_with_the_reason(self) -> None:
        samples: list[Sample] = []
        plain, feed = arriving(b"ab")
        body = tapped(plain, 9, samples.append)
        reason = TransportError("enough")
        result_of(body.abort(reason))
        assert samples == [Sample(b"", complete=False, size=None, error=reason)]
        assert feed.done
        assert result_of(plain.when_done()) is reason
        assert result_of(body.when_done()) is reason

    def test_closed_it_closes_the_other(self) -> None:
        plain, _ = arriving(b"ab")
        result_of(tapped(plain, 9, lambda sample: None).aclose())
        assert isinstance(result_of(plain.when_done()), Cancelled)


class TestStream:
    def test_each_item_is_seen_and_the_end_once(self) -> None:
        seen: list[Any] = []
        stream = TappedStream(Found({"a": 1}, {"b": 2}), seen.append, seen.append)
        assert stream.warnings == []
        assert items_of(stream) == [{"a": 1}, {"b": 2}]
        result_of(stream.aclose())
        assert seen == [{"a": 1}, {"b": 2}, None]

    def test_a_failure_is_seen(self) -> None:
        seen: list[Any] = []
        found = Found()
        error = TransportError("gone")
        found._done = False
        found.fail(error)
        assert items_of(TappedStream(found, seen.append, seen.append)) is error
        assert seen == [error]

    def test_given_up_it_gives_the_other_up(self) -> None:
        seen: list[Any] = []
        found = Found({"a": 1}, {"b": 2})
        stream = TappedStream(found, seen.append, seen.append)
        assert result_of(stream.__anext__()) == {"a": 1}
        result_of(stream.aclose())
        assert found.held == 0
        assert seen == [{"a": 1}, None]
