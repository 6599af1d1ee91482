import errno
import os
import zlib
from pathlib import Path

import pytest

from harmonygw.backends.storage.reading import StoredData, delivered_syntax
from harmonygw.backends.storage.search import StoredFile
from harmonygw.errors import Incomplete
from tests.backends.storage.objects import EXPLICIT, IMPLICIT, data_set, encoded

BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_2000 = "1.2.840.10008.1.2.4.90"


def stored_file(content: bytes, transfer_syntax_uid: str = EXPLICIT) -> StoredFile:
    return StoredFile(
        *(1, 1, 1, 1),
        sop_class_uid="1.2",
        sop_instance_uid="1.3",
        transfer_syntax_uid=transfer_syntax_uid,
        source_ae_title="",
        study_instance_uid="1.4",
        series_instance_uid="1.5",
        modality="CT",
        patient_id="",
        issuer="",
        path="a",
        staged="b",
        data_offset=0,
        size=len(content),
        checksum=zlib.crc32(content),
    )


@pytest.mark.parametrize(
    ("stored", "acceptable", "delivered"),
    [
        (EXPLICIT, ("*",), EXPLICIT),
        (IMPLICIT, ("*",), IMPLICIT),
        (JPEG_2000, (EXPLICIT,), JPEG_2000),
        (EXPLICIT, (JPEG_2000, EXPLICIT), EXPLICIT),
        (IMPLICIT, (JPEG_2000, EXPLICIT, IMPLICIT), IMPLICIT),
        (IMPLICIT, (JPEG_2000, EXPLICIT), EXPLICIT),
        (BIG_ENDIAN, (IMPLICIT, EXPLICIT), IMPLICIT),
        (EXPLICIT, (DEFLATED,), DEFLATED),
        (EXPLICIT, (BIG_ENDIAN,), EXPLICIT),
        (EXPLICIT, (JPEG_2000,), EXPLICIT),
        (EXPLICIT, (), EXPLICIT),
    ],
)
def test_the_transfer_syntax_of_delivery(stored: str, acceptable: tuple[str, ...], delivered: str) -> None:
    assert delivered_syntax(stored, acceptable) == delivered


def test_a_file_is_found_at_either_of_its_places(tmp_path: Path) -> None:
    content = encoded(data_set())
    (tmp_path / "staged").write_bytes(content)
    data = StoredData((tmp_path / "final", tmp_path / "staged"), stored_file(content), EXPLICIT)

    assert b"".join(data.read()) == content
    assert data.read() == ()
    data.close()


def test_an_object_that_cannot_be_converted_is_incomplete(tmp_path: Path) -> None:
    broken = encoded(data_set())[:-3]
    (tmp_path / "a").write_bytes(broken)
    data = StoredData((tmp_path / "a",), stored_file(broken), IMPLICIT)
    with pytest.raises(Incomplete) as raised:
        data.read()
    data.close()

    assert "cannot be converted" in raised.value.log_detail


def test_a_disk_that_cannot_be_read_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, length: int) -> bytes:
        raise OSError(errno.EIO, "broken disk")

    content = encoded(data_set())
    (tmp_path / "a").write_bytes(content)
    data = StoredData((tmp_path / "a",), stored_file(content), EXPLICIT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", refuse)
        with pytest.raises(Incomplete) as raised:
            data.read()
    data.close()

    assert "broken disk" in raised.value.log_detail


def test_nothing_is_read_after_close(tmp_path: Path) -> None:
    content = encoded(data_set(PixelData=bytes(600_000)))
    (tmp_path / "a").write_bytes(content)
    data = StoredData((tmp_path / "a",), stored_file(content), EXPLICIT)
    data.read()
    data.close()
    data.close()

    assert data.read() == ()
