from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest

from harmonygw.dicom.dataset.inline import BULK_THRESHOLD
from harmonygw.dicom.dataset.xml_encoding import NAMESPACE, to_xml
from harmonygw.dicom.web.attributes import Level
from harmonygw.errors import Incomplete, NotAcceptable, NotFound, PeerError
from harmonygw.exchange import Reply
from harmonygw.operations import Retrieve
from harmonygw.streams import Instance
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, element, item, sequence
from tests.middleware.dicomweb_bridge.archive import (
    BASE_URL,
    Archive,
    Gateway,
    Sent,
    body_of,
    headers_of,
    image,
    instance,
    read_until_error,
    result_of,
    series,
    study,
)
from tests.middleware.dicomweb_bridge.holding import Held, PixelGateway, parts_of
from tests.middleware.dicomweb_bridge.objects import PIXELS, encoded, pieces

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
XML = 'multipart/related; type="application/dicom+xml"'
OHIF = "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*; transfer-syntax=*"
INSTANCE = "studies/1.2/series/1.2.3/instances/1.2.3.4"


def gateway(*instances: Instance | Exception, **options: Any) -> Gateway:
    archive = Archive(study("1.2", series("1.2.3", image("1.2.3.4"))))
    archive.instances = Sent(*instances)
    return Gateway(archive, **options)


def native(syntax: str = EXPLICIT, uid: str = "1.2.3.4", **others: bytes) -> Instance:
    return instance(pieces(encoded(syntax, **others)), syntax, uid)


def metadata_of(reply: Reply) -> list[Any]:
    return orjson.loads(body_of(reply))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("syntax", "available"),
    [(EXPLICIT, EXPLICIT), (IMPLICIT, EXPLICIT), (BIG_ENDIAN, EXPLICIT), (DEFLATED, DEFLATED)],
)
def test_an_instance_is_shown_with_its_bulk_data_by_reference(syntax: str, available: str) -> None:
    (data_set,) = metadata_of(gateway(native(syntax)).reply(f"{INSTANCE}/metadata"))
    assert list(data_set) == sorted(data_set)
    assert data_set == {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
        "00082218": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["T-A0"]}}]},
        "00083002": {"vr": "UI", "Value": [available]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
        "0020000E": {"vr": "UI", "Value": ["1.2.3"]},
        "00280010": {"vr": "US", "Value": [32]},
        "7FE00010": {"vr": "OW", "BulkDataURI": f"{BASE_URL}/{INSTANCE}/bulkdata/7FE00010"},
    }


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        ("studies/1.2", Retrieve(Level.STUDY, "1.2")),
        (
            "studies/1.2/series/1.2.3",
            Retrieve(Level.SERIES, "1.2", "1.2.3"),
        ),
        (INSTANCE, Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4",))),
    ],
)
def test_every_level_is_an_array_of_its_instances(target: str, operation: Retrieve) -> None:
    asking = gateway(native(), native(uid="1.2.3.5"))
    data_sets = metadata_of(asking.reply(f"{target}/metadata"))
    uris = [data_set["7FE00010"]["BulkDataURI"] for data_set in data_sets]
    assert uris == [
        f"{BASE_URL}/studies/1.2/series/1.2.3/instances/{uid}/bulkdata/7FE00010" for uid in ("1.2.3.4", "1.2.3.5")
    ]
    assert asking.archive.retrieved == [replace(operation, without_bulk_data=True, random_access=True)]


def test_whole_instances_are_asked_for_where_that_is_configured() -> None:
    asking = gateway(native(), metadata_source="instances")
    metadata_of(asking.reply(f"{INSTANCE}/metadata"))
    assert not asking.archive.retrieved[0].without_bulk_data


def test_they_need_not_do_where_that_is_configured() -> None:
    asking = gateway(native(), metadata_source="without_bulk_data")
    metadata_of(asking.reply(f"{INSTANCE}/metadata"))
    assert asking.archive.retrieved[0].without_bulk_data
    assert not asking.archive.retrieved[0].whole_otherwise


def test_each_instance_goes_out_when_it_is_there() -> None:
    reply = gateway(native(), native(uid="1.2.3.5")).reply("studies/1.2/metadata")

    async def read() -> list[list[bytes]]:
        assert reply.body is not None
        return [[bytes(piece) for piece in some] async for some in reply.body]

    first, second, end = result_of(read())
    assert (first[0], second[0], end) == (b"[", b",", [b"]"])
    assert orjson.loads(first[1])["00080018"]["Value"] == ["1.2.3.4"]


def test_long_values_wherever_they_are_have_a_reference_of_their_own() -> None:
    private = element(0x00291010, "OB", bytes(10))
    data = element(0x00082218, "", b"")[:0] + sequence(0x00400555, item(private))
    (data_set,) = metadata_of(
        gateway(instance([[data]], EXPLICIT), bulk_threshold_bytes=8).reply(f"{INSTANCE}/metadata")
    )
    (nested,) = data_set["00400555"]["Value"]
    assert nested["00291010"]["BulkDataURI"] == f"{BASE_URL}/{INSTANCE}/bulkdata/00400555/0/00291010"


