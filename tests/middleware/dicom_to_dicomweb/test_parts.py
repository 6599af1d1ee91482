from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.errors import HarmonyError, Incomplete, PeerError, TransportError
from harmonygw.exchange import Reply
from harmonygw.middleware.dicom_to_dicomweb.parts import MAX_EPILOGUE_LENGTH, Parts
from harmonygw.streams import Body, Cancelled
from tests.dicom.dataset.encoded import EXPLICIT, IMPLICIT
from tests.middleware.dicom_to_dicomweb.server import (
    CT,
    MULTIPART,
    Source,
    data_set,
    instances,
    multipart,
    part10,
    reply,
    run,
)

SINGLE = (("Content-Type", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),)


async def read_all(answer: Reply) -> list[tuple[str, bytes]]:
    """UID and data set of each instance."""
    parts = await Parts.of(answer)
    read: list[tuple[str, bytes]] = []
    while (instance := await parts.next()) is not None:
        data = b"".join([bytes(piece) async for pieces in instance.data_set for piece in pieces])
        read.append((instance.sop_instance_uid, data))
    return read


async def first(answer: Reply) -> tuple[Any, list[str]]:
    """The first instance, and what was remarked of it."""
    parts = await Parts.of(answer)
    return await parts.next(), parts.remarks


def cut(body: bytes, *places: int) -> list[bytes]:
    cuts = sorted({0, len(body), *places})
    return [body[start:stop] for start, stop in pairwise(cuts)]


FILES = [part10("1.2.3.4"), part10("1.2.3.5", syntax=IMPLICIT, pixels=b"\r\n--b2\r\n\r\n--b"), part10("1.2.3.6")]
READ = [
    ("1.2.3.4", data_set("1.2.3.4")),
    ("1.2.3.5", data_set("1.2.3.5", syntax=IMPLICIT, pixels=b"\r\n--b2\r\n\r\n--b")),
    ("1.2.3.6", data_set("1.2.3.6")),
]


@given(st.lists(st.integers(0, len(multipart(*FILES))), max_size=8))
def test_instances_are_read_however_the_response_is_cut(places: list[int]) -> None:
    assert run(read_all(reply(*cut(multipart(*FILES), *places), headers=MULTIPART))) == READ


def test_a_read_may_bring_many_pieces() -> None:
    body = multipart(*FILES)
    source = Source(*cut(body, *range(0, len(body), 7)), each=50)
    assert run(read_all(Reply(200, MULTIPART, Body(source)))) == READ


def test_instances_are_read_byte_by_byte() -> None:
    assert run(read_all(instances(*FILES, size=1))) == READ


@given(st.integers(0, len(multipart(*FILES).removesuffix(b"--\r\n"))))
def test_a_response_that_is_cut_short_never_ends_cleanly(length: int) -> None:
    answer = reply(multipart(*FILES)[:length], headers=MULTIPART)
    with pytest.raises((Incomplete, PeerError)):
        run(read_all(answer))


@given(st.integers(0, len(multipart(*FILES))), st.binary(max_size=40))
def test_hostile_bytes_raise_nothing_that_is_not_foreseen(place: int, bytes_: bytes) -> None:
    body = multipart(*FILES)
    with suppress(HarmonyError):
        run(read_all(reply(body[:place] + bytes_ + body[place:], headers=MULTIPART)))


def test_one_instance_comes_by_itself() -> None:
    file = part10()
    assert run(read_all(reply(*cut(file, 7, 300), headers=SINGLE))) == [("1.2.3.4", data_set())]


def test_one_instance_by_itself_that_breaks_off_does_not_end() -> None:
    with pytest.raises(TransportError):
        run(read_all(reply(part10(), TransportError("lost"), headers=SINGLE)))
    with pytest.raises(PeerError):
        run(read_all(reply(headers=SINGLE)))
    with pytest.raises(PeerError):
        run(read_all(reply(part10()[:200], headers=SINGLE)))


def test_an_instance_has_the_identity_that_its_data_set_says() -> None:
    instance, remarks = run(first(instances(part10())))
    assert (instance.sop_class_uid, instance.sop_instance_uid) == (CT, "1.2.3.4")
    assert (instance.study_instance_uid, instance.series_instance_uid) == ("1.2", "1.2.3")
    assert instance.transfer_syntax_uid == EXPLICIT
    assert instance.leading["PatientID"] == "P1"
    assert remarks == []


