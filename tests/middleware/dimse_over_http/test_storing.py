"""A DICOM file in a body, as an instance on its way."""

from io import BytesIO

import pytest
from pydicom.data import get_testdata_file
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.errors import BadRequest, TransportError
from harmonygw.middleware.dimse_over_http.storing import Upload
from harmonygw.streams import Body, Instance
from tests.interop.held import CT, EXPLICIT, Held
from tests.net.http.wire import Source

FILE = file_header(CT, "1.2.3.4", EXPLICIT) + Held().data_set()


async def instance_of(body: Body) -> Instance:
    return (await Upload.begun(body)).instance


async def data_set(instance: Instance) -> bytes:
    return b"".join([piece async for pieces in instance.data_set for piece in pieces])


@pytest.mark.parametrize("step", [1, 7, 500, 10_000])
@ensureDeferred
async def test_an_instance_is_identified_whatever_the_pieces(step: int) -> None:
    source = Source()
    for start in range(0, len(FILE), step):
        source.feed.put((FILE[start : start + step],), 1)
    source.feed.end()
    instance = await instance_of(source.body)
    assert (instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid) == (
        CT,
        "1.2.3.4",
        EXPLICIT,
    )
    assert (instance.study_instance_uid, instance.series_instance_uid) == ("1.2", "1.2.3")
    assert await data_set(instance) == Held().data_set()


@ensureDeferred
async def test_it_is_there_before_its_body_is() -> None:
    source = Source()
    identifying = Deferred.fromCoroutine(instance_of(source.body))
    source.feed.put((FILE[:900],), 900)
    instance = await identifying
    source.feed.put((FILE[900:],), 1)
    source.feed.end()
    assert await data_set(instance) == Held().data_set()


@ensureDeferred
async def test_what_breaks_off_breaks_the_data_set_off() -> None:
    source = Source()
    identifying = Deferred.fromCoroutine(instance_of(source.body))
    source.feed.put((FILE[:900],), 900)
    instance = await identifying
    source.feed.fail(TransportError("the client has gone away"))
    with pytest.raises(TransportError):
        await data_set(instance)


@ensureDeferred
async def test_a_real_file_is_one() -> None:
    with open(str(get_testdata_file("MR_small.dcm", download=False)), "rb") as file:
        content = BytesIO(file.read())
    instance = await instance_of(Body.of(content.getvalue()))
    assert instance.sop_class_uid == "1.2.840.10008.5.1.4.1.1.4"
    assert content.getvalue().endswith(await data_set(instance))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"not a file" * 50, "is not a DICOM file"),
        (b"x", "no whole DICOM file"),
        (FILE[:200], "no whole DICOM file"),
        (file_header(CT, "1.2.3.4", EXPLICIT) + b"\x08\x00\x05", "no whole DICOM file"),
        (file_header(CT, "1.2.3.4", EXPLICIT) + b"\x08\x00\x16\x00?!\0\0" + bytes(50), "is malformed"),
        (file_header(CT, "1.2.3.4", EXPLICIT), "lacks SOPClassUID and SOPInstanceUID"),
        (file_header(CT, "1.2.3.4", EXPLICIT) + Held(study="").data_set(), "lacks StudyInstanceUID"),
        (file_header("1.2.840.10008.5.1.4.1.1.4", "1.2.3.4", EXPLICIT) + Held().data_set(), "names another SOP class"),
    ],
)
@ensureDeferred
async def test_what_cannot_be_stored_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        await instance_of(Body.of(content))


@ensureDeferred
async def test_the_data_set_says_which_instance_it_is() -> None:
    other = file_header(CT, "9.9", EXPLICIT) + Held().data_set()
    assert (await instance_of(Body.of(other))).sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize("length", [len(FILE) - 1, len(FILE) - 900])
@ensureDeferred
async def test_a_file_that_is_cut_short_never_looks_whole(length: int) -> None:
    upload = await Upload.begun(Body.of(FILE[:length]))
    assert upload.fault is None
    with pytest.raises(BadRequest, match="is cut short"):
        await data_set(upload.instance)
    assert upload.fault is not None


@ensureDeferred
async def test_a_stream_of_one_has_one_and_gives_it_up() -> None:
    source = Source()
    source.feed.put((FILE,), 1)
    upload = await Upload.begun(source.body)
    assert [one.sop_instance_uid async for one in upload] == ["1.2.3.4"]
    await upload.aclose()
    assert source.aborted


@ensureDeferred
async def test_who_gives_the_data_set_up_gives_the_request_up() -> None:
    source = Source()
    source.feed.put((FILE,), 1)
    instance = await instance_of(source.body)
    await instance.data_set.aclose()
    assert source.aborted