def test_text_becomes_utf_8_and_its_character_set_stays_that_of_the_object() -> None:
    sent = native(name="Müller^Jürgen".encode("latin-1"), character_set=b"ISO_IR 100")
    (data_set,) = metadata_of(gateway(sent).reply(f"{INSTANCE}/metadata"))
    assert data_set["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    assert data_set["00080005"] == {"vr": "CS", "Value": ["ISO_IR 100"]}


def test_text_without_a_character_set_is_read_in_the_archive_s_default() -> None:
    sent = native(name="Müller^Jürgen".encode("latin-1"))
    sent.default_character_set = ("ISO_IR 100",)
    (data_set,) = metadata_of(gateway(sent).reply(f"{INSTANCE}/metadata"))
    assert data_set["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    assert "00080005" not in data_set


def test_undecodable_text_is_shown_as_that_and_noted() -> None:
    asking = gateway(native(name=b"M\xfcller"))
    (data_set,) = metadata_of(asking.reply(f"{INSTANCE}/metadata"))
    assert "\ufffd" in data_set["00100010"]["Value"][0]["Alphabetic"]
    assert asking.request is not None
    assert asking.request.record.notes == ["values of (0010,0010) hold bytes that their character set lacks"]


def test_compressed_objects_are_shown_as_they_are_held() -> None:
    fragments = element(0x7FE00010, "OB", b"")[:8] + b"\xff\xff\xff\xff"
    fragments += b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0\x04\0\0\0abcd" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    asking = gateway(instance([[fragments]], JPEG_LOSSLESS))
    (data_set,) = metadata_of(asking.reply(f"{INSTANCE}/metadata"))
    assert data_set == {
        "00083002": {"vr": "UI", "Value": [JPEG_LOSSLESS]},
        "7FE00010": {"vr": "OB", "BulkDataURI": f"{BASE_URL}/{INSTANCE}/bulkdata/7FE00010"},
    }
    assert asking.archive.retrieved[0].transfer_syntaxes == ("*",)


# Nothing, and failures


def test_nothing_is_not_found_before_the_first_byte() -> None:
    received, error = read_until_error(gateway().reply("studies/1.2/metadata"))
    assert received == b""
    assert isinstance(error, NotFound)


@pytest.mark.parametrize(
    ("second", "kind"),
    [(Incomplete("one is missing"), Incomplete), (instance(pieces(encoded()[:-10]), EXPLICIT), PeerError)],
)
def test_a_failure_midway_leaves_the_array_open(second: Any, kind: type[Exception]) -> None:
    asking = gateway(native(), second)
    received, error = read_until_error(asking.reply("studies/1.2/metadata"))
    assert isinstance(error, kind)
    assert received.startswith(b"[{")
    assert orjson.loads(received + b"]")[0]["00080018"]["Value"] == ["1.2.3.4"]
    assert asking.archive.instances.closed


def test_a_body_that_is_given_up_gives_the_instances_up() -> None:
    asking = gateway(native())
    body = asking.reply("studies/1.2/metadata").body
    assert body is not None
    result_of(body.aclose())
    assert asking.archive.instances.closed


# Media types


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/dicom+json"),
        ("application/json", "application/json"),
        (OHIF, "application/dicom+json"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_json_is_answered_with_its_exact_type(accept: str | None, media_type: str, method: str) -> None:
    asking = gateway(native())
    reply = asking.reply(f"{INSTANCE}/metadata", accept, method=method)
    assert headers_of(reply) == {"Content-Type": media_type, "Cache-Control": "private, no-cache"}
    assert (reply.body is None) == (method == "HEAD")
    assert (asking.archive.log == []) == (method == "GET")


def test_head_of_nothing_is_not_found() -> None:
    with pytest.raises(NotFound):
        gateway().reply("studies/9/metadata", method="HEAD")


def test_the_accept_parameter_comes_first_and_nothing_acceptable_is_refused() -> None:
    asking = gateway(native())
    reply = asking.reply(f"{INSTANCE}/metadata?accept=application/json", "application/dicom+json")
    assert headers_of(reply)["Content-Type"] == "application/json"
    with pytest.raises(NotAcceptable):
        gateway().reply(f"{INSTANCE}/metadata", "application/dicom")


# What lies in a file, and what came without its bulk data


def test_a_file_s_own_layout_is_not_read_again_and_gives_the_same_bytes() -> None:
    held = Held(EXPLICIT, encoded())
    cached = body_of(PixelGateway(held).reply(f"{INSTANCE}/metadata"))
    assert cached == body_of(gateway(native()).reply(f"{INSTANCE}/metadata"))
    assert held.file.reads == []


def test_a_file_with_another_threshold_is_read_again() -> None:
    data = element(0x00291010, "OB", bytes(10))
    held = Held(EXPLICIT, data, bulk_threshold=BULK_THRESHOLD)
    asking = PixelGateway(held, bulk_threshold_bytes=8)
    (data_set,) = metadata_of(asking.reply(f"{INSTANCE}/metadata"))
    assert data_set["00291010"] == {"vr": "OB", "BulkDataURI": f"{BASE_URL}/{INSTANCE}/bulkdata/00291010"}
    assert held.file.reads == [(0, len(data))]


def test_a_threshold_that_no_short_value_reaches_is_the_longest_value_s() -> None:
    held = Held(EXPLICIT, encoded(), bulk_threshold=10**9)
    body_of(PixelGateway(held, bulk_threshold_bytes=10**6).reply(f"{INSTANCE}/metadata"))
    assert held.file.reads == []


def test_a_malformed_object_in_a_file_breaks_the_array_off() -> None:
    asking = PixelGateway(Held(EXPLICIT, encoded()), Held(EXPLICIT, encoded()[:-10], "1.2.3.5"))
    received, error = read_until_error(asking.reply("studies/1.2/metadata"))
    assert isinstance(error, PeerError)
    assert orjson.loads(received + b"]")[0]["00080018"]["Value"] == ["1.2.3.4"]


def test_what_came_without_its_bulk_data_does_not_say_how_it_is_held() -> None:
    data = encoded()[: -len(PIXELS) - 12]
    sent = instance(pieces(data), EXPLICIT)
    sent.without_bulk_data = True
    (data_set,) = metadata_of(gateway(sent).reply(f"{INSTANCE}/metadata"))
    assert list(data_set) == ["00080016", "00080018", "00082218", "00100010", "0020000D", "0020000E", "00280010"]


# XML


def test_metadata_in_xml_is_a_part_for_each_instance() -> None:
    reply = gateway(native(), native(uid="1.2.3.5")).reply("studies/1.2/metadata", XML)
    assert headers_of(reply)["Content-Type"].startswith('multipart/related; type="application/dicom+xml"; boundary=')
    received = parts_of(reply)
    assert [headers for headers, _ in received] == [
        {
            "Content-Type": "application/dicom+xml",
            "Content-Location": f"{BASE_URL}/studies/1.2/series/1.2.3/instances/{uid}/metadata",
        }
        for uid in ("1.2.3.4", "1.2.3.5")
    ]
    (expected,) = metadata_of(gateway(native()).reply(f"{INSTANCE}/metadata"))
    assert received[0][1] == to_xml(expected)
    root = ElementTree.fromstring(received[0][1])
    assert {one.get("keyword"): one.findtext(f"{{{NAMESPACE}}}Value") for one in root}["Rows"] == "32"


def test_one_instance_s_metadata_can_be_xml_by_itself() -> None:
    reply = gateway(native()).reply(f"{INSTANCE}/metadata", "application/dicom+xml")
    assert headers_of(reply)["Content-Type"] == "application/dicom+xml"
    assert body_of(reply).startswith(b"<?xml")
    with pytest.raises(NotAcceptable):
        gateway(native()).reply("studies/1.2/metadata", "application/dicom+xml")


@pytest.mark.parametrize("accept", [XML, "application/dicom+xml"])
def test_xml_of_nothing_is_not_found(accept: str) -> None:
    received, error = read_until_error(gateway().reply(f"{INSTANCE}/metadata", accept))
    assert received == b""
    assert isinstance(error, NotFound)


def test_xml_that_breaks_off_has_no_last_boundary() -> None:
    asking = gateway(native(), Incomplete("one is missing"))
    reply = asking.reply("studies/1.2/metadata", XML)
    received, error = read_until_error(reply)
    assert isinstance(error, Incomplete)
    boundary = headers_of(reply)["Content-Type"].rpartition("=")[2].encode()
    assert received.count(boundary) == 1
    assert asking.archive.instances.closed


def test_head_of_xml_has_its_type() -> None:
    reply = gateway().reply(f"{INSTANCE}/metadata", XML, method="HEAD")
    assert headers_of(reply)["Content-Type"].startswith('multipart/related; type="application/dicom+xml"; boundary=')
    assert reply.body is None


def test_what_is_known_beforehand_has_a_tag_and_what_is_not_has_none() -> None:
    asking = gateway(native())
    assert "ETag" not in headers_of(asking.reply(f"{INSTANCE}/metadata"))
    asking.archive.digest = "d"
    tags = {
        headers_of(asking.reply(f"{INSTANCE}/metadata", accept))["ETag"]
        for accept in ("application/dicom+json", "application/json", 'multipart/related; type="application/dicom+xml"')
    }
    assert len(tags) == 3
    assert sorted(tag.split("-")[0] for tag in tags) == ['"d', '"d', 'W/"d']
    assert headers_of(asking.reply(f"{INSTANCE}/metadata"))["ETag"] in tags
