from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pytest_twisted import ensureDeferred

from harmonygw.backends.storage import phantom, samples
from harmonygw.dicom.dataset.part10 import file_header
from harmonygw.errors import TransportError
from harmonygw.operations import Level
from tests.backends.storage.objects import (
    ct,
    files_below,
    retrieve,
    running,
    search,
    statuses,
    storage,
    study,
    until,
    values,
)


def parsed(sample: samples.Sample) -> Dataset:
    header = file_header(sample.sop_class_uid, sample.sop_instance_uid, sample.transfer_syntax_uid)
    return dcmread(BytesIO(header + b"".join(sample.pieces)))


@pytest.fixture
def few_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom, "SLICES", 3)


@ensureDeferred
@pytest.mark.usefixtures("few_slices")
async def test_an_empty_archive_is_filled_on_its_first_start_and_not_again(tmp_path: Path) -> None:
    async with running(tmp_path, samples=True) as backend:
        first = values(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None)), "SOPInstanceUID")
    async with running(tmp_path, samples=True) as backend:
        second = values(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None)), "SOPInstanceUID")

    assert len(first) == 3 + len(samples.SHIPPED) + 1
    assert second == first
    assert first[:3] == [samples.phantom_sop_instance_uid(number) for number in (1, 2, 3)]
    assert first[-1] == samples.HEART_SOP_INSTANCE_UID


@ensureDeferred
@pytest.mark.usefixtures("few_slices")
async def test_samples_that_were_interrupted_are_completed(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        await statuses(backend, ct(SOPInstanceUID=samples.phantom_sop_instance_uid(1)))
    async with running(tmp_path, samples=True) as backend:
        found = values(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None)), "SOPInstanceUID")

    assert samples.HEART_SOP_INSTANCE_UID in found
    assert len(found) == 3 + len(samples.SHIPPED) + 1


@pytest.mark.usefixtures("few_slices")
def test_a_file_that_pydicom_does_not_ship_any_more_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SHIPPED", ("was_there_once.dcm", "CT_small.dcm"))

    assert len(list(samples.make())) == 3 + 1 + 1


@ensureDeferred
@pytest.mark.usefixtures("few_slices")
async def test_a_stop_while_the_samples_are_made_ends_them(tmp_path: Path) -> None:
    backend = storage(tmp_path, samples=True)
    starting = backend.start()
    await until(lambda: files_below(tmp_path) != [])
    await backend.stop()
    with pytest.raises(TransportError):
        await starting
    async with running(tmp_path, samples=True) as again:
        found = await search(again, Level.IMAGE, SOPInstanceUID=("UI", None))

    assert len(found) == 3 + len(samples.SHIPPED) + 1


@ensureDeferred
async def test_an_archive_that_holds_something_gets_no_samples(tmp_path: Path) -> None:
    async with running(tmp_path) as backend:
        await statuses(backend, ct())
    async with running(tmp_path, samples=True) as backend:
        found = values(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None)), "SOPInstanceUID")

    assert found == ["1.2.3.4"]


@ensureDeferred
@pytest.mark.usefixtures("few_slices")
async def test_the_phantom_is_found_by_its_patient_and_a_date_of_2025(tmp_path: Path) -> None:
    async with running(tmp_path, samples=True) as backend:
        matches = await search(
            backend,
            Level.STUDY,
            PatientID=("LO", samples.PHANTOM_PATIENT_ID),
            StudyDate=("DA", "20250101-20251231"),
            StudyInstanceUID=("UI", None),
            PatientName=("PN", None),
            NumberOfStudyRelatedInstances=("IS", None),
        )
        retrieved = await retrieve(backend, study(samples.PHANTOM_STUDY_INSTANCE_UID))

    assert values(matches, "StudyInstanceUID") == [samples.PHANTOM_STUDY_INSTANCE_UID]
    assert values(matches, "PatientName") == [{"Alphabetic": "Phantom^Torso"}]
    assert values(matches, "NumberOfStudyRelatedInstances") == [3]
    assert {one.series_instance_uid for one, _ in retrieved} == {samples.PHANTOM_SERIES_INSTANCE_UID}


def test_the_phantom_is_a_ct_series_of_slices_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom, "slice_pixels", lambda number: bytes(2 * 512 * 512))
    slices = [parsed(sample) for sample, _ in zip(samples.make(), range(phantom.SLICES), strict=False)]
    positions = [one.ImagePositionPatient[2] for one in slices]

    assert len({one.SOPInstanceUID for one in slices}) == 120
    assert {one.SeriesInstanceUID for one in slices} == {samples.PHANTOM_SERIES_INSTANCE_UID}
    assert {round(b - a, 6) for a, b in pairwise(positions)} == {phantom.SLICE_SPACING}
    assert [one.InstanceNumber for one in slices] == list(range(1, 121))
    assert slices[0].Modality == "CT"
    assert slices[0].RescaleIntercept == -1024
    assert slices[0].pixel_array.shape == (512, 512)


@pytest.mark.usefixtures("few_slices")
def test_every_sample_can_be_read_and_every_uid_is_its_own() -> None:
    rest = list(samples.make())[phantom.SLICES :]
    identities = {sample.sop_instance_uid for sample in rest}

    assert len(identities) == len(rest) == len(samples.SHIPPED) + 1
    for sample in rest:
        content = parsed(sample)
        assert content.SOPInstanceUID == sample.sop_instance_uid
        assert len(sample.sop_instance_uid) <= 64


@pytest.mark.usefixtures("few_slices")
def test_the_heart_is_a_loop_of_thirty_frames_of_a_patient_with_a_japanese_name() -> None:
    *_, last = samples.make()
    content = parsed(last)

    assert content.NumberOfFrames == 30
    assert content.PatientName.ideographic == "山田^太郎"
    assert len(content.PixelData) == 30 * 256 * 256
