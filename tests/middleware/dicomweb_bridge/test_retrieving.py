from email.parser import BytesParser
from io import BytesIO
from typing import Any

import pydicom
import pytest

from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.dicom.dataset.transfer_syntaxes import LOSSY
from harmonygw.dicom.web import multipart
from harmonygw.dicom.web.attributes import Level
from harmonygw.errors import Incomplete, NotAcceptable, NotFound, PeerError, TransportError
from harmonygw.exchange import Reply
from harmonygw.middleware.dicomweb_bridge.retrieving import BY_DEFAULT, asked_for, outgoing
from harmonygw.operations import Retrieve
from harmonygw.streams import Cancelled, Instance
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
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
from tests.middleware.dicomweb_bridge.objects import PIXELS, encoded, pieces

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_PROCESS_15 = "1.2.840.10008.1.2.4.58"
"""Lossless, and retired: nothing decodes it here."""
MPEG4 = "1.2.840.10008.1.2.4.102"
ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCE = "studies/1.2/series/1.2.3/instances/1.2.3.4"


def gateway(*instances: Instance | Exception) -> Gateway:
    archive = Archive(study("1.2", series("1.2.3", image("1.2.3.4"))))
    archive.instances = Sent(*instances)
    return Gateway(archive)


def native(syntax: str = EXPLICIT, uid: str = "1.2.3.4") -> Instance:
    return instance(pieces(encoded(syntax)), syntax, uid)


def parts_of(reply: Reply) -> list[tuple[dict[str, str], bytes]]:
    """The header fields and the bytes of each part, read by the standard library."""
    content_type = headers_of(reply)["Content-Type"]
    message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body_of(reply))
    assert not message.defects
    assert message.is_multipart()
    return [(dict(part.items()), part.get_payload(decode=True)) for part in message.get_payload()]  # type: ignore[union-attr, misc]


# Parts


def test_the_body_is_made_of_parts_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "boundary", lambda: "b" * 40)
    reply = gateway(native(), native(uid="1.2.3.5")).reply("studies/1.2", ANY)
    assert headers_of(reply) == {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={"b" * 40}',
        "Cache-Control": "private, no-cache",
    }

    def part(uid: str) -> bytes:
        return (
            b"--" + b"b" * 40 + b"\r\n"
            b"Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n"
            b"Content-Location: " + f"{BASE_URL}/studies/1.2/series/1.2.3/instances/{uid}".encode() + b"\r\n"
            b"\r\n" + file_header(CT, uid, EXPLICIT, source_ae_title="GATEWAY", sending_ae_title="PACS") + encoded()
        )

    assert body_of(reply) == (part("1.2.3.4") + b"\r\n" + part("1.2.3.5") + b"\r\n--" + b"b" * 40 + b"--\r\n")


def test_the_parts_are_files_that_pydicom_reads() -> None:
    ((headers, content),) = parts_of(gateway(native()).reply("studies/1.2"))
    assert headers == {
        "Content-Type": f"application/dicom; transfer-syntax={EXPLICIT}",
        "Content-Location": f"{BASE_URL}/{INSTANCE}",
    }
    file = pydicom.dcmread(BytesIO(content))
    meta = file.file_meta
    assert (meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID) == (EXPLICIT, CT)
    assert (meta.MediaStorageSOPInstanceUID, meta.SourceApplicationEntityTitle) == ("1.2.3.4", "GATEWAY")
    assert meta.SendingApplicationEntityTitle == "PACS"
    assert (file.PatientName, file.PixelData) == ("Doe^Jane", PIXELS)


@pytest.mark.parametrize("accept", ["application/dicom", 'multipart/related; type="application/dicom"'])
def test_what_is_known_beforehand_has_a_tag(accept: str) -> None:
    asking = gateway(native())
    asking.archive.digest = "d"
    tag = headers_of(asking.reply(INSTANCE, accept))["ETag"]
    assert tag.startswith('"d-' if accept == "application/dicom" else 'W/"d-')


def test_what_one_read_brought_goes_out_in_one_piece_and_is_not_copied() -> None:
    data = pieces(encoded())

    async def read(reply: Reply) -> list[Any]:
        assert reply.body is not None
        return [some async for some in reply.body]

    sent = result_of(read(gateway(instance(data, EXPLICIT)).reply("studies/1.2")))
    assert len(sent) == len(data) + 1
    assert [id(piece) for some in sent[:-1] for piece in some][1:] == [id(piece) for some in data for piece in some]


def test_an_instance_without_a_byte_is_sent_as_its_header() -> None:
    ((_, content),) = parts_of(gateway(instance([], EXPLICIT)).reply("studies/1.2"))
    assert content == file_header(CT, "1.2.3.4", EXPLICIT, source_ae_title="GATEWAY", sending_ae_title="PACS")


