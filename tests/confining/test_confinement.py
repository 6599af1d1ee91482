"""A confinement as a whole: who passes it, and what it refuses; and a bridge in front of it, attacked."""

from typing import Any

import orjson
import pytest
from twisted.internet.task import Clock

from harmonygw.config.authorizations import Authorization
from harmonygw.confining.confinement import Confinement
from harmonygw.errors import Denied, HarmonyError, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.operations import CheckCommitment, Echo, Find, Level, Operation, RequestCommitment, Retrieve
from tests.confining.archive import STUDIES, Keeper, confined, hospital, image, mixed, result_of, series, study, tag
from tests.middleware.dicomweb_bridge.archive import body_of, headers_of

TABLES = {"one": Authorization(("anna",), keys={"PatientID": ("B",)}), "all": Authorization(("root",))}


def asking(operation: Operation | None, principal: str | None = None, **others: Any) -> Request:
    return Request(HTTPOrigin("GET", ("x",)), "192.0.2.1", "c1", operation=operation, principal=principal, **others)


def test_where_nobody_is_confined_nothing_is_done() -> None:
    seen: list[Request] = []
    request = asking(STUDIES)
    Confinement({}, Clock()).around(seen.append)(request)  # type: ignore[arg-type]
    assert seen == [request]
    assert seen[0] is request


def test_what_an_endpoint_has_settled_passes() -> None:
    seen: list[Request] = []
    Confinement(TABLES, Clock()).around(seen.append)(asking(None, settled=NotFound("no")))  # type: ignore[arg-type]
    assert len(seen) == 1


@pytest.mark.parametrize("operation", [None, RequestCommitment("1", ()), CheckCommitment("1")])
def test_what_cannot_be_checked_is_refused(operation: Operation | None) -> None:
    archive = Keeper()
    for principal in ("anna", "nobody", None):
        with pytest.raises(Denied):
            result_of(Confinement(TABLES, Clock()).intercept(asking(operation, principal), archive.proceed))
    assert archive.served == []
    reply = result_of(Confinement(TABLES, Clock()).intercept(asking(None, "root"), archive.proceed))
    assert reply == Reply(204)


def test_an_echo_passes() -> None:
    seen: list[Request] = []

    def proceed(request: Request) -> Any:
        seen.append(request)
        return archive.proceed(Request(request.origin, "", ""))

    archive = Keeper()
    somebody = confined(archive, PatientID="B")
    assert somebody.reply(Echo(), proceed).status == 204
    assert (seen[0].restrictions, seen[0].operation) == ((), Echo())


def test_a_table_and_what_a_token_says_hold_together() -> None:
    archive = hospital()
    confinement = Confinement({"a": Authorization(("anna",), keys={"IssuerOfPatientID": ("east", "west")})}, Clock())

    assert _uids(confinement, archive, asking(STUDIES, "anna")) == ["1", "2"]
    scope = confined(archive, PatientID="B").restrictions
    assert _uids(confinement, archive, asking(STUDIES, "anna", restrictions=scope)) == ["2"]


def _uids(confinement: Confinement, archive: Keeper, request: Request) -> list[str]:
    async def read() -> list[str]:
        reply = await confinement.around(archive.proceed)(request)
        return [row[tag("StudyInstanceUID")]["Value"][0] async for row in reply.result]

    return result_of(read())  # type: ignore[no-any-return]


def test_who_has_a_table_without_keys_sees_everything() -> None:
    archive = hospital()
    assert _uids(Confinement(TABLES, Clock()), archive, asking(STUDIES, "root")) == ["1", "2", "3"]
    assert archive.asked == [STUDIES]


def test_one_ahead_of_another_leaves_it_what_is_no_operation_yet() -> None:
    archive = hospital()
    ahead, behind = Confinement(TABLES, Clock(), ahead=True), Confinement(TABLES, Clock())
    together = ahead.around(behind.around(archive.proceed))

    async def ask(request: Request) -> Reply:
        return await together(request)

    with pytest.raises(Denied):
        result_of(ask(asking(None, "anna")))
    assert result_of(ask(asking(Retrieve(Level.STUDY, "2"), "anna"))).result
    assert archive.log == ["STUDY StudyInstanceUID=2"], "held once"
    with pytest.raises(NotFound):
        result_of(ask(asking(Retrieve(Level.STUDY, "1"), "anna")))