@pytest.mark.parametrize(
    ("answer", "remark"),
    [
        (
            instances(part10("1.2.3.4").removesuffix(data_set("1.2.3.4")) + data_set("1.2.3.5")),
            "a file's meta information names another instance than its data set, which was believed",
        ),
        (
            instances(part10(sop_class="1.9").removesuffix(data_set(sop_class="1.9")) + data_set("1.2.3.5")),
            "a file's meta information names another instance than its data set, which was believed",
        ),
        (
            instances(part10("1.2.3.5"), fields=("content-type: application/dicom; transfer-syntax=1.2.3",)),
            "a part names another transfer syntax than its file, which was believed",
        ),
    ],
)
def test_the_file_is_believed_before_its_part_and_the_data_set_before_all(answer: Reply, remark: str) -> None:
    instance, remarks = run(first(answer))
    assert (instance.sop_class_uid, instance.sop_instance_uid) == (CT, "1.2.3.5")
    assert instance.transfer_syntax_uid == EXPLICIT
    assert remarks == [remark]


def test_an_instance_may_end_with_its_identity() -> None:
    short = data_set(pixels=b"")[:-12]
    file = part10(pixels=b"")[:-12]
    assert run(read_all(instances(file))) == [("1.2.3.4", short)]


def test_what_is_left_of_an_instance_is_passed_over() -> None:
    async def reading() -> None:
        parts = await Parts.of(instances(*FILES, size=50))
        first = await parts.next()
        assert first is not None
        await anext(first.data_set)
        second = await parts.next()
        assert second is not None
        assert second.sop_instance_uid == "1.2.3.5"
        with pytest.raises(Cancelled):
            await anext(first.data_set)
        await second.data_set.aclose()
        with pytest.raises(Cancelled):
            await anext(second.data_set)
        third = await parts.next()
        assert third is not None
        assert third.sop_instance_uid == "1.2.3.6"
        assert await parts.next() is None
        assert await parts.next() is None
        assert await parts.read() is None

    run(reading())


def test_nothing_is_read_ahead_of_the_reader() -> None:
    async def reading() -> None:
        source = Source(*cut(multipart(part10(pixels=b"x" * 10_000)), *range(0, 10_000, 1000)))
        parts = await Parts.of(Reply(200, MULTIPART, Body(source)))
        before = source.left
        instance = await parts.next()
        assert instance is not None
        assert source.left == before - 1
        await anext(instance.data_set)
        assert source.left == before - 1
        await anext(instance.data_set)
        assert source.left == before - 2
        await parts.aclose()
        assert source.given_up

    run(reading())


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"<html>", headers=(("Content-Type", "text/html"),)),
        reply(b"x", headers=()),
        reply(b"PK", headers=(("Content-Type", "application/zip"),)),
        reply(b"x", headers=(("Content-Type", "multipart/related"),)),
        reply(b"x", headers=(("Content-Type", f"multipart/related; boundary={'b' * 300}"),)),
        Reply(200, MULTIPART),
        reply(b"<html>Please sign in</html>", headers=MULTIPART),
        reply(b"", headers=MULTIPART),
        instances(b"<html>" + b"x" * 500),
        instances(b""),
        instances(part10()[:140]),
        instances(part10()[:400]),
        instances(part10(), fields=("Content-Type: text/html",)),
        instances(part10(), fields=("Content-Type: nonsense",)),
        instances(part10(), fields=("Content-Type: application/dicom", "Content-Length: 5")),
        instances(part10(), fields=("X: " + "x" * 5000,)),
        instances(part10(), fields=[f"X{number}: x" for number in range(40)]),
        instances(part10(), fields=("no colon",)),
        instances(part10(study="")),
        instances(part10(series="")),
        instances(part10(instance="")),
        instances(part10(sop_class="")),
        reply(multipart(b"\0" * 128 + b"DICM", closed=False), *[b"\x02\0"] * 50_000, headers=MULTIPART),
        reply(b"--b1\r\nX: ", *[b"x" * 1000] * 100, headers=MULTIPART),
    ],
)
def test_what_is_no_response_with_instances_is_refused(answer: Reply) -> None:
    with pytest.raises((PeerError, Incomplete)):
        run(read_all(answer))


def test_the_closing_delimiter_ends_a_response_however_the_connection_does() -> None:
    body = multipart(*FILES)
    assert run(read_all(reply(body, TransportError("no length, and not closed in order"), headers=MULTIPART))) == READ
    with pytest.raises(TransportError):
        run(read_all(reply(body[:-5], TransportError("lost"), headers=MULTIPART)))


def test_what_follows_the_closing_delimiter_is_bounded() -> None:
    source = Source(multipart(*FILES), *[b"x" * 1000] * 1000)
    assert run(read_all(Reply(200, MULTIPART, Body(source)))) == READ
    assert source.given_up
    assert source.left == 1000 - MAX_EPILOGUE_LENGTH // 1000 - 1


def test_a_response_without_parts_has_no_instances() -> None:
    assert run(read_all(reply(b"--b1--\r\n", headers=MULTIPART))) == []
