from pathlib import Path
from typing import Any

import orjson
import pytest

from harmonygw.dicom.dataset.inline import BULK_THRESHOLD
from harmonygw.errors import Incomplete, NotAcceptable, NotFound, PeerError, RangeNotSatisfiable
from harmonygw.middleware.dicomweb_bridge.bulk_data import media_type_of
from harmonygw.operations import Level, Retrieve
from tests.dicom.dataset.encoded import BIG_ENDIAN, EXPLICIT, UNDEFINED, element, header, item, sequence
from tests.middleware.dicomweb_bridge.archive import BASE_URL, body_of, headers_of, read_until_error, result_of
from tests.middleware.dicomweb_bridge.holding import (
    INSTANCE,
    JPEG_LS,
    SERIES,
    Held,
    PixelGateway,
    encapsulated,
    native,
    parts_of,
)

BULK = f"{INSTANCE}/bulkdata"
PRIVATE = bytes(range(200)) * 10
WAVEFORM = bytes(range(100, 150)) * 40
DOCUMENT = b"%PDF-1.4 " + bytes(2000) + b"%%EOF "
PDF_TYPE = element(0x00420012, "LO", b"application/pdf ")


def held(**others: Any) -> Held:
    """A private value, one in a sequence, and native pixels."""
    data = element(0x00091010, "OB", PRIVATE) + native(b"\1\2\3\4", 2, 2)
    waveform = sequence(0x54000100, item(b""), item(element(0x54001010, "OW", WAVEFORM)))
    return Held(EXPLICIT, element(0x00091010, "OB", PRIVATE) + waveform + data[len(PRIVATE) + 12 :], **others)


def document(media_type: bytes = b"application/pdf ", value: bytes = DOCUMENT) -> Held:
    data = element(0x00420011, "OB", value) + element(0x00420012, "LO", media_type)
    return Held(EXPLICIT, data)


def nested() -> Held:
    """An icon whose pixels are compressed, in two fragments, and pixel data that is too."""
    fragments = [header(0xFFFEE000, "", len(one)) + one for one in (b"", b"ab", b"cd")]
    icon = header(0x7FE00010, "OB", UNDEFINED) + b"".join(fragments) + header(0xFFFEE0DD, "", 0)
    return Held(JPEG_LS, sequence(0x00880200, item(icon)) + encapsulated([b"xy"], 2, 2))


def readable(one: Held) -> Any:
    return result_of(PixelGateway().bridge._access.readable(one.instance()))


# One value


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("path", "value"), [("00091010", PRIVATE), ("54000100/1/54001010", WAVEFORM)])
def test_a_value_comes_as_a_part(tmp_path: Path, path: str, value: bytes, cached: bool) -> None:
    reply = PixelGateway(held(cached=cached), folder=tmp_path).reply(f"{BULK}/{path}")
    assert headers_of(reply)["Content-Type"].startswith('multipart/related; type="application/octet-stream"; ')
    assert headers_of(reply)["ETag"].startswith('W/"')
    assert reply.body is not None
    assert parts_of(reply) == [
        ({"Content-Type": "application/octet-stream", "Content-Location": f"{BASE_URL}/{BULK}/{path}"}, value)
    ]
    assert reply.body.length == reply.body.size


def test_every_reference_of_the_metadata_leads_to_its_value() -> None:
    asking = PixelGateway(held())
    (data_set,) = orjson.loads(body_of(asking.reply(f"{INSTANCE}/metadata")))
    references = [
        data_set["00091010"]["BulkDataURI"],
        data_set["54000100"]["Value"][1]["54001010"]["BulkDataURI"],
        data_set["7FE00010"]["BulkDataURI"],
    ]
    values = [body_of(asking.reply(uri.removeprefix(f"{BASE_URL}/"), "application/octet-stream")) for uri in references]
    assert values == [PRIVATE, WAVEFORM, b"\1\2\3\4"]


@pytest.mark.parametrize(
    ("asked", "status", "value"),
    [
        (None, 200, PRIVATE),
        ("bytes=1-3", 206, b"\1\2\3"),
        ("bytes=1990-", 206, PRIVATE[1990:]),
        ("bytes=-5", 206, PRIVATE[-5:]),
        ("bytes=0-1,5-6", 200, PRIVATE),
    ],
)
def test_a_value_by_itself_can_come_by_ranges(asked: str | None, status: int, value: bytes) -> None:
    asking = PixelGateway(held())
    reply = asking.reply(f"{BULK}/00091010", "application/octet-stream", headers={"range": asked} if asked else {})
    headers = headers_of(reply)
    assert (reply.status, headers["Content-Type"]) == (status, "application/octet-stream")
    assert headers["Accept-Ranges"] == "bytes"
    assert ("Content-Range" in headers) == (status == 206)
    assert body_of(reply) == value