# Every way around, through a bridge


def attacked(**keys: Any) -> Any:
    archive = mixed()
    archive.digest = "d1"
    return confined(archive, **keys).gateway()


@pytest.mark.parametrize(
    "target",
    [
        "studies/2",
        "studies/2/series/2.1",
        "studies/2/series/2.1/instances/2.1.1",
        "studies/2/metadata",
        "studies/2/series/2.1/metadata",
        "studies/2/series/2.1/instances/2.1.1/metadata",
        "studies/2/bulkdata",
        "studies/2/series/2.1/instances/2.1.1/bulkdata/00420011",
        "studies/2/series/2.1/instances/2.1.1/pixeldata",
        "studies/2/series/2.1/instances/2.1.1/frames/1",
        "studies/2/rendered",
        "studies/2/thumbnail",
        "studies/2/series/2.1/rendered",
        "studies/2/series/2.1/instances/2.1.1/rendered",
        "studies/2/series/2.1/instances/2.1.1/frames/1/rendered",
        "studies/2/series/2.1/instances/2.1.1/frames/1/thumbnail",
        "studies/1/series/1.1",
        "studies/1/series/1.1/instances/1.1.1",
        "studies/1/series/1.1/metadata",
        "studies/1/series/1.1/instances/1.1.1/metadata",
        "studies/1/series/1.1/instances/1.1.1/frames/1",
        "studies/1/series/1.1/instances/1.1.1/rendered",
        "?requestType=WADO&studyUID=1&seriesUID=1.1&objectUID=1.1.1&contentType=application/dicom",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [{}, {"if-none-match": '*, "d1", W/"d1"'}])
def test_what_is_hidden_is_not_there_by_any_url(target: str, method: str, headers: dict[str, str]) -> None:
    """The answer is the same as for what is not there, to the last byte of its problem document."""
    said = []
    absent = target.replace("/2", "/9").replace("1.1", "9.1").replace("2.1", "9.1")
    for one in (target, absent):
        gateway = attacked(Modality="US")
        accept = None if "render" in one or "thumb" in one or "?" in one else "*/*"
        with pytest.raises(HarmonyError) as caught:
            body_of(gateway.reply(one, accept, method=method, headers=headers))
        said.append((type(caught.value), caught.value.detail))
        assert gateway.archive.archive.retrieved == []
    assert said[0] == said[1]
    assert said[0][0] is NotFound
    # Who sees everything gets it, or is told something else: it is not that nobody gets it.
    gateway = attacked(Modality=["US", "CT"])
    problem = ""
    try:
        body_of(gateway.reply(target, accept, method=method))
    except (HarmonyError, AssertionError) as error:
        problem = str(error)
    assert problem != said[0][1]
    assert gateway.archive.archive.retrieved or method == "HEAD"


@pytest.mark.parametrize("path", ["studies/1", "studies/1/series/1.2", "studies/1/series/1.2/instances/1.2.1"])
def test_what_is_shown_is_there(path: str) -> None:
    gateway = attacked(Modality="US")
    body = body_of(gateway.reply(path, 'multipart/related; type="application/dicom"'))
    assert b"1.2.1" in body
    assert b"1.1.1" not in body
    assert headers_of(gateway.reply(path, 'multipart/related; type="application/dicom"'))["ETag"] != "d1"


@pytest.mark.parametrize(
    ("target", "keyword", "found"),
    [
        ("studies", "StudyInstanceUID", ["1", "3"]),
        ("studies?includefield=all", "StudyInstanceUID", ["1", "3"]),
        ("studies?ModalitiesInStudy=CT", "StudyInstanceUID", []),
        ("studies?Modality=CT", "StudyInstanceUID", []),
        ("studies?StudyInstanceUID=2", "StudyInstanceUID", []),
        ("studies?limit=1&offset=1", "StudyInstanceUID", ["3"]),
        ("series", "SeriesInstanceUID", ["1.2", "3.1"]),
        ("series?Modality=CT", "SeriesInstanceUID", []),
        ("series?Modality=*", "SeriesInstanceUID", ["1.2", "3.1"]),
        ("series?SeriesInstanceUID=1.1,1.2", "SeriesInstanceUID", ["1.2"]),
        ("studies/1/series", "SeriesInstanceUID", ["1.2"]),
        ("studies/2/series", "SeriesInstanceUID", []),
        ("instances", "SOPInstanceUID", ["1.2.1", "1.2.2", "3.1.1"]),
        ("instances?SOPInstanceUID=1.1.1", "SOPInstanceUID", []),
        ("instances?includefield=Modality", "SOPInstanceUID", ["1.2.1", "1.2.2", "3.1.1"]),
        ("studies/1/instances", "SOPInstanceUID", ["1.2.1", "1.2.2"]),
        ("studies/2/instances", "SOPInstanceUID", []),
        ("studies/1/series/1.1/instances", "SOPInstanceUID", []),
        ("studies/1/series/1.2/instances?limit=1", "SOPInstanceUID", ["1.2.1"]),
    ],
)
@pytest.mark.parametrize("lax", [{}, {"relational": True}, {"ignores": ["Modality", "ModalitiesInStudy"]}])
def test_every_search_shows_the_same(target: str, keyword: str, found: list[str], lax: dict[str, Any]) -> None:
    gateway = confined(mixed(**lax), Modality="US").gateway()
    assert gateway.uids(target, keyword) == found


def test_counts_are_of_what_is_shown() -> None:
    """What tells of what is hidden is left out, and made again of what is shown."""
    (first, _) = confined(mixed(), Modality="US").gateway().search("studies")
    said = {name: first[tag(name)]["Value"] for name in ("ModalitiesInStudy", "NumberOfStudyRelatedSeries")}
    assert said == {"ModalitiesInStudy": ["US"], "NumberOfStudyRelatedSeries": [1]}
    assert first[tag("NumberOfStudyRelatedInstances")]["Value"] == [2]


def test_a_page_is_full_however_much_is_hidden() -> None:
    studies = [
        study(str(number), series(f"{number}.1", image(f"{number}.1.1")), PatientID="AB"[number % 2])
        for number in range(1, 9)
    ]
    gateway = confined(Keeper(*studies, ignores=["PatientID"]), PatientID="B").gateway()
    assert gateway.uids("studies?limit=2") == ["1", "3"]
    assert gateway.uids("studies?limit=2&offset=2") == ["5", "7"]
    assert gateway.uids("studies?limit=2&offset=4") == []


def test_one_query_is_enough_for_a_page_that_the_archive_can_narrow() -> None:
    archive = hospital()
    confined(archive, IssuerOfPatientID="west").gateway(synthesis_limit=0).search("studies")
    assert archive.log == ["STUDY IssuerOfPatientID=west"]
    assert isinstance(archive.served[0], Find)


def test_pages_are_kept_for_who_may_see_the_same() -> None:
    """A bridge answers a further page from what it has found, before anything asks who it is."""
    everything, little = confined(hospital(), Modality="CT"), confined(hospital(), PatientID="B")
    gateway = everything.gateway()

    def page(offset: int, principal: str | None, peer: str, restrictions: Any) -> list[str]:
        request = Request(
            HTTPOrigin("GET", ("studies",), (("limit", "1"), ("offset", str(offset)))),
            peer,
            "c1",
            principal=principal,
            restrictions=restrictions,
        )
        reply = result_of(gateway.bridge.intercept(request, _held_to(restrictions)))
        return [row[tag("StudyInstanceUID")]["Value"][0] for row in orjson.loads(body_of(reply))]

    def _held_to(restrictions: Any) -> Any:
        return (everything if restrictions is everything.restrictions else little).proceed

    whole, part = everything.restrictions, little.restrictions
    assert page(0, "10.0.0.1", "10.0.0.9", whole) == ["1"]
    everything.archive.served.clear()
    assert page(1, "10.0.0.1", "10.0.0.9", whole) == ["2"]
    for principal, peer, restrictions in (
        ("10.0.0.1", "10.0.0.9", part),
        (None, "10.0.0.1", part),
        ("anna", "10.0.0.9", part),
        (None, "10.0.0.9", part),
    ):
        assert page(1, principal, peer, restrictions) == []
        assert page(0, principal, peer, restrictions) == ["2"]
