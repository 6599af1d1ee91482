import io
import re
import zipfile
from typing import Any

import pydicom
import pytest

from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.errors import Incomplete, NotAcceptable, NotFound
from harmonygw.middleware.dicomweb_bridge.zipping import harmless
from harmonygw.operations import Level, Retrieve
from tests.dicom.dataset.encoded import BIG_ENDIAN, EXPLICIT, IMPLICIT
from tests.middleware.dicomweb_bridge.archive import body_of, headers_of, read_until_error, result_of
from tests.middleware.dicomweb_bridge.holding import (
    CT,
    INSTANCE,
    JPEG_LS,
    SERIES,
    Held,
    PixelGateway,
    encapsulated,
    held_file,
    parts_of,
)
from tests.middleware.dicomweb_bridge.objects import encoded

ZIP = "application/zip"


def held(uid: str = "1.2.3.4", **others: Any) -> Held:
    return Held(EXPLICIT, encoded(), uid, **others)


def files_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_archive_has_a_folder_for_each_series_and_a_file_for_each_instance() -> None:
    asking = PixelGateway(held("1.2.3.4"), held("1.2.3.5"), held("1.2.9.1", series="1.2.9"))
    reply = asking.reply("studies/1.2", ZIP)
    assert headers_of(reply) == {
        "Content-Type": "application/zip",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": 'attachment; filename="1.2.zip"',
    }
    files = files_of(body_of(reply))
    assert list(files) == ["1.2.3/1.2.3.4.dcm", "1.2.3/1.2.3.5.dcm", "1.2.9/1.2.9.1.dcm"]
    for name, content in files.items():
        header = file_header(CT, name[6:-4], EXPLICIT, source_ae_title="GATEWAY", sending_ae_title="PACS")
        assert content == header + encoded()
    assert asking.holding.streams[0].closed


@pytest.mark.parametrize(
    ("target", "name", "operation"),
    [
        (SERIES, "1.2.3.zip", Retrieve(Level.SERIES, "1.2", "1.2.3")),
        (INSTANCE, "1.2.3.4.zip", Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4",))),
    ],
)
def test_series_and_instances_are_archives_too(target: str, name: str, operation: Retrieve) -> None:
    asking = PixelGateway(held())
    reply = asking.reply(target, f"{ZIP}; transfer-syntax=*")
    assert headers_of(reply)["Content-Disposition"] == f'attachment; filename="{name}"'
    assert list(files_of(body_of(reply))) == ["1.2.3/1.2.3.4.dcm"]
    assert asking.archive.retrieved == [operation]


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN])
def test_files_are_in_the_transfer_syntax_that_goes_out(syntax: str) -> None:
    (content,) = files_of(body_of(PixelGateway(Held(syntax, encoded(syntax))).reply(SERIES, ZIP))).values()
    assert pydicom.dcmread(io.BytesIO(content)).file_meta.TransferSyntaxUID == EXPLICIT
    assert content.endswith(encoded())


def test_pixels_are_decoded_in_it() -> None:
    (content,) = files_of(body_of(PixelGateway(held_file("MR_small_RLE.dcm")).reply(SERIES, ZIP))).values()
    assert pydicom.dcmread(io.BytesIO(content)).file_meta.TransferSyntaxUID == EXPLICIT
    (content,) = files_of(
        body_of(PixelGateway(Held(JPEG_LS, encapsulated([b"ab"], 2, 2))).reply(SERIES, f"{ZIP}; transfer-syntax=*"))
    ).values()
    assert pydicom.dcmread(io.BytesIO(content)).file_meta.TransferSyntaxUID == JPEG_LS


@pytest.mark.filterwarnings("error")
def test_instances_that_come_twice_are_two_files() -> None:
    files = files_of(body_of(PixelGateway(held(), held(), held("1.2.3.5"), held()).reply(SERIES, ZIP)))
    assert list(files) == ["1.2.3/1.2.3.4.dcm", "1.2.3/1.2.3.4_2.dcm", "1.2.3/1.2.3.5.dcm", "1.2.3/1.2.3.4_3.dcm"]


def test_names_lead_nowhere() -> None:
    odd = ["C:x", "-", "1.2&rm", "1.2|rm", "1_2", "1.2_2", "1.2"]
    files = files_of(body_of(PixelGateway(*(held(uid, series="../..") for uid in odd)).reply("studies/1.2", ZIP)))
    assert len(files) == len(odd)
    for name in files:
        assert re.fullmatch(r"-/[0-9A-Za-z.-]+(_[0-9]+)?\.dcm", name)
    assert harmless("1.2.840") == "1.2.840"
    assert [harmless(uid) for uid in ("", "..", "\u00e9", "a\r\nb")] == ["-", "-", "-", "a--b"]


def test_no_instance_is_not_found_before_the_first_byte() -> None:
    received, error = read_until_error(PixelGateway().reply(SERIES, ZIP))
    assert (received, type(error)) == (b"", NotFound)


def test_a_first_instance_that_cannot_be_made_is_refused_before_the_first_byte() -> None:
    asking = PixelGateway(Held("1.2.840.10008.1.2.4.58", b"jpeg"))
    received, error = read_until_error(asking.reply(SERIES, ZIP))
    assert (received, type(error)) == (b"", NotAcceptable)
    assert asking.holding.streams[0].closed


def test_an_archive_that_breaks_off_has_no_directory() -> None:
    asking = PixelGateway(held(), Incomplete("one is missing"))
    received, error = read_until_error(asking.reply(SERIES, ZIP))
    assert isinstance(error, Incomplete)
    assert received.startswith(b"PK\3\4")
    assert b"PK\1\2" not in received
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(received))
    assert asking.holding.streams[0].closed


@pytest.mark.parametrize("read", [0, 1, 2])
def test_an_archive_that_is_given_up_gives_the_instances_up(read: int) -> None:
    asking = PixelGateway(held(), held("1.2.3.5"))
    body = asking.reply(SERIES, ZIP).body
    assert body is not None

    async def give_up() -> None:
        for _ in range(read):
            await body.__anext__()
        await body.aclose()

    result_of(give_up())
    assert asking.holding.streams[0].closed


def test_nothing_is_held_of_a_large_instance() -> None:
    one = held_file("CT_small.dcm")
    body = PixelGateway(one).reply(SERIES, ZIP).body
    assert body is not None

    async def longest() -> int:
        return max([sum(map(len, pieces)) async for pieces in body])

    assert result_of(longest()) < 6000 < len(one.data)


def test_multipart_is_what_who_takes_anything_gets() -> None:
    assert len(parts_of(PixelGateway(held()).reply(SERIES, "*/*"))) == 1