def test_a_range_is_of_the_representation_that_the_client_has() -> None:
    asking = PixelGateway(held())

    def status(if_range: str) -> int:
        headers = {"range": "bytes=0-1", "if-range": if_range}
        return asking.reply(f"{BULK}/00091010", "application/octet-stream", headers=headers).status

    tag = headers_of(asking.reply(f"{BULK}/00091010", "application/octet-stream"))["ETag"]
    assert status(tag) == 206
    assert status('"another"') == 200
    assert status(f"W/{tag}") == 200
    with pytest.raises(RangeNotSatisfiable) as caught:
        asking.reply(f"{BULK}/00091010", "application/octet-stream", headers={"range": "bytes=2000-"})
    assert caught.value.length == 2000


def test_tags_tell_values_and_forms_apart() -> None:
    asking = PixelGateway(held())
    targets = [("00091010", None), ("00091010", "application/octet-stream"), ("54000100/1/54001010", None)]
    tags = [headers_of(asking.reply(f"{BULK}/{path}", accept))["ETag"] for path, accept in targets]
    assert len(set(tags)) == 3
    assert tags == [headers_of(asking.reply(f"{BULK}/{path}", accept))["ETag"] for path, accept in targets]


@pytest.mark.parametrize("path", ["00091011", "54000100", "54000100/0/54001010", "54000100/1", "7FE00010/0", "x"])
def test_a_value_that_is_not_given_by_reference_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        PixelGateway(held()).reply(f"{BULK}/{path}")


def test_a_threshold_other_than_the_cache_s_finds_its_values() -> None:
    one = Held(EXPLICIT, element(0x00091010, "OB", b"abcdefghij"), bulk_threshold=BULK_THRESHOLD)
    assert parts_of(PixelGateway(one, bulk_threshold_bytes=8).reply(f"{BULK}/00091010"))[0][1] == b"abcdefghij"
    assert parts_of(PixelGateway(one, bulk_threshold_bytes=8).reply(BULK))[0][1] == b"abcdefghij"
    with pytest.raises(NotFound):
        PixelGateway(one).reply(f"{BULK}/00091010")


@pytest.mark.parametrize(("accept", "multipart"), [(None, True), ("application/octet-stream", False)])
def test_native_pixels_are_a_value_that_says_how_they_are_encoded(accept: str | None, multipart: bool) -> None:
    reply = PixelGateway(held()).reply(f"{BULK}/7FE00010", accept)
    content_type = f"application/octet-stream; transfer-syntax={EXPLICIT}"
    if multipart:
        ((headers, content),) = parts_of(reply)
    else:
        headers, content = dict(headers_of(reply)), body_of(reply)
    assert (headers["Content-Type"], content) == (content_type, b"\1\2\3\4")


def test_pixels_that_nothing_describes_are_bytes() -> None:
    one = Held(EXPLICIT, element(0x7FE00010, "OW", b"\1\2\3\4"))
    assert parts_of(PixelGateway(one).reply(f"{BULK}/7FE00010"))[0] == (
        {"Content-Type": "application/octet-stream", "Content-Location": f"{BASE_URL}/{BULK}/7FE00010"},
        b"\1\2\3\4",
    )


def test_values_of_a_big_endian_object_are_little_endian(tmp_path: Path) -> None:
    data = element(0x00281203, "OW", b"\0\1" * 1000, BIG_ENDIAN)
    reply = PixelGateway(Held(BIG_ENDIAN, data), folder=tmp_path).reply(f"{BULK}/00281203", "application/octet-stream")
    assert body_of(reply) == b"\1\0" * 1000


def test_compressed_pixels_in_a_sequence_are_their_fragments() -> None:
    path = "00880200/0/7FE00010"
    ((headers, content),) = parts_of(PixelGateway(nested()).reply(f"{BULK}/{path}"))
    assert (headers["Content-Type"], content) == (f"application/octet-stream; transfer-syntax={JPEG_LS}", b"abcd")
    alone = PixelGateway(nested()).reply(f"{BULK}/{path}", "application/octet-stream")
    assert headers_of(alone)["Content-Type"] == f"application/octet-stream; transfer-syntax={JPEG_LS}"
    assert body_of(alone) == b"abcd"


# Media types of their own


@pytest.mark.parametrize("accept", [None, "*/*", "application/pdf"])
def test_a_document_comes_by_itself_in_its_own_type(accept: str | None) -> None:
    reply = PixelGateway(document()).reply(f"{BULK}/00420011", accept)
    assert headers_of(reply)["Content-Type"] == "application/pdf"
    assert body_of(reply) == DOCUMENT


