from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest

from harmonygw.dicom.web.attributes import Level
from harmonygw.errors import Incomplete, NotFound, PeerError, TransportError
from harmonygw.exchange import Reply
from harmonygw.middleware.dicomweb_bridge import gathering
from harmonygw.streams import Instance
from tests.dicom.dataset.encoded import EXPLICIT
from tests.middleware.dicomweb_bridge.archive import (
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
    warnings_of,
)
from tests.middleware.dicomweb_bridge.objects import encoded, pieces

ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
LOST = Incomplete("2 of 3 instances did not come")
STUDY = "studies/1.2"


def asking(*sent: Any, listed: tuple[str, ...] = ("1.2.3.4", "1.2.3.5"), **options: Any) -> Gateway:
    """A gateway that gathers, before an archive that lists these instances of one series, and sends something."""
    archive = Archive(study("1.2", series("1.2.3", *map(image, listed))))
    archive.instances = Sent(*sent)
    gateway = Gateway(archive, partial="report", **options)
    gateway.bridge._access._folder = Path("/nowhere")  # nothing here is too much for memory
    return gateway


def native(uid: str = "1.2.3.4") -> Instance:
    return instance(pieces(encoded()), EXPLICIT, uid)


def files_of(reply: Reply) -> list[bytes]:
    body = body_of(reply)
    message = BytesParser().parsebytes(f"Content-Type: {headers_of(reply)['Content-Type']}\r\n\r\n".encode() + body)
    assert not message.defects
    return [part.get_payload(decode=True) for part in message.get_payload()]  # type: ignore[union-attr, misc]


def test_all_of_it_is_200_and_as_long_as_announced() -> None:
    gateway = asking(native(), native("1.2.3.5"))
    gateway.archive.digest = "d"
    reply = gateway.reply(STUDY, ANY)
    assert (reply.status, warnings_of(reply)) == (200, [])
    assert headers_of(reply)["ETag"].startswith('W/"d-')
    assert reply.body is not None
    length = reply.body.length
    body = body_of(reply)
    assert len(body) == length
    assert body.count(b"DICM") == 2
    assert gateway.archive.asked == []
    assert gateway.archive.instances.closed


def test_some_of_it_is_206_and_says_what_is_missing() -> None:
    gateway = asking(native(), LOST, listed=("1.2.3.4", "1.2.3.5", "1.2.3.6"))
    gateway.archive.digest = "d"
    reply = gateway.reply(STUDY, ANY)
    assert reply.status == 206
    assert warnings_of(reply) == ['299 harmonygw "2 of 3 instances are missing: 1.2.3.5, 1.2.3.6"']
    assert "ETag" not in headers_of(reply)
    assert reply.body is not None
    length = reply.body.length
    [file] = files_of(reply)
    assert reply.body.size == length
    assert file.endswith(encoded())
    assert gateway.archive.log == ["SERIES StudyInstanceUID=1.2", "IMAGE SeriesInstanceUID=1.2.3 StudyInstanceUID=1.2"]
    assert gateway.request is not None
    assert gateway.request.record.notes == ["2 of 3 instances did not come; sent without them"]
    assert gateway.request.record.matches == 0
    assert gateway.archive.instances.closed


def test_of_a_series_its_instances_alone_are_asked_for() -> None:
    gateway = asking(native(), LOST)
    assert gateway.reply(f"{STUDY}/series/1.2.3", ANY).status == 206
    assert gateway.archive.log == ["IMAGE SeriesInstanceUID=1.2.3 StudyInstanceUID=1.2"]


def test_half_an_instance_is_none() -> None:
    half = pieces(encoded())[:3]
    gateway = asking(native(), instance([*half, LOST], EXPLICIT, "1.2.3.5"))
    reply = gateway.reply(STUDY, ANY)
    assert (reply.status, len(files_of(reply))) == (206, 1)
    assert warnings_of(reply) == ['299 harmonygw "1 of 2 instances are missing: 1.2.3.5"']


