"""URLs in answers are replaced where they are URLs of the service, however the answers are cut, and nowhere else."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.web.relocation import (
    MAX_CONTEXT,
    MAX_PADDING,
    MAX_PART_HEADER,
    Relocation,
    json_words,
    relocation,
    xml_words,
)

OLD = ("http://pacs:8042/dicom-web", "https://gateway/dicom-web")
NEW = "https://gateway/dicom"


def relocate(url: str) -> str:
    for old in OLD:
        if url.startswith(old):
            return NEW + url.removeprefix(old)
    return url


def at(url: str, data: bytes) -> bytes:
    """Put a URL in the place of OLD."""
    return data.replace(b"OLD", url.encode())


def run(make: Callable[[], Relocation | None], data: bytes, *cuts: int) -> bytes:
    found = make()
    assert found is not None
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    out: list[Any] = []
    for start, end in pairwise(places):
        out += found.feed(data[start:end])
    return b"".join([*out, *found.finish()])


def of(content_type: str) -> Callable[[], Relocation | None]:
    return lambda: relocation(content_type, OLD, NEW, relocate)


def everywhere(make: Callable[[], Relocation | None], data: bytes, wanted: bytes) -> None:
    """Whole, cut in two at every place, and byte by byte."""
    assert run(make, data) == wanted
    for cut in range(len(data)):
        assert run(make, data, cut) == wanted, cut
    assert run(make, data, *range(len(data))) == wanted


JSON = [
    (b'{"7FE00010":{"vr":"OW","BulkDataURI":"OLD/studies/1/bulkdata"}}', True),
    (b'{"7FE00010":{"vr":"OW","BulkDataURI" : \n "OLD"}}', True),
    (b'[{"00081190":{"vr":"UR","Value":["OLD/studies/1"]}}]', True),
    (b'[{"00081190": {\r\n\t"Value" : [ "OLD/studies/1?x"], "vr":"UR"}}]', True),
    (b'{"00081190":{"vr":"UR","Value":["OLD#x"]}}', True),
    # What looks alike, and is the data set's own:
    (b'{"00104000":{"vr":"LT","Value":["OLD/studies/1"]}}', False),
    (b'{"0040E010":{"vr":"UR","Value":["OLD/studies/1"]}}', False),
    (b'{"00104000":{"vr":"LT","Value":["say \\"BulkDataURI\\":\\"OLD/x\\""]}}', False),
    (b'{"00104000":{"vr":"LT","Value":["\\"BulkDataURI":"OLD/x"]}}', False),
    (b'{"a":{"BulkDataURI":"OLDER/studies/1"}}', False),
    (b'{"a":{"BulkDataURI":"x OLD/studies/1"}}', False),
    (b'{"a":{"BulkDataURI":"http://pacs:8042/other"}}', False),
]


@pytest.mark.parametrize(("data", "replaced"), JSON)
@pytest.mark.parametrize("old", OLD)
def test_urls_of_the_json_model(data: bytes, replaced: bool, old: str) -> None:
    original = data.replace(b"OLD", old.encode())
    wanted = data.replace(b"OLD", NEW.encode()) if replaced else original
    for content_type in ("application/dicom+json", "Application/JSON; charset=utf-8"):
        everywhere(of(content_type), original, wanted)


def test_slashes_that_are_escaped_stay_so() -> None:
    original = b'{"BulkDataURI":"http:\\/\\/pacs:8042\\/dicom-web\\/studies\\/1"}'
    everywhere(of("application/json"), original, b'{"BulkDataURI":"https:\\/\\/gateway\\/dicom\\/studies\\/1"}')


@pytest.mark.parametrize("more", [0, 1])
def test_what_stands_before_a_url_has_a_bound(more: int) -> None:
    # In JSON one byte before the first word is looked at too.
    for before, content_type in (
        (b'{"00081190":{"vr":"UR",%b"Value":["', "application/json"),
        (b'<DicomAttribute tag="00081190" %b><Value>', "text/xml"),
    ):
        room = MAX_CONTEXT - len(before % b"") + more
        data = b" " * 100 + before % (b" " * room) + OLD[0].encode() + b'/x"<'
        for cuts in ((), range(0, len(data), 7)):
            assert (NEW.encode() in run(of(content_type), data, *cuts)) is not bool(more), content_type


XML = [
    (b'<BulkData uri="OLD/x"/>', True),
    (b"<BulkData uuid='1' uri='OLD/x'/>", True),
    (b'<DicomAttribute tag="00081190" vr="UR" keyword="RetrieveURL"><Value number="1">OLD/x</Value>', True),
    (b'<DicomAttribute keyword="RetrieveURL" tag="00081190" vr="UR">\n  <Value number="1">\n OLD</Value>', True),
    (b'<DicomAttribute tag="00104000" vr="LT"><Value number="1">OLD/x</Value>', False),
    (b'<Value number="1">&lt;BulkData uri="OLD/x"</Value>', False),
    (b'<BulkDatum uri="OLD/x"/>', False),
    (b'uri="OLD/x"/>', False),
    (b'<DicomAttribute tag="00081190" <Value>OLD/x', False),
    (b"<DicomAttribute tag='00081190'><Value>text OLD/x", False),
    (b'<BulkData xuri="OLD/x"/>', False),
    (b'<BulkData uri="OLDER/x"/>', False),
]


@pytest.mark.parametrize(("data", "replaced"), XML)
def test_urls_of_the_native_model(data: bytes, replaced: bool) -> None:
    original = data.replace(b"OLD", OLD[0].encode())
    wanted = data.replace(b"OLD", NEW.encode()) if replaced else original
    for content_type in ("application/dicom+xml", "text/xml"):
        everywhere(of(content_type), original, wanted)


def test_an_ampersand_is_written_as_xml_writes_it() -> None:
    words = xml_words(("http://a/b&c",), "http://d/e&f")
    out = [*words.feed(b'<BulkData uri="http://a/b&amp;c/x"/>'), *words.finish()]
    assert b"".join(map(bytes, out)) == b'<BulkData uri="http://d/e&amp;f/x"/>'


@given(st.lists(st.sampled_from([*(one for one, _ in JSON), b"  ", b'"', b"\\"]), max_size=6), st.data())
def test_cuts_make_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    original = b"".join(parts).replace(b"OLD", OLD[0].encode())
    cuts = data.draw(st.lists(st.integers(0, len(original)), max_size=8))
    make = of("application/json")
    assert run(make, original, *cuts) == run(make, original)


def test_json_stays_json() -> None:
    document = [{"00081190": {"vr": "UR", "Value": [f"{OLD[0]}/studies/1"]}, "x": {"BulkDataURI": f"{OLD[1]}/b"}}]
    changed = json.loads(run(of("application/json"), json.dumps(document, indent=3).encode()))
    assert changed == [{"00081190": {"vr": "UR", "Value": [f"{NEW}/studies/1"]}, "x": {"BulkDataURI": f"{NEW}/b"}}]


def test_no_more_is_held_back_than_a_url() -> None:
    words = json_words(OLD, NEW)
    passed = 0
    for _ in range(100):
        passed += sum(map(len, words.feed(b"x" * 1000)))
    assert 100_000 - passed == max(map(len, OLD)) + 3  # with escaped slashes


def test_finds_across_what_is_held_back_are_found() -> None:
    find = b'{"BulkDataURI":"%b/x"' % OLD[0].encode()
    data = (find + b" " * 400) * 20
    wanted = data.replace(OLD[0].encode(), NEW.encode())
    for step in (1, 10, 333, 1000, 2999):
        assert run(of("application/json"), data, *range(0, len(data), step)) == wanted


# Multipart

RELATED = 'multipart/related; type="application/dicom"; boundary=B'


def multipart(*parts: bytes, end: bytes = b"\r\n--B--\r\n") -> bytes:
    return b"".join((b"\r\n" if number else b"") + b"--B\r\n" + part for number, part in enumerate(parts)) + end


def test_a_parts_location_is_replaced_and_its_content_is_not() -> None:
    content = at(OLD[0], b'\0\r\n\r\n--Content-Location: OLD/x\r\n--\r--B\n--BulkDataURI":"OLD/x')
    header = b"Content-Type: application/dicom; transfer-syntax=1\r\nContent-Length: 7\r\n"
    others = (
        b"\r\n" + content,
        b"Location: http://elsewhere/x\r\n\r\n",
        b"X: \xff\r\nLocation: \xff\r\n\r\n\r\n",
    )
    data = multipart(header + at(OLD[0], b"content-LOCATION:OLD/a\r\n\r\nabc\r\n"), *others)
    wanted = multipart(header + at(NEW, b"content-LOCATION: OLD/a\r\n\r\nabc\r\n"), *others)
    everywhere(of(RELATED), data, wanted)


def test_parts_of_json_and_xml_have_their_urls_replaced_and_no_length() -> None:
    def parts(url: str, length: bytes) -> bytes:
        return multipart(
            b"Content-Type: application/dicom+xml\r\n" + length + at(url, b'\r\n<BulkData uri="OLD/x"/>'),
            b"Content-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\nabc",
            length + at(url, b'Content-Type: application/json\r\n\r\n{"BulkDataURI":"OLD/x"}'),
        )

    everywhere(of(RELATED), parts(OLD[0], b"Content-Length: 30\r\n"), parts(NEW, b""))


def test_a_part_in_a_transfer_encoding_is_left_alone() -> None:
    header = b"Content-Type: application/json\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    data = multipart(header + at(OLD[0], b'{"BulkDataURI":"OLD/x"}'))
    everywhere(of(RELATED), data, data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r",
        b"no delimiter at all",
        b"preamble\r\n--B\r\nX: 1\r\n\r\nbody\r\n--B--\r\nepilogue",
        b"--B \t\r\nX: 1\r\n\r\nbody\r\n--B--",
        b"--B\r\n\r\n--B--\r\n",
        b"--B\r\nX: 1\r\n\r\nbody\r\n--Bx\r\n\r\n--B--\r\n",
        b"--B\r\nX: 1",
        b"--B\r\nX: 1\r\n\r\nbody\r\n--B",
        b"--B\r\nX: 1\r\n\r\nbody\r\n--B\r",
        b"--B\r\nContent-Type: application/json\r\n\r\n{}\r\n-",
        b"--B\r\nX: 1\r\n\r\nbody\r\n--B" + b" " * (MAX_PADDING + 10) + b"\r\n",
        b"x--B\r\nLocation: http://pacs:8042/dicom-web/x\r\n\r\n",
    ],
)
def test_what_is_cut_short_or_no_multipart_passes_as_it_is(data: bytes) -> None:
    everywhere(of(RELATED), data, data)


def test_a_parts_header_has_a_bound() -> None:
    location = b"Location: " + OLD[0].encode()
    for more, replaced in ((0, True), (1, False)):
        padding = MAX_PART_HEADER - len(b"\r\nX: ") - len(b"\r\n") - len(location) - len(b"\r\n\r\n") + more
        data = b"--B\r\nX: " + b"x" * padding + b"\r\n" + location + b"\r\n\r\nbody\r\n--B--"
        assert (NEW.encode() in run(of(RELATED), data, *range(0, len(data), 1000))) is replaced
        assert (NEW.encode() in run(of(RELATED), data)) is replaced


@given(
    st.lists(
        st.sampled_from([b"\r\n", b"--B", b"--", b"\r", b"\n", b"x", b"B", b"Location: http://pacs:8042/dicom-web"])
    ),
    st.data(),
)
def test_cuts_of_a_multipart_make_no_difference(words: list[bytes], data: st.DataObject) -> None:
    original = b"".join(words)
    cuts = data.draw(st.lists(st.integers(0, len(original)), max_size=8))
    assert run(of(RELATED), original, *cuts) == run(of(RELATED), original)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/related; boundary=abc", b"abc"),
        ('multipart/related; type="x/y; boundary=no"; boundary="a c"', b"a c"),
        ('Multipart/Related;BOUNDARY="a\\"c"', b'a"c'),
    ],
)
def test_a_boundary_is_read_from_the_content_type(content_type: str, boundary: bytes) -> None:
    data = b"--%b\r\nLocation: http://pacs:8042/dicom-web/x\r\n\r\n" % boundary
    assert NEW.encode() in run(of(content_type), data)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "image/png",
        "text/plain",
        "application/dicom",
        "multipart/related",
        'multipart/related; boundary=""',
        "multipart/related; boundary=" + "x" * 71,
        "multipart/related; boundary=ü",
        "multipart/mixed; boundary=B",
    ],
)
def test_other_bodies_have_no_urls(content_type: str) -> None:
    assert relocation(content_type, OLD, NEW, relocate) is None