def test_a_document_can_be_a_part_and_bytes() -> None:
    reply = PixelGateway(document()).reply(f"{BULK}/00420011", 'multipart/related; type="application/pdf"')
    assert parts_of(reply)[0][0]["Content-Type"] == "application/pdf"
    reply = PixelGateway(document()).reply(f"{BULK}/00420011", "application/octet-stream")
    assert headers_of(reply)["Content-Type"] == "application/octet-stream"
    with pytest.raises(NotAcceptable):
        PixelGateway(document()).reply(f"{BULK}/00420011", "image/jpeg")


@pytest.mark.parametrize(
    ("stated", "media_type"),
    [
        (b"text/XML", "text/xml"),
        (b"", "application/octet-stream"),
        (b"nonsense", "application/octet-stream"),
        (b"a/b\r\nX-Evil: 1", "application/octet-stream"),
        (b"a/b/c ", "application/octet-stream"),
        ("ä/b ".encode(), "application/octet-stream"),
    ],
)
def test_a_type_that_is_none_is_not_passed_on(stated: bytes, media_type: str) -> None:
    one = document(stated)
    assert media_type_of(readable(one), "00420011") == media_type
    assert media_type_of(readable(one), "00091010") == "application/octet-stream"


# All of a resource


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        ("studies/1.2", Retrieve(Level.STUDY, "1.2", random_access=True)),
        (SERIES, Retrieve(Level.SERIES, "1.2", "1.2.3", random_access=True)),
        (INSTANCE, Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4",), random_access=True)),
    ],
)
def test_all_of_a_resource_is_a_part_for_each_value(target: str, operation: Retrieve) -> None:
    asking = PixelGateway(held())
    reply = asking.reply(f"{target}/bulkdata")
    assert headers_of(reply)["Content-Type"].startswith('multipart/related; type="application/octet-stream"; ')
    assert [
        (headers["Content-Location"].removeprefix(f"{BASE_URL}/{BULK}/"), content)
        for headers, content in parts_of(reply)
    ] == [
        ("00091010", PRIVATE),
        ("54000100/1/54001010", WAVEFORM),
        ("7FE00010", b"\1\2\3\4"),
    ]
    assert asking.archive.retrieved == [operation]


def test_compressed_pixels_among_others_are_frames() -> None:
    reply = PixelGateway(nested()).reply(BULK, "multipart/related; type=application/octet-stream; transfer-syntax=*")
    received = [
        (headers["Content-Location"].removeprefix(f"{BASE_URL}/{INSTANCE}/"), content)
        for headers, content in parts_of(reply)
    ]
    assert received == [("bulkdata/00880200/0/7FE00010", b"abcd"), ("pixeldata", b"xy")]


@pytest.mark.parametrize("some", [[], [Held(EXPLICIT, element(0x00100020, "LO", b"P1"))]])
def test_a_resource_without_values_is_not_found_before_the_first_byte(some: list[Held]) -> None:
    asking = PixelGateway(*some)
    received, error = read_until_error(asking.reply(f"{SERIES}/bulkdata"))
    assert (received, type(error)) == (b"", NotFound)
    assert asking.holding.streams[0].closed


@pytest.mark.parametrize(
    ("second", "kind"),
    [(Incomplete("one is missing"), Incomplete), (Held(EXPLICIT, b"\x08\0", uid="1.2.3.5"), PeerError)],
)
def test_what_breaks_off_has_no_last_boundary(second: Any, kind: type[Exception]) -> None:
    asking = PixelGateway(held(), second)
    reply = asking.reply(f"{SERIES}/bulkdata")
    received, error = read_until_error(reply)
    assert isinstance(error, kind)
    assert received.count(headers_of(reply)["Content-Type"].rpartition("=")[2].encode()) == 3
    assert asking.holding.streams[0].closed


def test_a_body_that_is_given_up_gives_the_instances_up() -> None:
    asking = PixelGateway(held())
    body = asking.reply(f"{SERIES}/bulkdata").body
    assert body is not None
    result_of(body.aclose())
    assert asking.holding.streams[0].closed


@pytest.mark.parametrize("target", [f"{SERIES}/bulkdata", f"{BULK}/00091010"])
def test_head_asks_whether_the_instance_is_there(target: str) -> None:
    asking = PixelGateway(held())
    reply = asking.reply(target, method="HEAD")
    assert reply.headers == (("Content-Type", "application/octet-stream"), ("Cache-Control", "private, no-cache"))
    assert (reply.body, asking.archive.retrieved) == (None, [])
    with pytest.raises(NotFound):
        PixelGateway().reply(target, method="HEAD")