def test_only_so_many_are_named() -> None:
    listed = tuple(f"1.2.3.{number}" for number in range(4, 4 + gathering.MAX_NAMED + 2))
    [said] = warnings_of(asking(native(), LOST, listed=listed).reply(STUDY, ANY))
    assert said.count("1.2.3.") == gathering.MAX_NAMED
    assert said.endswith(f'1.2.3.{3 + gathering.MAX_NAMED + 1}, and 1 more"')


@pytest.mark.parametrize("listed", [("1.2.3.4",), ()], ids=["what came", "nothing"])
def test_what_the_archive_does_not_call_missing_is_no_206(listed: tuple[str, ...]) -> None:
    gateway = asking(native(), LOST, listed=listed)
    with pytest.raises(Incomplete, match="2 of 3"):
        gateway.reply(STUDY, ANY)
    assert gateway.archive.instances.closed


def test_nothing_of_it_is_what_it_was() -> None:
    gateway = asking(LOST)
    with pytest.raises(Incomplete):
        gateway.reply(STUDY, ANY)
    assert gateway.archive.asked == []
    with pytest.raises(NotFound):
        asking().reply(STUDY, ANY)


@pytest.mark.parametrize("error", [TransportError("the association was lost"), PeerError("another patient")])
def test_what_fails_otherwise_is_no_206(error: Exception) -> None:
    gateway = asking(native(), error)
    with pytest.raises(type(error)):
        gateway.reply(STUDY, ANY)
    assert gateway.archive.asked == []
    assert gateway.archive.instances.closed


def test_an_archive_that_cannot_say_what_is_missing_is_no_206(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = asking(native(), LOST)
    gateway.archive.refuses = (Level.IMAGE,)
    with pytest.raises(Incomplete):
        gateway.reply(STUDY, ANY)
    monkeypatch.setattr(gathering, "MAX_LISTED", 1)
    with pytest.raises(Incomplete):
        asking(native(), LOST).reply(STUDY, ANY)
    monkeypatch.setattr(gathering, "MAX_LISTED", 2)
    assert asking(native(), LOST).reply(STUDY, ANY).status == 206


def test_what_is_too_much_goes_out_as_it_comes_and_is_broken_off() -> None:
    gateway = asking(native(), native("1.2.3.5"), LOST, partial_bytes=1000)
    reply = gateway.reply(STUDY, ANY)
    assert (reply.status, warnings_of(reply)) == (200, [])
    assert gateway.request is not None
    [note] = gateway.request.record.notes
    assert note.startswith("more than partial_bytes has come")
    content, error = read_until_error(reply)
    assert error is LOST
    assert content.count(b"DICM") == 2
    boundary = headers_of(reply)["Content-Type"].partition("boundary=")[2].encode()
    assert not content.endswith(b"--" + boundary + b"--\r\n")


def test_what_is_as_much_as_may_be_is_gathered() -> None:
    reply = asking(native(), native("1.2.3.5")).reply(STUDY, ANY)
    size = len(body_of(reply))
    assert asking(native(), native("1.2.3.5"), partial_bytes=size).reply(STUDY, ANY).body.length == size  # type: ignore[union-attr]
    late = asking(native(), native("1.2.3.5"), partial_bytes=size - 1).reply(STUDY, ANY)
    assert late.body is not None
    assert late.body.length is None
    assert len(body_of(late)) == size


def test_what_is_too_much_ends_with_who_gives_it_up() -> None:
    gateway = asking(native(), native("1.2.3.5"), partial_bytes=1000)
    reply = gateway.reply(STUDY, ANY)
    assert reply.body is not None
    assert not gateway.archive.instances.closed
    result_of(reply.body.aclose())
    assert gateway.archive.instances.closed


def test_a_file_is_no_reply_that_says_what_is_missing() -> None:
    gateway = asking(native(), LOST)
    _, error = read_until_error(gateway.reply(STUDY, "application/zip"))
    assert error is LOST
