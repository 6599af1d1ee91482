"""Routes: where an instance goes for certain, and whom a query may be for."""

from typing import Any

import pytest

from harmonygw.config.pipeline_options import SourceRoute
from harmonygw.exchange import Request
from harmonygw.operations import Find, Level, Retrieve
from harmonygw.several.routing import Routes
from harmonygw.streams import Instance
from tests.middleware.dicomweb_bridge.archive import Sent
from tests.several.archives import PACS, Hospital, find, image, named, request, scu, series, study, table

CT = "1.2.840.10008.5.1.4.1.1.2"
SOURCES = [named(name, None) for name in ("MG", "OLD", "REST")]


def routes(*rules: tuple[str, dict[str, tuple[str, ...]]]) -> Routes:
    return Routes([SourceRoute(backend, when) for backend, when in rules], "rest", SOURCES)


def candidates(rules: Routes, operation: Any, origin: Any = None) -> list[str]:
    return [source.ae_title for source in rules.candidates(request(operation, origin=origin))]


def asked(**keys: Any) -> Find:
    return find(Level.STUDY, **keys)


MODALITY = routes(("mg", {"Modality": ("MG", "US")}))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (asked(Modality="MG"), ["MG"]),
        (asked(ModalitiesInStudy="MG"), ["MG"]),
        (asked(Modality="CT"), ["REST"]),
        (asked(Modality=["MG", "US"]), ["MG"]),
        (asked(Modality=["MG", "CT"]), ["MG", "REST"]),
        (asked(Modality="M*"), ["MG", "REST"]),
        (asked(PatientID="1"), ["MG", "REST"]),
        (asked(), ["MG", "REST"]),
        (Retrieve(Level.STUDY, "1"), ["MG", "REST"]),
    ],
)
def test_a_query_goes_to_all_that_may_be_meant(query: Any, expected: list[str]) -> None:
    assert candidates(MODALITY, query) == expected


OLD = routes(("old", {"StudyDate": ("-20191231", "20210105")}))


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ("20180101", ["OLD"]),
        ("20180101-20190101", ["OLD"]),
        ("-20191231", ["OLD"]),
        ("20210105", ["OLD"]),
        ("20200101-20201231", ["REST"]),
        ("20220101-", ["REST"]),
        ("20190101-20200101", ["OLD", "REST"]),
        ("20200101-", ["OLD", "REST"]),
        ("2018", ["OLD", "REST"]),
        ("-", ["OLD", "REST"]),
    ],
)
def test_dates_are_compared_as_ranges(dates: str, expected: list[str]) -> None:
    assert candidates(OLD, asked(StudyDate=dates)) == expected


def test_what_is_no_date_in_a_route_decides_nothing() -> None:
    assert candidates(routes(("old", {"StudyDate": ("long ago",)})), asked(StudyDate="20180101")) == ["OLD", "REST"]


def test_all_conditions_have_to_hold_and_the_first_route_that_does_decides() -> None:
    rules = routes(("mg", {"Modality": ("MG",), "IssuerOfPatientID": ("NORTH",)}), ("old", {"PatientID": ("N*",)}))
    assert candidates(rules, asked(Modality="MG", IssuerOfPatientID="NORTH")) == ["MG"]
    assert candidates(rules, asked(Modality="MG", IssuerOfPatientID="SOUTH", PatientID="N1")) == ["OLD"]
    assert candidates(rules, asked(Modality="MG", PatientID="N1")) == ["MG", "OLD"]
    assert candidates(rules, asked(Modality="CT", PatientID="S1")) == ["REST"]
    assert candidates(rules, asked(Modality="MG")) == ["MG", "OLD", "REST"]


def test_who_asks_can_decide_alone() -> None:
    rules = routes(("mg", {"calling_ae_title": ("MAMMO*",)}), ("old", {"called_ae_title": ("OLD",)}))
    assert candidates(rules, asked(), scu("MAMMO1")) == ["MG"]
    assert candidates(rules, Retrieve(Level.STUDY, "1"), scu("MAMMO1")) == ["MG"]
    assert candidates(rules, asked(), scu("CT1", "OLD")) == ["OLD"]
    assert candidates(rules, asked(), scu("CT1")) == ["REST"]
    assert candidates(rules, asked()) == ["REST"]


def target(rules: Routes, origin: Any = None, **leading: str) -> str:
    instance = Instance(CT, "1.2.3", "1.2.840.10008.1.2.1", Sent(), leading=leading)
    asked: Request = request(origin=origin)
    return rules.target(instance, asked).ae_title


def test_an_instance_goes_to_one() -> None:
    assert target(MODALITY, Modality="MG") == "MG"
    assert target(MODALITY, Modality="CT") == "REST"
    assert target(MODALITY) == "REST"
    assert target(OLD, StudyDate="20150101") == "OLD"
    assert target(OLD, StudyDate="20220101") == "REST"
    assert target(routes(("mg", {"SOPClassUID": (CT,)}))) == "MG"
    mueller = routes(("mg", {"PatientID": ("M\u00fcller*",)}))
    assert target(mueller, PatientID="MÃ¼ller-7", SpecificCharacterSet="ISO_IR 192") == "MG"
    assert target(mueller, PatientID="M\u00fcller-7", SpecificCharacterSet="ISO_IR 100") == "MG"
    assert target(mueller, PatientID="M\u00fcller-7") == "REST"
    both = routes(("mg", {"Modality": ("CT",), "calling_ae_title": ("CT1",)}))
    assert target(both, scu("CT1"), Modality="CT") == "MG"
    assert target(both, scu("CT2"), Modality="CT") == "REST"


def hospital() -> Hospital:
    mammography = study("1", series("1.1", image("1.1.1"), Modality="MG"))
    tomography = study("2", series("2.1", image("2.1.1"), Modality="CT"))
    return Hospital(
        {"MG": PACS(mammography), "REST": PACS(tomography)},
        strategy="route",
        routes=(SourceRoute("mg", {"Modality": ("MG",)}),),
        default="rest",
    )


def test_a_search_of_one_modality_asks_one_archive() -> None:
    one = hospital()
    rows = one.search("studies?ModalitiesInStudy=CT")
    assert table(rows, "StudyInstanceUID", "RetrieveAETitle") == [("2", "REST")]
    assert one.pacs["MG"].log == []
    rows = one.search("studies")
    assert table(rows, "StudyInstanceUID", "RetrieveAETitle") == [("1", "MG"), ("2", "REST")]


def test_a_study_is_retrieved_from_where_it_is() -> None:
    one = hospital()
    assert one.retrieved(Retrieve(Level.STUDY, "1")) == ["1.1.1"]
    assert one.retrieved(Retrieve(Level.STUDY, "2")) == ["2.1.1"]


def test_who_may_ask_one_archive_only_is_answered_by_that_alone() -> None:
    one = hospital()
    rules = Hospital(
        one.pacs, strategy="route", routes=(SourceRoute("mg", {"calling_ae_title": ("M",)}),), default="rest"
    )
    assert rules.retrieved(Retrieve(Level.STUDY, "1"), origin=scu("M")) == ["1.1.1"]
    assert one.pacs["REST"].log == []
