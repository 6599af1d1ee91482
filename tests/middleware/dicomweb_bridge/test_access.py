from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from harmonygw.config.middleware_options import DICOMwebBridgeOptions
from harmonygw.dicom.dataset.inline import BULK_THRESHOLD
from harmonygw.dicom.web.resources import parse
from harmonygw.errors import ConfigurationError, NotFound, PeerError, TransportError
from harmonygw.exchange import HTTPOrigin, Request
from harmonygw.middleware.dicomweb_bridge.access import Readable
from harmonygw.operations import Level, Retrieve
from tests.dicom.dataset.encoded import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, element
from tests.middleware.dicomweb_bridge.archive import Archive, Gateway, Sent, instance, result_of
from tests.middleware.dicomweb_bridge.holding import INSTANCE, JPEG_LOSSLESS, Held, PixelGateway, encapsulated
from tests.middleware.dicomweb_bridge.objects import PIXELS, encoded, pieces

REQUEST = Request(HTTPOrigin("GET", ()), "10.0.0.1", "id")


def one(asking: PixelGateway) -> Readable:
    access = asking.bridge._access
    return result_of(access.one(REQUEST, parse(INSTANCE.split("/")), asking.archive.proceed))  # type: ignore[no-any-return]


async def data_set(readable: Readable) -> bytes:
    return b"".join([bytes(piece) async for some in readable.file.pieces() for piece in some])


def test_a_file_of_the_cache_is_read_where_it_lies(tmp_path: Path) -> None:
    held = Held(EXPLICIT, encoded())
    asking = PixelGateway(held, folder=tmp_path)
    readable = one(asking)
    assert (readable.file, readable.layout, held.file.reads) == (held.file, held.file.layout, [])
    assert asking.archive.retrieved == [Retrieve(Level.IMAGE, "1.2", "1.2.3", ("1.2.3.4",), random_access=True)]
    assert asking.holding.streams[0].closed


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    ("syntax", "becomes"),
    [(EXPLICIT, EXPLICIT), (IMPLICIT, IMPLICIT), (BIG_ENDIAN, EXPLICIT), (DEFLATED, EXPLICIT)],
)
def test_what_cannot_be_read_by_parts_is_written_so_that_it_can(
    tmp_path: Path, syntax: str, becomes: str, cached: bool
) -> None:
    asking = PixelGateway(Held(syntax, encoded(syntax), cached=cached), folder=tmp_path)
    readable = one(asking)
    assert readable.instance.transfer_syntax_uid == becomes
    assert result_of(data_set(readable)) == encoded(becomes)
    ((offset, length),) = readable.layout.ranges("7FE00010") or ()
    assert result_of(readable.file.read((offset, length))) == [PIXELS]
    assert list(tmp_path.rglob("*.part")) == []


def test_two_temporary_files_of_one_content_have_the_same_digest(tmp_path: Path) -> None:
    asking = PixelGateway(Held(EXPLICIT, encoded(), cached=False), folder=tmp_path)
    first, second = one(asking), one(asking)
    assert first.file is not second.file
    assert first.file.digest == second.file.digest
    other = PixelGateway(Held(EXPLICIT, encoded(name=b"Doe^John"), cached=False), folder=tmp_path)
    assert one(other).file.digest != first.file.digest


def test_a_compressed_object_stays_as_it_is(tmp_path: Path) -> None:
    data = encapsulated([b"abcd"], 2, 2)
    readable = one(PixelGateway(Held(JPEG_LOSSLESS, data, cached=False), folder=tmp_path))
    assert readable.instance.transfer_syntax_uid == JPEG_LOSSLESS
    assert result_of(data_set(readable)) == data


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_a_malformed_object_cannot_be_read_by_parts(tmp_path: Path, syntax: str, cached: bool) -> None:
    asking = PixelGateway(Held(syntax, encoded(syntax)[:-10], cached=cached), folder=tmp_path)
    with pytest.raises(PeerError):
        one(asking)
    assert asking.holding.streams[0].closed
    assert list(tmp_path.rglob("*.part")) == []


