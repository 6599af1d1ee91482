from typing import Any

import pytest

from harmonygw.dicom.dataset.limits import MAX_NESTING_DEPTH, Limits
from harmonygw.dicom.dataset.tokens import LONGEST_WHOLE_VALUE, Tokenizer
from harmonygw.errors import PeerError
from tests.dicom.dataset.encoded import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    UNDEFINED,
    element,
    header,
    item,
    sequence,
    split,
)

SIZES = [1, 3, 7, 0]
SQ = 0x00081140
NAME = element(0x00100010, "PN", b"A^B ")
NAME_TOLD = ("element", 0x00100010, "PN", b"A^B ")
DELIMITER = header(0xFFFEE00D, "", 0)


class Recorder:
    """Writes down what it is told, the pieces of a value put together."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def element(self, tag: int, vr: str, value: memoryview) -> None:
        self.told.append(("element", tag, vr, bytes(value)))

    def verbatim(self, run: memoryview) -> None:
        if self.told and self.told[-1][0] == "verbatim":
            run = memoryview(self.told.pop()[1] + bytes(run))
        self.told.append(("verbatim", bytes(run)))

    def begin_value(self, tag: int, vr: str, length: int) -> None:
        self.told.append(["value", tag, vr, length, b""])

    def value(self, piece: memoryview) -> None:
        assert piece
        self.told[-1][-1] += piece

    def begin_sequence(self, tag: int) -> None:
        self.told.append(("sequence", tag))

    def end_sequence(self) -> None:
        self.told.append("end of sequence")

    def begin_item(self) -> None:
        self.told.append("item")

    def end_item(self) -> None:
        self.told.append("end of item")

    def encapsulated(self, tag: int, vr: str, offset: int) -> None:
        self.told.append(("encapsulated", tag, vr, offset))

    def fragment(self, offset: int, length: int) -> None:
        self.told.append(["fragment", offset, length, b""])

    def fragment_value(self, piece: memoryview) -> None:
        assert piece
        self.told[-1][-1] += piece

    def end_encapsulated(self) -> None:
        self.told.append("end of encapsulated")


def told(data: bytes, syntax: str = EXPLICIT, size: int = 0, limits: Limits = Limits(), **options: Any) -> list[Any]:  # noqa: B008
    recorder = Recorder()
    tokenizer = Tokenizer(syntax, recorder, limits=limits, **options)
    for piece in split(data, size):
        tokenizer.feed(piece)
    tokenizer.finish()
    return recorder.told


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, JPEG_BASELINE])
def test_elements_are_told_one_by_one(syntax: str, size: int) -> None:
    data = (
        element(0x00080005, "CS", b"ISO_IR 100", syntax)
        + element(0x00080008, "CS", b"", syntax)
        + element(0x00420011, "OB", b"%PDF", syntax)
    )
    assert told(data, syntax, size) == [
        ("element", 0x00080005, "CS", b"ISO_IR 100"),
        ("element", 0x00080008, "CS", b""),
        ("element", 0x00420011, "OB", b"%PDF"),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("defined_items", [False, True])
@pytest.mark.parametrize("defined", [False, True])
def test_sequences_are_told_alike_whatever_their_length(
    syntax: str, size: int, defined: bool, defined_items: bool
) -> None:
    name = element(0x00100010, "PN", b"A^B ", syntax)
    inner = sequence(0x00081199, item(name, syntax, defined=defined_items), syntax=syntax, defined=defined)
    data = sequence(
        SQ,
        item(inner, syntax, defined=defined_items),
        item(b"", syntax, defined=defined_items),
        syntax=syntax,
        defined=defined,
    )
    assert told(data + name, syntax, size) == [
        ("sequence", SQ),
        "item",
        ("sequence", 0x00081199),
        "item",
        NAME_TOLD,
        "end of item",
        "end of sequence",
        "end of item",
        "item",
        "end of item",
        "end of sequence",
        NAME_TOLD,
    ]


def test_an_empty_sequence_of_defined_length_is_an_element() -> None:
    assert told(sequence(SQ, defined=True)) == [("element", SQ, "SQ", b"")]
    assert told(sequence(SQ)) == [("sequence", SQ), "end of sequence"]


@pytest.mark.parametrize("size", SIZES)
def test_group_lengths_are_not_told(size: int) -> None:
    long_one = element(0x00100000, "UN", bytes(LONGEST_WHOLE_VALUE + 2))
    assert told(element(0x00080000, "UL", bytes(4)) + long_one + NAME, size=size) == [NAME_TOLD]


@pytest.mark.parametrize("size", [1, 4096])
def test_a_long_value_is_told_in_pieces_unless_it_happens_to_be_whole(size: int) -> None:
    value = bytes(range(256)) * 17
    data = element(0x00420011, "OB", value) + NAME
    assert told(data, size=size) == [["value", 0x00420011, "OB", len(value), value], NAME_TOLD]
    assert told(data) == [("element", 0x00420011, "OB", value), NAME_TOLD]


def test_no_more_than_a_whole_value_and_its_header_is_held() -> None:
    for length, held in ((LONGEST_WHOLE_VALUE, LONGEST_WHOLE_VALUE + 11), (LONGEST_WHOLE_VALUE + 2, 0)):
        tokenizer = Tokenizer(EXPLICIT, Recorder())
        for piece in split(element(0x00420011, "OB", bytes(length))[:-1], 1):
            tokenizer.feed(piece)
        assert tokenizer.held == held


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("vr", "big", "little"),
    [("US", "0102 0304", "0201 0403"), ("AT", "0010 0020", "1000 2000"), ("FL", "01020304", "04030201")],
)
def test_values_are_told_in_little_endian(vr: str, big: str, little: str, size: int) -> None:
    data = element(0x00089999, vr, bytes.fromhex(big), BIG_ENDIAN)
    assert told(data, BIG_ENDIAN, size) == [("element", 0x00089999, vr, bytes.fromhex(little))]


@pytest.mark.parametrize("size", [1, 4095])
def test_long_values_are_told_in_little_endian(size: int) -> None:
    words = b"\1\2\3\4" * 2000
    data = element(0x7FE00010, "OW", words, BIG_ENDIAN)
    assert told(data, BIG_ENDIAN, size) == [["value", 0x7FE00010, "OW", 8000, b"\2\1\4\3" * 2000]]


@pytest.mark.parametrize("length", [3, 4097])
def test_a_value_that_is_no_whole_number_of_words_cannot_be_swapped(length: int) -> None:
    data = NAME_BIG + element(0x7FE00010, "OW", bytes(length), BIG_ENDIAN)
    with pytest.raises(PeerError, match=rf"{length} bytes are no whole number of OW words, \(7FE0,0010\) at byte 12"):
        told(data, BIG_ENDIAN, 100)


NAME_BIG = element(0x00100010, "PN", b"A^B ", BIG_ENDIAN)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
def test_un_of_undefined_length_is_an_implicit_vr_little_endian_sequence(syntax: str, size: int) -> None:
    inner = sequence(SQ, item(element(0x00100010, "PN", b"A^B ", IMPLICIT), IMPLICIT), syntax=IMPLICIT)
    data = header(0x00091001, "UN", UNDEFINED, syntax) + item(inner, IMPLICIT) + header(0xFFFEE0DD, "", 0)
    name = element(0x00100010, "PN", b"A^B ", syntax)
    assert told(data + name, syntax, size) == [
        ("sequence", 0x00091001),
        "item",
        ("sequence", SQ),
        "item",
        NAME_TOLD,
        "end of item",
        "end of sequence",
        "end of item",
        "end of sequence",
        NAME_TOLD,
    ]


def test_un_of_undefined_length_may_hold_explicit_vr_after_all() -> None:
    assert told(sequence(0x00091001, item(NAME), vr="UN"))[2] == NAME_TOLD


def test_un_of_defined_length_is_a_value() -> None:
    assert told(element(0x00091001, "UN", b"abcd")) == [("element", 0x00091001, "UN", b"abcd")]


def test_an_unknown_implicit_element_of_undefined_length_is_a_sequence() -> None:
    data = sequence(0x00091001, item(b"", IMPLICIT), syntax=IMPLICIT)
    assert told(data, IMPLICIT) == [("sequence", 0x00091001), "item", "end of item", "end of sequence"]


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
def test_an_item_that_begins_without_a_vr_is_in_implicit_vr(syntax: str) -> None:
    order = IMPLICIT if syntax == EXPLICIT else BIG_ENDIAN
    name = header(0x00100010, "", 4, order) + b"A^B "
    data = sequence(
        SQ, item(name + name, order), item(element(0x00100010, "PN", b"A^B ", syntax), syntax), syntax=syntax
    )
    assert told(data, syntax)[2:7] == [NAME_TOLD, NAME_TOLD, "end of item", "item", NAME_TOLD]


def test_a_single_element_without_a_vr_is_in_implicit_vr() -> None:
    assert told(NAME + element(0x00100010, "PN", b"A^B ", IMPLICIT) + NAME) == [NAME_TOLD] * 3


def test_an_unknown_vr_is_un_with_either_form_of_length() -> None:
    long_form = element(0x00091001, "UN", b"ab").replace(b"UN", b"ZZ")
    short_form = element(0x00091002, "CS", b"cd").replace(b"CS", b"ZY")
    assert told(long_form + short_form) == [
        ("element", 0x00091001, "UN", b"ab"),
        ("element", 0x00091002, "UN", b"cd"),
    ]


def test_an_item_of_defined_length_may_end_with_a_delimiter() -> None:
    data = sequence(SQ, item(NAME + DELIMITER, defined=True))
    assert told(data) == [("sequence", SQ), "item", NAME_TOLD, "end of item", "end of sequence"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_fragments_are_told_with_their_places(vr: str, size: int) -> None:
    fragments = item(b"", defined=True) + item(bytes(5000), defined=True) + item(b"\xfe\xff", defined=True)
    data = NAME + sequence(0x7FE00010, fragments, vr=vr) + element(0xFFFCFFFC, "OB", b"\0\0")
    assert told(data, JPEG_BASELINE, size) == [
        NAME_TOLD,
        ("encapsulated", 0x7FE00010, vr, 12),
        ["fragment", 32, 0, b""],
        ["fragment", 40, 5000, bytes(5000)],
        ["fragment", 5048, 2, b"\xfe\xff"],
        "end of encapsulated",
        ("element", 0xFFFCFFFC, "OB", b"\0\0"),
    ]


def test_pixel_data_of_undefined_length_in_implicit_vr_is_encapsulated() -> None:
    data = sequence(0x7FE00010, item(b"ab", defined=True), syntax=IMPLICIT)
    assert told(data, IMPLICIT) == [
        ("encapsulated", 0x7FE00010, "OW", 0),
        ["fragment", 16, 2, b"ab"],
        "end of encapsulated",
    ]


class Surveyor(Recorder):
    """Writes down where the tokenizer says that things are."""

    tokenizer: Tokenizer

    def _survey(self, tag: int, length: int) -> None:
        self.told.append((tag, self.tokenizer.element_offset, self.tokenizer.value_offset, length))

    def element(self, tag: int, vr: str, value: memoryview) -> None:
        self._survey(tag, len(value))

    def begin_value(self, tag: int, vr: str, length: int) -> None:
        self._survey(tag, length)

    def value(self, piece: memoryview) -> None:
        pass

    def begin_sequence(self, tag: int) -> None:
        pass

    end_sequence = begin_item = end_item = end_encapsulated = lambda self: None

    def encapsulated(self, tag: int, vr: str, offset: int) -> None:
        assert offset == self.tokenizer.element_offset
        self._survey(tag, -1)

    def fragment(self, offset: int, length: int) -> None:
        pass

    def fragment_value(self, piece: memoryview) -> None:
        pass


@pytest.mark.parametrize("size", [*SIZES, 4096])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_it_is_known_where_values_lie(syntax: str, size: int) -> None:
    name = element(0x00100010, "PN", b"A^B ", syntax)
    long_one = element(0x00420011, "OB", bytes(9000), syntax)
    pixels = sequence(0x7FE00010, item(b"", syntax, defined=True), syntax=syntax, vr="OB")
    data = name + sequence(SQ, item(name + long_one, syntax, defined=True), syntax=syntax) + long_one + pixels
    surveyor = Surveyor()
    surveyor.tokenizer = Tokenizer(syntax, surveyor, offset=1000)
    for piece in split(data, size):
        surveyor.tokenizer.feed(piece)
    surveyor.tokenizer.finish()
    short, long = 8, 8 if syntax == IMPLICIT else 12
    first, inner = len(name), len(name) + long + 8
    second, third = inner + len(name), inner + len(name) + len(long_one) + 8
    assert surveyor.told == [
        (0x00100010, 1000, 1000 + short, 4),
        (0x00100010, 1000 + inner, 1000 + inner + short, 4),
        (0x00420011, 1000 + second, 1000 + second + long, 9000),
        (0x00420011, 1000 + third, 1000 + third + long, 9000),
        (0x7FE00010, 1000 + third + len(long_one), 1000 + third + len(long_one) + long, -1),
    ]
    assert first + long + 8 == inner


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_short_elements_are_told_verbatim_when_wanted(syntax: str, size: int) -> None:
    name = element(0x00100010, "PN", b"A^B ", syntax)
    long_one = element(0x00104000, "LT", b"comments", syntax)
    data = name + name + long_one + sequence(SQ, item(name, syntax, defined=True), syntax=syntax)
    assert told(data, syntax, size, longest_verbatim=4) == [
        ("verbatim", name + name),
        ("element", 0x00104000, "LT", b"comments"),
        ("sequence", SQ),
        "item",
        ("verbatim", name),
        "end of item",
        "end of sequence",
    ]


def test_big_endian_is_never_told_verbatim() -> None:
    assert told(NAME_BIG, BIG_ENDIAN, longest_verbatim=1024) == [NAME_TOLD]


def nested(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = sequence(SQ, item(data))
    return data


def test_sequences_nest_up_to_the_limit() -> None:
    assert told(nested(MAX_NESTING_DEPTH)).count("item") == MAX_NESTING_DEPTH
    with pytest.raises(PeerError, match=r"deeper than MAX_NESTING_DEPTH \(64\), \(0008,1140\) at byte 1280"):
        told(nested(MAX_NESTING_DEPTH + 1))
    with pytest.raises(PeerError, match=r"MAX_NESTING_DEPTH \(2\)"):
        told(nested(3), limits=Limits(max_nesting_depth=2))


def test_the_depth_counts_what_is_open() -> None:
    assert told(nested(2) + nested(2), limits=Limits(max_nesting_depth=2))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (NAME[:5], "cut short after 5 bytes"),
        (NAME[:-1], "cut short after 11 bytes"),
        (element(0x7FE00010, "OB", bytes(5000))[:-1], "cut short after 5011 bytes"),
        (sequence(SQ, item(NAME))[:-8], r"ends within it, \(0008,1140\) at byte 40"),
        (sequence(SQ, item(NAME))[:-16], r"ends within it, \(0008,1140\) at byte 32"),
        (sequence(SQ, item(NAME), defined=True)[:-8], r"ends within it, \(0008,1140\) at byte 32"),
        (NAME + DELIMITER, r"a delimiter among data elements, \(FFFE,E00D\) at byte 12"),
        (sequence(SQ, item(header(0xFFFEE0DD, "", 0))), r"among data elements, \(FFFE,E0DD\) at byte 20"),
        (sequence(SQ, item(header(0xFFFEE00D, "", 2))), r"among data elements, \(FFFE,E00D\) at byte 20"),
        (sequence(SQ, NAME), r"an item was expected, \(0010,0010\) at byte 12"),
        (
            sequence(SQ, header(0xFFFEE0DD, "", 0), defined=True),
            r"an item was expected, \(FFFE,E0DD\) at byte 12",
        ),
        (header(0x00100010, "UT", UNDEFINED), r"VR UT with undefined length, \(0010,0010\) at byte 0"),
        (sequence(0x7FE00010, item(b""), vr="OB"), r"fragment of undefined length, \(FFFE,E000\) at byte 12"),
        (
            sequence(SQ, item(NAME, defined=True)[:-1], defined=True),
            r"beyond what holds it, \(FFFE,E000\) at byte 12",
        ),
        (
            sequence(SQ, header(0xFFFEE000, "", 10) + NAME, defined=True),
            r"beyond what holds it, \(0010,0010\) at byte 20",
        ),
        (sequence(SQ, header(0xFFFEE000, "", UNDEFINED) + NAME + b"ab", defined=True) + bytes(9), "beyond what"),
    ],
)
def test_malformed_data_sets_are_refused(data: bytes, message: str, size: int) -> None:
    with pytest.raises(PeerError, match=message) as raised:
        told(data, size=size)
    assert raised.value.source == 0
