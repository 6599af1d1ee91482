"""Specific Character Sets: the standard's examples, agreement with pydicom, and what is wrong in practice."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import charset as pydicom_charset
from pydicom import dcmread

from harmonygw.dicom.dataset.character_sets import MAX_CHARACTER_SETS, character_set
from harmonygw.errors import BadRequest
from tests.corpus import CORPUS

JAPANESE = ("", "ISO 2022 IR 87")
ROMAJI = ("ISO 2022 IR 13", "ISO 2022 IR 87")
KOREAN = ("", "ISO 2022 IR 149")
CHINESE = ("", "ISO 2022 IR 58")

STANDARD_EXAMPLES = [
    # PS3.5 §H.3.1
    (
        JAPANESE,
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    # PS3.5 §H.3.2
    (
        ROMAJI,
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    # PS3.5 §I.2
    (
        KOREAN,
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    # PS3.5 §J.3
    (
        ("ISO_IR 192",),
        b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1=",
        "Wang^XiaoDong=王^小東=",
    ),
    # PS3.5 §J.4
    (("GB18030",), b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
    # PS3.5 §K.2
    (
        CHINESE,
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
]

SINGLE_BYTE = {
    "ISO_IR 13": ("shift_jis", "ｱｲｳ"),
    "ISO_IR 100": ("latin_1", "Äé÷"),
    "ISO_IR 101": ("iso8859_2", "ŁŽ"),
    "ISO_IR 109": ("iso8859_3", "ĦŬ"),
    "ISO_IR 110": ("iso8859_4", "Ŧŗ"),
    "ISO_IR 126": ("iso8859_7", "Διονυσιος"),
    "ISO_IR 127": ("iso8859_6", "قباني"),
    "ISO_IR 138": ("iso8859_8", "שרון"),
    "ISO_IR 144": ("iso8859_5", "Люкceмбypг"),
    "ISO_IR 148": ("iso8859_9", "Çavuşoğlu"),
    "ISO_IR 166": ("tis_620", "นามสกุล"),
    "ISO_IR 203": ("iso8859_15", "Œuvre €"),
}


@pytest.mark.parametrize(("terms", "encoded", "text"), STANDARD_EXAMPLES)
def test_the_standard_s_examples_are_decoded(terms: tuple[str, ...], encoded: bytes, text: str) -> None:
    assert character_set(terms).decode(encoded, "PN") == text


@pytest.mark.parametrize(("terms", "encoded", "text"), STANDARD_EXAMPLES)
def test_the_standard_s_examples_are_encoded(terms: tuple[str, ...], encoded: bytes, text: str) -> None:
    assert character_set(terms).encode(text, "PN") == encoded


@pytest.mark.parametrize(("term", "codec", "text"), [(term, *both) for term, both in SINGLE_BYTE.items()])
def test_single_byte_sets_are_decoded_and_encoded(term: str, codec: str, text: str) -> None:
    set_ = character_set((term,))
    assert set_.decode(text.encode(codec), "LO") == text
    assert set_.encode(text, "LO") == text.encode(codec)
    assert set_.terms == (term,)
    assert set_.notes == ()


@pytest.mark.parametrize("term", SINGLE_BYTE)
def test_single_byte_sets_can_be_code_extensions(term: str) -> None:
    _, text = SINGLE_BYTE[term]
    extension = term.replace("ISO_IR", "ISO 2022 IR")
    set_ = character_set(("", extension))
    encoded = set_.encode(f"a{text}^{text}=b", "PN")
    assert encoded.startswith(b"a\x1b")
    assert set_.decode(encoded, "PN") == f"a{text}^{text}=b"
    if extension in pydicom_charset.python_encoding:
        encodings = pydicom_charset.convert_encodings(["", extension])
        assert pydicom_charset.decode_bytes(encoded, encodings, {0x5E}) == f"a{text}^{text}=b"


@pytest.mark.parametrize("term", ["ISO_IR 192", "GB18030", "GBK"])
def test_stand_alone_sets_know_no_escape_sequences(term: str) -> None:
    assert character_set((term,)).decode(b"\x1b$)Ca", "LO") == "\x1b$)Ca"


def test_a_backslash_inside_of_a_gb18030_character_delimits_nothing() -> None:
    set_ = character_set(("GB18030",))
    assert b"\\" in "俓".encode("gb18030")
    assert set_.decode(set_.encode("俓\\誠", "LO"), "LO") == "俓\\誠"


@pytest.mark.parametrize(
    ("terms", "value", "text"),
    [
        ((), b"a\x80\xffb", "a\ufffd\ufffdb"),
        (("ISO_IR 192",), b"M\xfcller", "M\ufffdller"),
        (("ISO_IR 127",), b"\xc1\xff", "\u0621\ufffd"),
        (KOREAN, b"\xb1\xe6", "\ufffd\ufffd"),
        (KOREAN, b"\x1b$)C\xb1", "\ufffd"),
        (JAPANESE, b"\x1b$B;", "\ufffd"),
        (JAPANESE, b"\x1b%Gx", "\ufffd%Gx"),
        (JAPANESE, b"\x1b", "\ufffd"),
    ],
)
def test_what_cannot_be_decoded_is_shown_so(terms: tuple[str, ...], value: bytes, text: str) -> None:
    assert character_set(terms).decode(value, "LO") == text


@pytest.mark.parametrize(
    ("vr", "value", "text"),
    [
        ("PN", b"\x1b-F\xe1^\xe1", "α^á"),
        ("PN", b"\x1b-F\xe1=\xe1", "α=á"),
        ("PN", b"\x1b-F\xe1\\\xe1", "α\\á"),
        ("LO", b"\x1b-F\xe1^\xe1\\\xe1", "α^α\\á"),
        ("LT", b"\x1b-F\xe1\\\xe1\r\n\xe1", "α\\α\r\ná"),
        ("LO", b"\x1b-F\xe1\t\xe1", "α\tá"),
    ],
)
def test_delimiters_bring_the_first_set_back(vr: str, value: bytes, text: str) -> None:
    assert character_set(("ISO 2022 IR 100", "ISO 2022 IR 126")).decode(value, vr) == text


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("é", b"\xe9"),
        ("éλ", b"\xe9\x1b-F\xeb"),
        ("λa^é", b"\x1b-F\xeba^\xe9"),
        ("λé", b"\x1b-F\xeb\x1b-A\xe9"),
        ("山é", b"\x1b$B;3\x1b(B\xe9"),
        ("山ά", b"\x1b$B;3\x1b(B\x1b-F\xdc"),
        ("λ山", b"\x1b-F\xeb\x1b$B;3\x1b(B"),
        ("山田x", b"\x1b$B;3ED\x1b(Bx"),
    ],
)
def test_the_set_is_changed_only_where_a_character_needs_it(text: str, encoded: bytes) -> None:
    set_ = character_set(("ISO 2022 IR 100", "ISO 2022 IR 126", "ISO 2022 IR 87"))
    assert set_.encode(text, "PN") == encoded
    assert set_.decode(encoded, "PN") == text


def test_half_width_katakana_may_stand_beside_pairs() -> None:
    assert character_set(ROMAJI).decode(b"\x1b$B;3\xb1ED", "LO") == "山ｱ田"


def test_jis_x_0212_is_a_set_of_its_own() -> None:
    set_ = character_set(("", "ISO 2022 IR 87", "ISO 2022 IR 159"))
    assert set_.encode("丂山", "LO") == b"\x1b$(D0!\x1b$B;3\x1b(B"
    assert set_.decode(b"\x1b$(D0!\x1b$B;3\x1b(B", "LO") == "丂山"


def test_an_escape_sequence_is_followed_though_its_set_was_not_declared() -> None:
    assert character_set(()).decode(b"\x1b$B;3ED\x1b(B!", "LO") == "山田!"


@pytest.mark.parametrize("term", ["ISO 2022 IR 87", "ISO 2022 IR 159"])
def test_a_set_of_pairs_alone_begins_with_ascii(term: str) -> None:
    set_ = character_set((term,))
    assert set_.decode(b"abc", "LO") == "abc"
    assert set_.decode(b"\xff", "LO") == "\ufffd"


def test_korean_alone_is_in_g1_from_the_beginning() -> None:
    set_ = character_set(("ISO 2022 IR 149",))
    assert set_.decode(b"\xb1\xe6", "LO") == "길"
    assert set_.encode("길", "LO") == b"\xb1\xe6"


def test_pairs_alone_are_encoded_with_their_escape_sequence() -> None:
    assert character_set(("ISO 2022 IR 87",)).encode("山", "LO") == b"\x1b$B;3\x1b(B"


@pytest.mark.parametrize(
    ("terms", "text", "named"),
    [
        ((), "é", "'é' (U+00E9) is not in the character set ISO_IR 6"),
        (("ISO_IR 100",), "aλ", "'λ' (U+03BB) is not in the character set ISO_IR 100"),
        (("GBK",), "\U0001f600", "U+1F600"),
        (("ISO_IR 192",), "\ud800", "U+D800"),
        (("ISO_IR 13",), "¥", "U+00A5"),
        (("ISO_IR 13",), "山", "U+5C71"),
        (JAPANESE, "λ길", r"U+AE38) is not in the character set \ISO 2022 IR 87"),
        (KOREAN, "뷁뷃", "U+BDC1"),
    ],
)
def test_a_character_that_the_set_lacks_is_named(terms: tuple[str, ...], text: str, named: str) -> None:
    with pytest.raises(BadRequest) as raised:
        character_set(terms).encode(text, "LO")
    assert named in raised.value.detail


def test_escape_cannot_be_smuggled_in() -> None:
    with pytest.raises(BadRequest, match="ESC"):
        character_set(KOREAN).encode("a\x1b$)C", "LO")


@pytest.mark.parametrize(
    ("term", "defined"),
    [
        ("ISO-IR 100", "ISO_IR 100"),
        ("ISO_IR_100", "ISO_IR 100"),
        ("ISO IR 100", "ISO_IR 100"),
        ("iso_ir 100", "ISO_IR 100"),
        ("ISO-IR 192", "ISO_IR 192"),
        ("ISO2022 IR 100", "ISO 2022 IR 100"),
        ("ISO-2022-IR-87", "ISO 2022 IR 87"),
        ("UTF-8", "ISO_IR 192"),
        ("utf8", "ISO_IR 192"),
        ("gbk", "GBK"),
        ("ISO 2022 GBK", "GBK"),
        ("ISO 2022 58", "ISO 2022 IR 58"),
    ],
)
def test_a_misspelt_term_is_understood_and_noted(term: str, defined: str) -> None:
    set_ = character_set((term,))
    assert set_.terms == (defined,)
    assert set_.notes == (f"the character set {term!r} is read as {defined!r}",)


@pytest.mark.parametrize("term", ["KOI8-R", "ISO_IR 999"])
def test_an_unknown_term_leaves_ascii(term: str) -> None:
    set_ = character_set((term,))
    assert set_.decode(b"a\xc1", "LO") == "a\ufffd"
    assert set_.notes == (f"the character set {term!r} is unknown: only its ASCII can be decoded",)


@pytest.mark.parametrize(
    ("terms", "kept"),
    [
        (("ISO_IR 192", "ISO 2022 IR 87"), ("ISO_IR 192",)),
        (("ISO 2022 IR 6", "ISO_IR 192", "ISO 2022 IR 87"), ("ISO 2022 IR 6", "ISO 2022 IR 87")),
    ],
)
def test_sets_that_do_not_go_together_are_ignored_and_noted(terms: tuple[str, ...], kept: tuple[str, ...]) -> None:
    set_ = character_set(terms)
    assert set_.terms == kept
    assert "ignored" in set_.notes[0]


@pytest.mark.parametrize("terms", [(), ("",), ("ISO_IR 6",), (" ",)])
def test_the_default_repertoire_has_no_terms(terms: tuple[str, ...]) -> None:
    assert character_set(terms).terms == ()


def test_character_sets_are_made_once_and_not_kept_without_bound() -> None:
    assert character_set(("ISO_IR 100",)) is character_set(("ISO_IR 100",))
    assert character_set.cache_info().maxsize == MAX_CHARACTER_SETS


@given(
    st.lists(st.sampled_from(["", *pydicom_charset.python_encoding]), min_size=1, max_size=4),
    st.binary(max_size=40),
    st.sampled_from(["PN", "LO", "LT"]),
)
def test_any_bytes_become_text(terms: list[str], value: bytes, vr: str) -> None:
    text = character_set(tuple(terms)).decode(value, vr)
    if value.isascii() and b"\x1b" not in value:
        assert text == value.decode("ascii")
    else:
        assert len(text) <= len(value)


@given(
    st.sampled_from([JAPANESE, ROMAJI, KOREAN, CHINESE, ("ISO 2022 IR 100", "ISO 2022 IR 144")]),
    st.text("aé^=ЖW山田やﾔ홍길张 ", max_size=12),
)
def test_what_was_encoded_is_decoded_to_the_same(terms: tuple[str, ...], text: str) -> None:
    set_ = character_set(terms)
    try:
        encoded = set_.encode(text, "PN")
    except BadRequest:
        return
    assert set_.decode(encoded, "PN") == text


def corpus_rows() -> list[dict[str, str]]:
    if CORPUS is None:
        return []
    with (CORPUS / "charset_expected.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_corpus_has_the_expected_text() -> None:
    for row in corpus_rows():
        data_set = dcmread(CORPUS / "charset" / row["file"])
        set_ = character_set(tuple(row["SpecificCharacterSet"].split("\\")))
        for keyword in ("PatientName", "StudyDescription"):
            value = data_set.get_item(keyword).value
            assert set_.decode(value, data_set[keyword].VR).rstrip() == row[keyword]
