"""Queries, through the backend, on an archive of five instances."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pytest_twisted import blockon, ensureDeferred
from twisted.internet.defer import Deferred

from harmonygw.backends.storage import Storage
from harmonygw.backends.storage.attributes import tag_of
from harmonygw.operations import Find, Level
from tests.backends.storage.objects import CT, EXPLICIT, ct, keys, respond, search, storage, store, values

SR = "1.2.840.10008.5.1.4.1.1.88.33"


def requested(procedure: str, description: str) -> Dataset:
    item = Dataset()
    item.RequestedProcedureID = procedure
    item.RequestedProcedureDescription = description
    return item


OBJECTS: list[dict[str, Any]] = [
    {"SOPInstanceUID": "1.1", "InstanceNumber": 1, "RequestAttributesSequence": [requested("R1", "Chest")]},
    {"SOPInstanceUID": "1.2", "InstanceNumber": 2, "RequestAttributesSequence": [requested("R1", "Chest")]},
    {
        "SOPInstanceUID": "1.3",
        "SeriesInstanceUID": "1.2.4",
        "SeriesNumber": 2,
        "Modality": "SR",
        "SOPClassUID": SR,
    },
    {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "SOPInstanceUID": "2.1",
        "StudyInstanceUID": "2",
        "SeriesInstanceUID": "2.0",
        "PatientID": "P2",
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "StudyDate": "20250630",
        "AccessionNumber": "A2",
        "Modality": "MR",
    },
    {
        "SOPInstanceUID": "3.1",
        "StudyInstanceUID": "3",
        "SeriesInstanceUID": "3.0",
        "PatientID": None,
        "PatientName": "Unknown^One",
        "StudyDate": None,
        "AccessionNumber": None,
    },
]


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Storage]:
    result = storage(tmp_path)
    blockon(result.start())
    blockon(Deferred.fromCoroutine(store(result, *(ct(**one) for one in OBJECTS))))
    yield result
    blockon(result.stop())


@ensureDeferred
@pytest.mark.parametrize(
    ("wanted", "studies"),
    [
        ({}, ["1.2", "2", "3"]),
        ({"PatientID": ("LO", "P1")}, ["1.2"]),
        ({"PatientID": ("LO", "P*")}, ["1.2", "2"]),
        ({"PatientID": ("LO", "P?")}, ["1.2", "2"]),
        ({"PatientID": ("LO", "*")}, ["1.2", "2", "3"]),
        ({"StudyInstanceUID": ("UI", ["2", "3", "4"])}, ["2", "3"]),
        ({"StudyDate": ("DA", "20250102")}, ["1.2"]),
        ({"StudyDate": ("DA", "20250101-20251231")}, ["1.2", "2"]),
        ({"StudyDate": ("DA", "20250103-")}, ["2"]),
        ({"StudyDate": ("DA", "-20250103")}, ["1.2"]),
        ({"AccessionNumber": ("SH", "A2")}, ["2"]),
        ({"ModalitiesInStudy": ("CS", "SR")}, ["1.2"]),
        ({"ModalitiesInStudy": ("CS", ["SR", "MR"])}, ["1.2", "2"]),
        ({"SOPClassesInStudy": ("UI", SR)}, ["1.2"]),
        ({"PatientName": ("PN", {"Alphabetic": "Yamada*"})}, ["2"]),
        ({"StudyDate": ("DA", "20250102"), "PatientID": ("LO", "P2")}, []),
    ],
)
async def test_studies_that_match(backend: Storage, wanted: dict[str, Any], studies: list[str]) -> None:
    matches = await search(backend, Level.STUDY, **{"StudyInstanceUID": ("UI", None), **wanted})

    assert values(matches, "StudyInstanceUID") == studies


@ensureDeferred
async def test_a_study_counts_what_it_has(backend: Storage) -> None:
    [match] = await search(
        backend,
        Level.STUDY,
        StudyInstanceUID=("UI", "1.2"),
        ModalitiesInStudy=("CS", None),
        SOPClassesInStudy=("UI", None),
        NumberOfStudyRelatedSeries=("IS", None),
        NumberOfStudyRelatedInstances=("IS", None),
        InstanceAvailability=("CS", None),
    )

    assert match == {
        tag_of("InstanceAvailability"): {"vr": "CS", "Value": ["ONLINE"]},
        tag_of("ModalitiesInStudy"): {"vr": "CS", "Value": ["CT", "SR"]},
        tag_of("SOPClassesInStudy"): {"vr": "UI", "Value": [CT, SR]},
        tag_of("StudyInstanceUID"): {"vr": "UI", "Value": ["1.2"]},
        tag_of("NumberOfStudyRelatedSeries"): {"vr": "IS", "Value": [2]},
        tag_of("NumberOfStudyRelatedInstances"): {"vr": "IS", "Value": [3]},
    }


@ensureDeferred
async def test_patients_are_one_for_each_identifier_and_count_what_they_have(backend: Storage) -> None:
    await store(
        backend,
        ct(SOPInstanceUID="4.1", StudyInstanceUID="4", SeriesInstanceUID="4.0"),
        ct(
            SOPInstanceUID="5.1",
            StudyInstanceUID="5",
            SeriesInstanceUID="5.0",
            PatientID=None,
            PatientName="Unknown^Two",
        ),
    )
    matches = await search(
        backend,
        Level.PATIENT,
        PatientID=("LO", None),
        PatientName=("PN", None),
        NumberOfPatientRelatedStudies=("IS", None),
        NumberOfPatientRelatedSeries=("IS", None),
        NumberOfPatientRelatedInstances=("IS", None),
    )

    assert values(matches, "PatientID") == ["P1", "P2", None, None]
    assert [name["Alphabetic"] for name in values(matches, "PatientName")[2:]] == [
        "Unknown^One",
        "Unknown^Two",
    ]
    assert values(matches, "NumberOfPatientRelatedStudies") == [2, 1, 1, 1]
    assert values(matches, "NumberOfPatientRelatedSeries") == [3, 1, 1, 1]
    assert values(matches, "NumberOfPatientRelatedInstances") == [4, 1, 1, 1]


@ensureDeferred
async def test_series_of_a_study_and_attributes_of_the_levels_above(backend: Storage) -> None:
    matches = await search(
        backend,
        Level.SERIES,
        StudyInstanceUID=("UI", "1.2"),
        Modality=("CS", None),
        PatientID=("LO", None),
        NumberOfSeriesRelatedInstances=("IS", None),
        NumberOfStudyRelatedInstances=("IS", None),
    )

    assert values(matches, "Modality") == ["CT", "SR"]
    assert values(matches, "PatientID") == ["P1", "P1"]
    assert values(matches, "NumberOfSeriesRelatedInstances") == [2, 1]
    assert values(matches, "NumberOfStudyRelatedInstances") == [3, 3]


@ensureDeferred
@pytest.mark.parametrize(
    ("wanted", "instances"),
    [
        ({"StudyInstanceUID": ("UI", "1.2"), "SeriesInstanceUID": ("UI", "1.2.3")}, ["1.1", "1.2"]),
        ({"SOPInstanceUID": ("UI", ["1.2", "3.1"])}, ["1.2", "3.1"]),
        ({"SOPClassUID": ("UI", SR)}, ["1.3"]),
        ({"Modality": ("CS", "MR")}, ["2.1"]),
        ({"PatientID": ("LO", "P1"), "InstanceNumber": ("IS", "2")}, ["1.2"]),
    ],
)
async def test_instances_that_match_in_hierarchical_and_relational_queries(
    backend: Storage, wanted: dict[str, Any], instances: list[str]
) -> None:
    matches = await search(backend, Level.IMAGE, **{"SOPInstanceUID": ("UI", None), **wanted})

    assert values(matches, "SOPInstanceUID") == instances


@ensureDeferred
async def test_an_instance_tells_its_transfer_syntax(backend: Storage) -> None:
    [match] = await search(backend, Level.IMAGE, SOPInstanceUID=("UI", "1.1"), AvailableTransferSyntaxUID=("UI", None))

    assert match[tag_of("AvailableTransferSyntaxUID")] == {"vr": "UI", "Value": [EXPLICIT]}


@ensureDeferred
async def test_a_japanese_name_comes_out_as_unicode_in_its_three_groups(backend: Storage) -> None:
    [match] = await search(backend, Level.STUDY, PatientID=("LO", "P2"), PatientName=("PN", None))

    assert match[tag_of("PatientName")] == {
        "vr": "PN",
        "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}],
    }


@ensureDeferred
async def test_only_what_was_asked_for_is_returned_and_what_is_absent_has_no_value(backend: Storage) -> None:
    reply = await respond(
        backend,
        Find(
            Level.STUDY,
            keys(
                {
                    "PatientID": ("LO", "P1"),
                    "QueryRetrieveLevel": ("CS", "STUDY"),
                    "SpecificCharacterSet": ("CS", "ISO_IR 192"),
                }
            ),
            keys(
                {
                    "StudyDescription": ("LO", None),
                    "EthnicGroup": ("SH", None),
                    "PixelData": ("OW", None),
                    "StudyDate": ("DA", None),
                }
            ),
        ),
    )
    [match] = [match async for match in reply.result]

    assert match == {
        tag_of("StudyDate"): {"vr": "DA", "Value": ["20250102"]},
        tag_of("StudyDescription"): {"vr": "LO"},
        tag_of("EthnicGroup"): {"vr": "SH"},
        tag_of("PixelData"): {"vr": "OW"},
        tag_of("PatientID"): {"vr": "LO", "Value": ["P1"]},
    }


@ensureDeferred
async def test_a_key_that_is_not_supported_is_ignored_as_a_matching_key(backend: Storage) -> None:
    matches = await search(
        backend,
        Level.STUDY,
        StudyInstanceUID=("UI", None),
        PixelAspectRatio=("IS", "1"),
        Modality=("CS", "US"),
    )

    assert values(matches, "StudyInstanceUID") == ["1.2", "2", "3"]


@ensureDeferred
async def test_a_sequence_is_reduced_to_the_attributes_of_the_item_asked_for(backend: Storage) -> None:
    item = keys({"RequestedProcedureID": ("SH", None), "ScheduledProcedureStepID": ("SH", None)})
    [match] = await search(
        backend, Level.SERIES, SeriesInstanceUID=("UI", "1.2.3"), RequestAttributesSequence=("SQ", item)
    )
    [whole] = await search(
        backend, Level.SERIES, SeriesInstanceUID=("UI", "1.2.3"), RequestAttributesSequence=("SQ", None)
    )

    assert match[tag_of("RequestAttributesSequence")]["Value"] == [
        {
            tag_of("ScheduledProcedureStepID"): {"vr": "SH"},
            tag_of("RequestedProcedureID"): {"vr": "SH", "Value": ["R1"]},
        }
    ]
    assert tag_of("RequestedProcedureDescription") in whole[tag_of("RequestAttributesSequence")]["Value"][0]


@ensureDeferred
async def test_more_matches_than_a_batch_come_once_each_in_the_order_of_storing(tmp_path: Path) -> None:
    backend = storage(tmp_path)
    await backend.start()
    uids = [f"9.{(n * 37) % 300}" for n in range(300)]
    await store(backend, *(ct(SOPInstanceUID=uid) for uid in uids))
    found = values(await search(backend, Level.IMAGE, SOPInstanceUID=("UI", None)), "SOPInstanceUID")
    reply = await respond(backend, Find(Level.IMAGE, keys({"SOPInstanceUID": ("UI", None)}), limit=2))
    first = [(await reply.result.__anext__())[tag_of("SOPInstanceUID")]["Value"][0] for _ in range(2)]
    await reply.result.aclose()
    await backend.stop()

    assert found == uids
    assert first == uids[:2]


@ensureDeferred
async def test_an_instance_that_moves_to_another_series_takes_an_empty_one_with_it(backend: Storage) -> None:
    await store(backend, ct(SOPInstanceUID="2.1", StudyInstanceUID="2", SeriesInstanceUID="2.9", PatientID="P2"))
    found = await search(
        backend, Level.SERIES, SeriesInstanceUID=("UI", ["2.0", "2.9"]), NumberOfSeriesRelatedInstances=("IS", None)
    )

    assert values(found, "SeriesInstanceUID") == ["2.9"]
    assert values(found, "NumberOfSeriesRelatedInstances") == [1]