def test_what_fails_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    asking = PixelGateway(folder=tmp_path)
    sent = instance([*pieces(encoded())[:2], TransportError("gone")], EXPLICIT)
    asking.holding.stream_of = lambda retrieve: Sent(sent)  # type: ignore[method-assign]
    with pytest.raises(TransportError, match="gone"):
        one(asking)
    assert list(tmp_path.glob("*/*")) == []


def test_a_client_that_goes_while_an_object_comes_leaves_nothing(tmp_path: Path) -> None:
    class Waiting(Sent):
        async def __anext__(self) -> Any:
            try:
                return await super().__anext__()
            except StopAsyncIteration:
                return await waiting

    waiting: Deferred[None] = Deferred()
    asking = PixelGateway(folder=tmp_path)
    data_set = Waiting(*pieces(encoded())[:3])
    stream = Sent(replace(instance([], EXPLICIT), data_set=data_set))
    asking.holding.stream_of = lambda retrieve: stream  # type: ignore[method-assign]
    coming = asking.begin(f"{INSTANCE}/rendered")
    assert not coming.called
    coming.cancel()
    failures: list[Any] = []
    coming.addErrback(failures.append)
    assert failures[0].check(CancelledError)
    assert (stream.closed, data_set.closed) == (True, True)
    assert list(tmp_path.glob("*/*")) == []


def test_nothing_is_not_found(tmp_path: Path) -> None:
    asking = PixelGateway(folder=tmp_path)
    with pytest.raises(NotFound):
        one(asking)
    assert asking.holding.streams[0].closed


def test_what_the_archive_raises_is_raised(tmp_path: Path) -> None:
    with pytest.raises(TransportError):
        one(PixelGateway(TransportError("gone"), folder=tmp_path))


def test_instances_that_are_given_up_before_the_first_are_given_up() -> None:
    stream = Sent(Held(EXPLICIT, encoded()).instance())

    async def give_up(access: Any) -> None:
        each = access.each(stream)
        await anext(each)
        await each.aclose()

    result_of(give_up(PixelGateway().bridge._access))
    assert stream.closed


@pytest.mark.parametrize(("own", "reads"), [(BULK_THRESHOLD, False), (8, True)])
def test_values_are_found_by_the_bridge_s_own_threshold(own: int, reads: bool) -> None:
    held = Held(EXPLICIT, element(0x00291010, "OB", bytes(10)), bulk_threshold=BULK_THRESHOLD)
    asking = PixelGateway(held, bulk_threshold_bytes=own)
    readable = result_of(asking.bridge._access.measured(one(asking)))
    assert readable.layout.ranges("00291010") == (((12, 10),) if reads else None)
    assert bool(held.file.reads) == reads


# The folder


def test_the_folder_is_there_from_start_to_stop(tmp_path: Path) -> None:
    access = PixelGateway(folder=tmp_path).bridge._access
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("harmonygw-")
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "left.part").touch()
    result_of(access.stop())
    assert list(tmp_path.iterdir()) == []
    result_of(access.stop())


def test_a_folder_that_cannot_be_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    asking = Gateway(Archive(), spool_path=str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="spool_path: there can be no temporary files"):
        asking.bridge.start()
    assert DICOMwebBridgeOptions().spool_path == ""


def test_without_room_the_request_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harmonygw.disk.MAX_VOLATILE_BYTES", 10)
    asking = PixelGateway(Held(EXPLICIT, encoded(), cached=False), folder=tmp_path)
    asking.bridge._access._folder = tmp_path / "taken away"
    with pytest.raises(TransportError, match="no room"):
        one(asking)


def test_nothing_is_written_before_the_start_and_after_the_stop(tmp_path: Path) -> None:
    access = PixelGateway().bridge._access
    with pytest.raises(TransportError, match="starts or stops"):
        result_of(access.readable(Held(EXPLICIT, encoded(), cached=False).instance()))