@pytest.mark.parametrize(
    ("target", "operation"),
    [
        ("studies/1.2", Retrieve(Level.STUDY, "1.2")),
        ("studies/1.2/series/1.2.3", Retrieve(Level.SERIES, "1.2", "1.2.3")),
        (INSTANCE, Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4",))),
    ],
)
def test_the_archive_is_asked_for_what_the_path_names(target: str, operation: Retrieve) -> None:
    asking = gateway(native())
    assert len(parts_of(asking.reply(target, ANY))) == 1
    assert asking.archive.retrieved == [operation]


# Transfer syntaxes


@pytest.mark.parametrize("size", [1, 7, 5000])
@pytest.mark.parametrize("accept", [None, "*/*", "multipart/related; type=application/dicom", ANY])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_what_may_not_travel_the_web_becomes_explicit_vr_on_the_way(syntax: str, accept: str | None, size: int) -> None:
    sent = instance(pieces(encoded(syntax), size), syntax)
    ((headers, content),) = parts_of(gateway(sent).reply("studies/1.2", accept))
    assert headers["Content-Type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert content.endswith(encoded())


def test_a_deflated_object_is_inflated_by_default_and_stays_when_anything_is_taken() -> None:
    ((headers, content),) = parts_of(gateway(native(DEFLATED)).reply("studies/1.2"))
    assert headers["Content-Type"].endswith(f"={EXPLICIT}")
    assert content.endswith(encoded())
    ((headers, content),) = parts_of(gateway(native(DEFLATED)).reply("studies/1.2", ANY))
    assert headers["Content-Type"].endswith(f"={DEFLATED}")
    assert content.endswith(encoded(DEFLATED))


def test_a_named_native_syntax_is_made_of_another() -> None:
    accept = f"multipart/related; type=application/dicom; transfer-syntax={DEFLATED}"
    asking = gateway(native(IMPLICIT))
    ((headers, content),) = parts_of(asking.reply("studies/1.2", accept))
    assert headers["Content-Type"].endswith(f"={DEFLATED}")
    assert pydicom.dcmread(BytesIO(content)).PixelData == PIXELS
    assert asking.archive.retrieved[0].transfer_syntaxes == asked_for((DEFLATED,))


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, MPEG4])
def test_what_is_held_lossy_stays_as_it_is_for_who_names_nothing(syntax: str) -> None:
    asking = gateway(instance([[b"jpeg"]], syntax))
    ((headers, content),) = parts_of(asking.reply("studies/1.2"))
    assert headers["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    assert content.endswith(b"jpeg")
    asked = asking.archive.retrieved[0].transfer_syntaxes
    assert asked == asked_for(BY_DEFAULT)
    assert asked[0] == EXPLICIT
    assert asked.index(IMPLICIT) < asked.index(JPEG_LOSSLESS) < asked.index(syntax)


@pytest.mark.parametrize("syntax", [MPEG4, "1.2.840.10008.1.2.4.52", "1.3.6.1.4.1.1"])
def test_what_nothing_decodes_is_not_acceptable_to_who_names_another_syntax(syntax: str) -> None:
    accept = f"multipart/related; type=application/dicom; transfer-syntax={EXPLICIT}"
    received, error = read_until_error(gateway(instance([[b"jpeg"]], syntax)).reply("studies/1.2", accept))
    assert received == b""
    assert isinstance(error, NotAcceptable)


def test_what_nothing_decodes_is_refused_before_the_first_byte() -> None:
    asking = gateway(instance([[b"jpeg"]], JPEG_PROCESS_15))
    received, error = read_until_error(asking.reply("studies/1.2"))
    assert received == b""
    assert isinstance(error, NotAcceptable)
    assert "transfer-syntax=*" in str(error)
    assert asking.archive.instances.closed


def test_what_nothing_decodes_behind_a_native_one_breaks_the_reply_off() -> None:
    asking = gateway(native(), instance([[b"jpeg"]], JPEG_PROCESS_15, "1.2.3.5"))
    received, error = read_until_error(asking.reply("studies/1.2"))
    assert received.endswith(encoded())
    assert isinstance(error, NotAcceptable)
    assert asking.archive.instances.closed


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_BASELINE, "1.3.6.1.4.1.1"])
def test_anything_is_sent_as_it_is_held_to_who_takes_anything(syntax: str) -> None:
    ((headers, content),) = parts_of(gateway(instance([[b"jpeg"]], syntax)).reply("studies/1.2", ANY))
    assert headers["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    assert content.endswith(b"jpeg")


def test_a_named_syntax_that_nothing_encodes_is_sent_as_it_is_held_and_no_other() -> None:
    accept = f"multipart/related; type=application/dicom; transfer-syntax={JPEG_LOSSLESS}"
    ((headers, _),) = parts_of(gateway(instance([[b"jpeg"]], JPEG_LOSSLESS)).reply("studies/1.2", accept))
    assert headers["Content-Type"].endswith(f"={JPEG_LOSSLESS}")
    received, error = read_until_error(gateway(native()).reply("studies/1.2", accept))
    assert received == b""
    assert isinstance(error, NotAcceptable)


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/octet-stream",
        'multipart/related; type="application/octet-stream"',
        "application/dicom",
        f"multipart/related; type=application/dicom; transfer-syntax={IMPLICIT}",
        f"multipart/related; type=application/dicom; transfer-syntax={BIG_ENDIAN}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_cannot_be_made_is_refused_before_the_archive_is_asked(accept: str, method: str) -> None:
    asking = gateway(native())
    with pytest.raises(NotAcceptable):
        asking.reply("studies/1.2", accept, method=method)
    assert (asking.archive.retrieved, asking.archive.asked) == ([], [])


def test_the_accept_parameter_comes_first() -> None:
    reply = gateway(native()).reply(f"{INSTANCE}?accept=application/dicom", ANY)
    assert headers_of(reply)["Content-Type"] == "application/dicom"


ENCODABLE = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"


@pytest.mark.parametrize("named", [EXPLICIT, *ENCODABLE])
def test_the_archive_is_asked_for_all_that_this_can_be_made_of_the_lossy_last(named: str) -> None:
    asked = asked_for((named,))
    assert asked[0] == named
    assert len(set(asked)) == len(asked)
    assert {IMPLICIT, DEFLATED, BIG_ENDIAN, JPEG_LOSSLESS, JPEG_BASELINE, *ENCODABLE} <= set(asked)
    lossy = [uid in LOSSY for uid in asked]
    assert lossy == sorted(lossy)
    assert not {MPEG4, JPEG_PROCESS_15} & set(asked)


def test_the_archive_is_asked_for_nothing_else_than_what_nothing_is_made_into() -> None:
    assert asked_for((JPEG_LOSSLESS, JPEG_BASELINE)) == (JPEG_LOSSLESS, JPEG_BASELINE)
    assert asked_for(("*",)) == ("*",)
    assert asked_for((JPEG_LOSSLESS, "*")) == (JPEG_LOSSLESS, "*")


def test_the_archive_is_asked_for_lossy_ones_last_even_by_who_prefers_them() -> None:
    asked = asked_for((JPEG_BASELINE, EXPLICIT))
    assert asked.index(JPEG_BASELINE) > asked.index(JPEG_LOSSLESS) > asked.index(EXPLICIT) == 0


@pytest.mark.parametrize(
    ("held", "accepted", "out"),
    [
        (JPEG_BASELINE, (EXPLICIT, JPEG_BASELINE), JPEG_BASELINE),
        (JPEG_BASELINE, (EXPLICIT,), EXPLICIT),
        (JPEG_BASELINE, (JPEG_LOSSLESS, *ENCODABLE), ENCODABLE[0]),
        (IMPLICIT, (JPEG_LOSSLESS, ENCODABLE[2], EXPLICIT), ENCODABLE[2]),
        (BIG_ENDIAN, ("*",), EXPLICIT),
        (JPEG_PROCESS_15, ("*",), JPEG_PROCESS_15),
        (JPEG_PROCESS_15, (EXPLICIT, "*"), JPEG_PROCESS_15),
    ],
)
def test_an_object_goes_out_as_it_is_if_it_may_and_else_in_the_first_that_is_made(
    held: str, accepted: tuple[str, ...], out: str
) -> None:
    assert outgoing(held, accepted) == out


# One instance by itself


@pytest.mark.parametrize(
    ("syntax", "accept", "content_type", "out"),
    [
        (EXPLICIT, "application/dicom", "application/dicom", EXPLICIT),
        (IMPLICIT, "application/dicom", "application/dicom", EXPLICIT),
        (EXPLICIT, "application/dicom; transfer-syntax=*", "application/dicom", EXPLICIT),
        (
            DEFLATED,
            "application/dicom; transfer-syntax=*",
            f"application/dicom; transfer-syntax={DEFLATED}",
            DEFLATED,
        ),
    ],
)
def test_one_instance_comes_by_itself(syntax: str, accept: str, content_type: str, out: str) -> None:
    reply = gateway(native(syntax)).reply(INSTANCE, accept)
    assert headers_of(reply) == {"Content-Type": content_type, "Cache-Control": "private, no-cache"}
    header = file_header(CT, "1.2.3.4", out, source_ae_title="GATEWAY", sending_ae_title="PACS")
    assert body_of(reply) == header + encoded(out)


def test_one_instance_that_cannot_be_sent_is_refused_with_nothing_left_open() -> None:
    asking = gateway(instance([[b"jpeg"]], JPEG_PROCESS_15))
    with pytest.raises(NotAcceptable):
        asking.reply(INSTANCE, "application/dicom")
    assert asking.archive.instances.closed


def test_one_instance_that_fails_to_come_fails_the_request() -> None:
    asking = gateway(TransportError("gone"))
    with pytest.raises(TransportError):
        asking.reply(INSTANCE, "application/dicom")
    assert asking.archive.instances.closed


def test_a_second_instance_is_not_dropped_in_silence() -> None:
    asking = gateway(native(), native())
    received, error = read_until_error(asking.reply(INSTANCE, "application/dicom"))
    assert received.endswith(encoded())
    assert isinstance(error, PeerError)
    assert asking.archive.instances.closed


# Nothing, and failures


def test_nothing_is_not_found_before_the_first_byte() -> None:
    received, error = read_until_error(gateway().reply("studies/1.2"))
    assert received == b""
    assert isinstance(error, NotFound)
    with pytest.raises(NotFound):
        gateway().reply(INSTANCE, "application/dicom")


def test_instances_that_break_off_leave_the_body_without_its_end() -> None:
    asking = gateway(native(), Incomplete("one instance did not come"))
    reply = asking.reply("studies/1.2")
    received, error = read_until_error(reply)
    assert isinstance(error, Incomplete)
    assert received.endswith(encoded())
    boundary = headers_of(reply)["Content-Type"].rpartition("=")[2].encode()
    assert received.count(boundary) == 1
    assert asking.archive.instances.closed


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_data_set_that_breaks_off_does_so_too(syntax: str) -> None:
    cut = pieces(encoded(syntax))[:2]
    asking = gateway(instance([*cut, TransportError("gone")], syntax))
    received, error = read_until_error(asking.reply("studies/1.2"))
    assert isinstance(error, TransportError)
    assert received
    assert b"--\r\n" not in received
    assert asking.archive.instances.closed


def test_an_object_that_is_cut_short_is_no_object() -> None:
    asking = gateway(instance(pieces(encoded(IMPLICIT)[:-10]), IMPLICIT))
    _, error = read_until_error(asking.reply("studies/1.2"))
    assert isinstance(error, PeerError)
    assert asking.archive.instances.closed


@pytest.mark.parametrize("read", [0, 1, 2])
@pytest.mark.parametrize(("target", "accept"), [("studies/1.2", ANY), (INSTANCE, "application/dicom")])
def test_a_body_that_is_given_up_gives_the_instances_up(target: str, accept: str, read: int) -> None:
    asking = gateway(native(), native())
    reply = asking.reply(target, accept)
    body = reply.body
    assert body is not None

    async def give_up() -> None:
        for _ in range(read):
            await body.__anext__()
        await body.aclose()

    assert not asking.archive.instances.closed
    result_of(give_up())
    assert asking.archive.instances.closed
    reasons: list[Any] = []
    body.when_done().addErrback(reasons.append)
    assert reasons[0].check(Cancelled)


# HEAD


@pytest.mark.parametrize(
    ("target", "find"),
    [
        ("studies/1.2", "STUDY StudyInstanceUID=1.2"),
        ("studies/1.2/series/1.2.3", "SERIES SeriesInstanceUID=1.2.3 StudyInstanceUID=1.2"),
        (INSTANCE, "IMAGE SOPInstanceUID=1.2.3.4 SeriesInstanceUID=1.2.3 StudyInstanceUID=1.2"),
    ],
)
def test_head_asks_whether_it_is_there_and_moves_nothing(target: str, find: str) -> None:
    asking = gateway()
    reply = asking.reply(target, method="HEAD")
    assert headers_of(reply)["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert reply.body is None
    assert (asking.archive.log, asking.archive.retrieved) == ([find], [])


def test_head_of_one_instance_by_itself_has_its_type() -> None:
    reply = gateway().reply(INSTANCE, "application/dicom", method="HEAD")
    assert headers_of(reply) == {"Content-Type": "application/dicom", "Cache-Control": "private, no-cache"}


@pytest.mark.parametrize("ignores", [[], ["StudyInstanceUID"]])
def test_head_of_nothing_is_not_found(ignores: list[str]) -> None:
    with pytest.raises(NotFound):
        Gateway(Archive(study("9"), ignores=ignores)).reply("studies/1.2", method="HEAD")
