"""What reads a data set: whatever an archive sends, in whatever pieces it comes (PS3.5, PS3.10, PS3.18 Annex F).

What must hold: a reader refuses with an error of `harmonygw.errors` or gives a result, and does the same however the
data set was cut; what a layout says lies where lies within the data set; and the DICOM JSON that is made of it can be
made a data set again, or is refused by a name.

The first byte of an input is the transfer syntax, the second how it is cut; the rest is the data set, which is tried as
a file too (PS3.10 §7.1).
"""

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from struct import pack
from typing import Any, Final

import orjson
from pydicom.data import get_testdata_file

from harmonygw.dicom.dataset.header_scan import HeaderScan
from harmonygw.dicom.dataset.json_decoding import from_json
from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.dicom.dataset.layout import Layout, LayoutScan
from harmonygw.dicom.dataset.metadata_scan import MetadataScan
from harmonygw.dicom.dataset.part10 import read_file_meta
from harmonygw.dicom.dataset.part10_reading import Part10Reading
from harmonygw.errors import HarmonyError

NAME: Final = "data_set"

LONGEST_INPUT: Final = 4096
"""Bytes of an input: room for the header of most objects, and quick to try."""

_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
SYNTAXES: Final = (_EXPLICIT, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", _DEFLATED, "1.2.840.10008.1.2.4.90")
"""Explicit VR, implicit VR, big endian, deflated, and one that encapsulates its pixel data."""

SHIPPED: Final = (
    *("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "JPEG2000.dcm"),
    *("rtplan.dcm", "reportsi.dcm", "liver_1frame.dcm", "examples_palette.dcm", "nested_priv_SQ.dcm"),
)
"""Objects that pydicom brings along."""


def one_input(data: bytes) -> None:
    """Try one input; whatever is raised has been found."""
    if len(data) < 3:
        return
    syntax, size, data_set = SYNTAXES[data[0] % len(SYNTAXES)], data[1] % 61 + 1, data[2:]
    whole, deflated = len(data_set), syntax == _DEFLATED
    for read in (_header, _metadata):
        outcomes = [_outcome(partial(read, syntax, data_set, cut)) for cut in (whole, size)]
        _alike(outcomes, corrupt_differs=deflated)
    _alike([_outcome(partial(_file, data_set, cut)) for cut in (whole, size)], corrupt_differs=True)
    layout = _outcome(partial(_layout, syntax, data_set, size))
    if isinstance(layout, Layout):
        _check_layout(layout, len(data_set))
    if not deflated:
        _check_json(syntax, data_set)


def _outcome(read: Callable[[], Any]) -> Any:
    """Return what a reader gives, or the error by which it refuses."""
    try:
        return read()
    except HarmonyError as error:
        return error


def _alike(outcomes: list[Any], *, corrupt_differs: bool) -> None:
    """Hold the outcomes of one data set, cut in two ways, against one another.

    How far corrupt deflated data come before that shows is up to zlib, and depends on the pieces.
    """
    if corrupt_differs and any("corrupt" in str(one) for one in outcomes if isinstance(one, HarmonyError)):
        return
    whole, in_pieces = (type(one) if isinstance(one, HarmonyError) else one for one in outcomes)
    assert whole == in_pieces, f"how it is cut changes what is read: {whole!r}, {in_pieces!r}"


def _pieces(data: bytes, size: int) -> Iterator[memoryview]:
    view = memoryview(data)
    return (view[start : start + size] for start in range(0, len(data), size))


def _header(syntax: str, data_set: bytes, size: int) -> tuple[dict[str, str], bool]:
    scan = HeaderScan(syntax)
    if not any(scan.feed(piece) for piece in _pieces(data_set, size)):
        scan.end()
    assert b"".join(scan.gathered) == data_set[: sum(map(len, scan.gathered))], "what is held is what came"
    return scan.values, scan.truncated


def _file(data: bytes, size: int) -> tuple[str, dict[str, str], tuple[str, str]]:
    reading = Part10Reading()
    if not any(reading.feed(piece) for piece in _pieces(data, size)):
        reading.end()
    return reading.transfer_syntax_uid, reading.values, reading.identity


def _metadata(syntax: str, data_set: bytes, size: int) -> dict[str, Any]:
    scan = MetadataScan(syntax)
    for piece in _pieces(data_set, size):
        scan.feed([piece])
    metadata = scan.finish(lambda path: "/".join(map(str, path)))
    orjson.dumps(metadata)
    return metadata


def _layout(syntax: str, data_set: bytes, size: int) -> Layout:
    scan = LayoutScan(syntax)
    for piece in _pieces(data_set, size):
        scan.feed([piece])
    return scan.finish()


def _check_layout(layout: Layout, length: int) -> None:
    orjson.loads(layout.metadata)
    places = [place for path in layout.bulk for place in layout.ranges(path) or ()]
    if layout.frames is not None:
        for number in (1, 2, 3):
            located = _outcome(partial(layout.frames.locate, number))
            places.extend(located if isinstance(located, tuple) else ())
    for offset, size in places:
        assert offset >= 0, "a place before the data set"
        assert size >= 0, "a place of less than nothing"
        assert offset + size <= length, "a place behind the data set"
    again = Layout.from_bytes(layout.to_bytes())
    assert again.metadata == layout.metadata, "a layout is kept as it is"
    assert again.bulk == layout.bulk, "a layout is kept as it is"


def _check_json(syntax: str, data_set: bytes) -> None:
    model = _outcome(partial(to_json, data_set, syntax))
    if isinstance(model, HarmonyError):
        return
    assert orjson.loads(orjson.dumps(model)) == model, "the model is JSON"
    encoded = _outcome(partial(from_json, model, _EXPLICIT))
    if not isinstance(encoded, HarmonyError):
        to_json(encoded, _EXPLICIT)


def seeds() -> Iterator[bytes]:
    """Yield inputs to begin with: the beginnings of real objects, as files and as data sets."""
    for name in SHIPPED:
        content = Path(str(get_testdata_file(name, download=False))).read_bytes()
        meta = read_file_meta(content)
        if meta is None:
            continue
        data_set = content[meta.data_set_offset :]
        syntax = meta.transfer_syntax_uid
        number = SYNTAXES.index(syntax) if syntax in SYNTAXES else len(SYNTAXES) - 1
        if syntax == _DEFLATED:
            data_set = _deflated(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data_set)[: LONGEST_INPUT // 2])
        elif len(data_set) > LONGEST_INPUT:
            data_set = _shortened(data_set, syntax)
        yield pack("BB", number, 40) + data_set[: LONGEST_INPUT - 2]
        yield pack("BB", number, 40) + content[: LONGEST_INPUT - 2]


def _deflated(data: bytes) -> bytes:
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflating.compress(data) + deflating.flush()


def _shortened(data_set: bytes, syntax: str) -> bytes:
    """Return the beginning of a data set, up to what does not fit whole any more."""
    end = LONGEST_INPUT - 2
    while end > 0:
        try:
            to_json(data_set[:end], syntax)
        except HarmonyError:
            end -= 1
        else:
            break
    return data_set[:end]
