"""What clients and DICOMweb servers send, before it is a data set: paths, queries, header fields, bodies (PS3.18).

What must hold: a reader refuses with an error of `harmonygw.errors` or gives a result; what comes in pieces is read the
same however it was cut; metadata that can be written are a data set that can be read; and of what a codestream says of
itself nothing is made up.

The first byte of an input is the reader, the second how it is cut; the rest is what it reads.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import orjson

from harmonygw.dicom.dataset.jpeg_process import jpeg_transfer_syntax
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.json_streaming import Segment, written
from harmonygw.dicom.dataset.leading import leading_of_model, text_of
from harmonygw.dicom.dataset.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from harmonygw.dicom.dataset.xml_decoding import from_xml
from harmonygw.dicom.dataset.xml_encoding import to_xml
from harmonygw.dicom.web import media_types, query, rendering_parameters, resources
from harmonygw.dicom.web.json_reading import ArrayReader, read_data_set
from harmonygw.dicom.web.multipart_reading import MultipartReading, PartHeader
from harmonygw.errors import BadRequest, HarmonyError
from harmonygw.rendering.codestreams import read_jpeg, read_jpeg_2000

NAME: Final = "web"

LONGEST_INPUT: Final = 4096
"""Bytes of an input: room for the metadata of an object, and quick to try."""

BOUNDARY: Final = "b"
_UP_TO_THE_LIBRARY: Final = re.compile("in front of first boundary|line break in segment header").search
_ADDRESS: Final = "x"
"""The one BulkDataURI that leads somewhere."""


def one_input(data: bytes) -> None:
    """Try one input; whatever is raised has been found."""
    if len(data) < 3:
        return
    READERS[data[0] % len(READERS)](data[2:], data[1] % 61 + 1)


def _outcome(read: Callable[[], Any]) -> Any:
    """Return what a reader gives, or the error by which it refuses."""
    try:
        return read()
    except HarmonyError as error:
        return error


def _alike(read: Callable[[int], Any], length: int, size: int) -> Any:
    """Hold the outcomes of the whole, and of its pieces, against one another.

    Whether a preamble goes well with the first delimiter, and a lone line break with the name of a field, is up to the
    library, and depends on the pieces.
    """
    whole, cut = (_outcome(partial(read, one)) for one in (length, size))
    if any(_UP_TO_THE_LIBRARY(str(one)) for one in (whole, cut) if isinstance(one, HarmonyError)):
        return whole
    kinds = [type(one) if isinstance(one, HarmonyError) else one for one in (whole, cut)]
    assert kinds[0] == kinds[1], f"how it is cut changes what is read: {whole!r}, {cut!r}"
    return whole


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def _multipart(data: bytes, size: int) -> None:
    _alike(partial(_parts, data), len(data), size)


def _parts(data: bytes, size: int) -> list[Any]:
    """Return the parts; a body without its end is refused by whoever reads it, as one that is malformed further on."""
    reading, parts = MultipartReading(BOUNDARY), list[Any]()
    for piece in _pieces(data, size):
        for event in reading.feed(piece):
            if isinstance(event, PartHeader):
                parts.append((dict(event.fields), event.announced_length, bytearray()))
            elif event is not None:
                parts[-1][2].extend(event)
    if not reading.ended:
        raise BadRequest("the body has no end")
    return parts


def _array(data: bytes, size: int) -> None:
    _alike(partial(_elements, data), len(data), size)


def _elements(data: bytes, size: int) -> list[Any]:
    reader = ArrayReader()
    elements = [element for piece in _pieces(data, size) for element in reader.feed(piece)]
    reader.finish()
    return [read_data_set(element) for element in elements]


def _request(data: bytes, _: int) -> None:
    try:
        path, _, told = data.decode().partition("?")
    except UnicodeDecodeError:
        return
    pairs = parse_qsl(told, keep_blank_values=True)
    segments = [unquote(one) for one in path.split("/") if one]
    for method in ("GET", "POST"):
        resource = _outcome(partial(resources.parse, segments, method=method, query=pairs))
        if not isinstance(resource, HarmonyError):
            _outcome(partial(query.parse_search, resource, pairs))
    for parse in (rendering_parameters.parse_rendering, rendering_parameters.parse_uri):
        _outcome(partial(parse, pairs))
    _outcome(partial(rendering_parameters.parse_thumbnail, pairs))


def _header(data: bytes, _: int) -> None:
    text = data.decode("latin-1")
    _outcome(partial(media_types.parse_accept, text))
    _outcome(partial(media_types.parse_content_type, text))
    for multiple in (True, False):
        _outcome(partial(media_types.negotiate_retrieve, text, (), one_instance=multiple))


def _json(data: bytes, _: int) -> None:
    try:
        model = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    _check_model(model)


def _xml(data: bytes, _: int) -> None:
    model = _outcome(partial(from_xml, data))
    if not isinstance(model, HarmonyError):
        _check_model(model)


def _check_model(model: Any) -> None:
    if not isinstance(model, Mapping):
        return
    leading = leading_of_model(model)
    for keyword in leading:
        text_of(leading, keyword, "LO", ("ISO_IR 6",))
    for encapsulated in (False, True):
        pieces = _outcome(partial(written, model, _find, encapsulated=encapsulated))
        if isinstance(pieces, HarmonyError):
            continue
        encoded = b"".join(one if isinstance(one, bytes) else bytes(one.length) for one in pieces)
        orjson.dumps(to_json(encoded, EXPLICIT_VR_LITTLE_ENDIAN))


def _find(uri: str) -> tuple[Segment, ...]:
    return (Segment(0, 4),) if uri == _ADDRESS else ()


def _codestream(data: bytes, _: int) -> None:
    assert isinstance(jpeg_transfer_syntax(data), str)
    for read in (read_jpeg, read_jpeg_2000):
        found = _outcome(partial(read, data))
        if not isinstance(found, HarmonyError):
            assert found.samples >= 0, "a negative number of samples"
            assert 0 <= found.precision <= 255, "a precision that no byte can say"


READERS: Final = (_multipart, _array, _request, _header, _json, _xml, _codestream)

_MODEL: Final = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Ideographic": "山田"}]},
    "00081115": {"vr": "SQ", "Value": [{"0020000E": {"vr": "UI", "Value": ["1.2"]}}, {}]},
    "00091001": {"vr": "UN", "InlineBinary": "AQI="},
    "00201209": {"vr": "IS", "Value": [5, "6"]},
    "00281050": {"vr": "DS", "Value": [1.5, None]},
    "00720082": {"vr": "SV", "Value": ["9007199254740993"]},
    "0020000D": {"vr": "UI", "Value": ["1.2"]},
    "00180060": {"vr": "FD", "Value": [1e300, "NaN"]},
    "7FE00010": {"vr": "OW", "BulkDataURI": _ADDRESS},
}
_WITHOUT_BULK: Final = {tag: attribute for tag, attribute in _MODEL.items() if tag != "7FE00010"}
_SEARCH: Final = "PatientName=Doe*&00100020=1&limit=5&offset=1&includefield=all&StudyDate=20200101-&fuzzymatching=true"


def seeds() -> Iterator[bytes]:
    """Yield inputs to begin with, some for each reader."""
    part = b"--b\r\nContent-Type: application/dicom\r\nContent-Length: 4\r\n\r\nDICM\r\n"
    rows = orjson.dumps([_WITHOUT_BULK, {"00100010": {"vr": "PN", "Value": ['}{\\"']}}])
    jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\0\x11\x08\0\2\0\2\3\1\x11\0\2\x11\0\3\x11\0\xff\xd9"
    size = b"\0\0" + b"".join(one.to_bytes(4, "big") for one in (8, 8, 0, 0, 8, 8, 0, 0)) + b"\0\1\7\1\1"
    inputs: tuple[tuple[Callable[[bytes, int], None], tuple[bytes, ...]], ...] = (
        (_multipart, (part + b"--b--", b"before\r\n" + part * 3 + b"--b--\r\nbehind", part)),
        (_array, (rows, b"[]", b" [ {} , {} ] ")),
        (
            _request,
            (
                f"studies/1.2/series?{_SEARCH}".encode(),
                b"studies/1.2/series/1.3/instances/1.4/frames/1,2/rendered?viewport=8,8,0,0,4,4&window=40,400,linear",
                b"?requestType=WADO&studyUID=1&seriesUID=2&objectUID=3&contentType=image/jpeg&rows=5&windowCenter=1",
            ),
        ),
        (_header, (b'multipart/related; type="application/dicom"; transfer-syntax=*;q=0.5, image/*', b"*/*;q=1")),
        (_json, (orjson.dumps(_MODEL),)),
        (_xml, (to_xml(_WITHOUT_BULK),)),
        (_codestream, (jpeg, jpeg.replace(b"\xff\xc0", b"\xff\xf7"), b"\xff\x4f\xff\x51\0\x29" + size)),
    )
    for reader, some in inputs:
        for one in some:
            yield bytes((READERS.index(reader), 7)) + one
