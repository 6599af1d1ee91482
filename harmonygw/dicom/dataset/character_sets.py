"""Specific Character Sets (PS3.3 §C.12.1.1.2): text as bytes and as `str`, code extensions included.

A value without escape sequences is decoded by one codec in one call. With code extensions (ISO 2022), a value
is a series of runs, each of which begins where an escape sequence designates another set of graphic
characters: to G0, which is what bytes below 80H mean, or to G1, for those above. Delimiters and control
characters bring the initial sets back (PS3.5 §6.1.2.5.3).

Nothing is guessed: bytes that the declared sets do not define become U+FFFD, one for each that is wrong.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from harmonygw.errors import BadRequest

REPLACEMENT: Final = "\ufffd"
"""U+FFFD, what stands for bytes that could not be decoded."""

MAX_CHARACTER_SETS: Final = 256
"""Combinations of terms that are kept ready. Default 256: a site has a handful, and hostile data must not
fill memory.
"""

MAX_TERMS: Final = 32
"""Values of (0008,0005) that whoever reads data sets looks at. Default 32: there are 17 extensible sets."""

LONGEST_TERM: Final = 32
"""Characters of a value of (0008,0005) that are looked at. Default 32, twice what a CS may have."""

ESCAPE: Final = b"\x1b"


class _GraphicSet(NamedTuple):
    """A set of graphic characters, and how ISO 2022 switches to it."""

    codec: str
    """The Python codec that decodes it together with ASCII."""
    designation: bytes = b""
    """The escape sequence, empty where code extensions are not allowed."""
    in_g0: bool = False
    """Whether its characters are pairs of bytes below 80H, in the place of ASCII."""
    width: int = 1
    """Bytes of one of its characters that is not ASCII; 0 when it varies."""


_ASCII: Final = _GraphicSet("ascii", b"\x1b(B")
_JIS_X_0201: Final = _GraphicSet("shift_jis", b"\x1b)I")

_EXTENSIBLE: Final = {
    "6": _ASCII,
    "13": _JIS_X_0201,
    "100": _GraphicSet("latin_1", b"\x1b-A"),
    "101": _GraphicSet("iso8859_2", b"\x1b-B"),
    "109": _GraphicSet("iso8859_3", b"\x1b-C"),
    "110": _GraphicSet("iso8859_4", b"\x1b-D"),
    "126": _GraphicSet("iso8859_7", b"\x1b-F"),
    "127": _GraphicSet("iso8859_6", b"\x1b-G"),
    "138": _GraphicSet("iso8859_8", b"\x1b-H"),
    "144": _GraphicSet("iso8859_5", b"\x1b-L"),
    "148": _GraphicSet("iso8859_9", b"\x1b-M"),
    "166": _GraphicSet("tis_620", b"\x1b-T"),
    "203": _GraphicSet("iso8859_15", b"\x1b-b"),
    "87": _GraphicSet("iso2022_jp", b"\x1b$B", in_g0=True, width=2),
    "159": _GraphicSet("iso2022_jp_2", b"\x1b$(D", in_g0=True, width=2),
    "149": _GraphicSet("euc_kr", b"\x1b$)C", width=2),
    "58": _GraphicSet("gb2312", b"\x1b$)A", width=2),
}
"""By the number of the ISO registration: Tables C.12-2 to C.12-4."""

_STAND_ALONE: Final = {
    "ISO_IR 192": _GraphicSet("utf_8", width=0),
    "GB18030": _GraphicSet("gb18030", width=0),
    "GBK": _GraphicSet("gbk", width=0),
}
"""Table C.12-5: no code extensions, neither beside them nor inside of values."""

_NUMBERED: Final = re.compile(r"ISO(?:([ _-]?)2022)?([ _-]?)IR([ _-]?)(\d+)", re.IGNORECASE)
_MISSPELT: Final = {
    "UTF-8": "ISO_IR 192",
    "UTF8": "ISO_IR 192",
    "ISO 2022 GBK": "GBK",
    "ISO 2022 58": "ISO 2022 IR 58",
}

_DESIGNATED: Final = {set_.designation: set_ for set_ in _EXTENSIBLE.values()}
_ROMAJI_IN_G0: Final = b"\x1b(J"
_TO_ASCII_IN_G0: Final = (_ASCII.designation, _ROMAJI_IN_G0)
_RUN: Final = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
_HALVES: Final = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")

_CONTROL: Final = rb"\x00-\x1a\x1c-\x1f"
_DELIMITERS: Final = re.compile(b"[" + _CONTROL + rb"\\]")
_DELIMITERS_BY_VR: Final = {
    "PN": re.compile(b"[" + _CONTROL + rb"\\^=]"),
    **dict.fromkeys(("ST", "LT", "UT", "UR"), re.compile(b"[" + _CONTROL + b"]")),
}


class CharacterSet:
    """What a value of (0008,0005) stands for; made by `character_set`."""

    __slots__ = ("_initial", "_others", "_stand_alone", "notes", "terms")

    terms: tuple[str, ...]
    """The defined terms as the standard spells them; empty for the default repertoire."""
    notes: tuple[str, ...]
    """What was wrong with the terms, and what was made of it: sentences for the log."""

    def __init__(self, terms: Sequence[str]) -> None:
        spelt, notes = _as_defined([term.strip() for term in terms])
        sets = [_graphic_set(term) for term in spelt]
        self._initial = sets[0]
        self._others = tuple(sets[1:])
        self._stand_alone = spelt[0] in _STAND_ALONE
        self.terms = () if spelt in ([""], ["ISO_IR 6"]) else tuple(spelt)
        self.notes = tuple(notes)

    def decode(self, value: bytes, vr: str) -> str:
        """Return the text of a whole value field, backslashes and padding included.

        `vr` decides what delimits: backslash except in ST, LT, UT and UR; `^` and `=` in PN (PS3.5
        §6.1.2.5.3). An escape sequence of PS3.3 is followed even when its set was not declared, for it means
        nothing else. Bytes that cannot be decoded become U+FFFD; nothing is raised.
        """
        if ESCAPE not in value or self._stand_alone:
            return value.decode(_codec_of(self._initial), "replace")
        return "".join(self._runs(value, _DELIMITERS_BY_VR.get(vr, _DELIMITERS)))

    def encode(self, text: str, vr: str) -> bytes:
        """Return the bytes of one value, or of several with backslashes between them.

        Escape sequences are added where the terms allow them and a character needs one. Raises `BadRequest`
        naming the character when no set of the terms has it, and for ESC itself, which would switch sets.
        """
        if "\x1b" in text:
            raise BadRequest("the control character ESC cannot be part of a value")
        if text.isascii():
            return text.encode("ascii")
        if self._stand_alone:
            try:
                return text.encode(self._initial.codec)
            except UnicodeEncodeError as error:
                raise self._lacks(text[error.start]) from None
        return self._extended(text, _DELIMITERS_BY_VR.get(vr, _DELIMITERS))

    def _runs(self, value: bytes, delimiters: re.Pattern[bytes]) -> "list[str]":
        text: list[str] = []
        initial = _codec_of(self._initial)
        pairs: _GraphicSet | None = None
        upper = initial
        for run in _RUN.findall(value):
            if run.startswith(ESCAPE):
                escape = run[: 4 if run[1:3] in (b"$(", b"$)") else 3]
                designated = _DESIGNATED.get(escape)
                if escape in _TO_ASCII_IN_G0:
                    pairs = None
                elif designated is None:
                    text.append(REPLACEMENT)
                    escape = ESCAPE
                elif designated.in_g0:
                    pairs = designated
                else:
                    upper = designated.codec
                run = run[len(escape) :]
            if pairs is not None:
                text += _with_pairs(run, pairs, upper)
                continue
            delimiter = delimiters.search(run)
            if delimiter is not None:
                text.append(run[: delimiter.start()].decode(upper, "replace"))
                run = run[delimiter.start() :]
                upper = initial
            text.append(run.decode(upper, "replace"))
        return text

    def _extended(self, text: str, delimiters: re.Pattern[bytes]) -> bytes:
        encoded = bytearray()
        to_ascii = _ROMAJI_IN_G0 if self._initial is _JIS_X_0201 else _ASCII.designation
        initial = _ASCII if self._initial.in_g0 else self._initial
        pairs: _GraphicSet | None = None
        upper = initial
        for character in text:
            if character.isascii():
                plain = character.encode("ascii")
                if pairs is not None:
                    encoded += to_ascii
                    pairs = None
                if delimiters.match(plain):
                    upper = initial
                encoded += plain
                continue
            for candidate in (pairs or upper, upper, initial, self._initial, *self._others):
                form = _form(candidate, character)
                if form:
                    break
            else:
                raise self._lacks(character)
            if candidate.in_g0 and candidate is not pairs:
                encoded += candidate.designation
                pairs = candidate
            elif not candidate.in_g0:
                if pairs is not None:
                    encoded += to_ascii
                    pairs = None
                if candidate is not upper:
                    encoded += candidate.designation
                    upper = candidate
            encoded += form
        return bytes(encoded + to_ascii if pairs is not None else encoded)

    def _lacks(self, character: str) -> BadRequest:
        terms = "\\".join(self.terms) or "ISO_IR 6"
        return BadRequest(f"the character {character!r} (U+{ord(character):04X}) is not in the character set {terms}")


@lru_cache(MAX_CHARACTER_SETS)
def character_set(terms: tuple[str, ...]) -> CharacterSet:
    """Return the character set of the values of (0008,0005), in their order; none at all is the default
    repertoire.

    Common misspellings are understood: `ISO-IR 100`, `ISO_IR_100`, `ISO2022 IR 100`, `UTF-8`. What is beside
    a set that allows no code extensions is ignored. An unknown term stands for the default repertoire, so
    that only ASCII can be decoded. Each of these leaves a sentence in `notes`.
    """
    return CharacterSet(terms or ("",))


def _as_defined(terms: list[str]) -> tuple[list[str], list[str]]:
    """Spell the terms as the standard does; the second list says what was wrong."""
    spelt, notes = [], []
    for term in terms:
        defined = _defined_term(term)
        if defined is None:
            notes.append(f"the character set {term!r} is unknown: only its ASCII can be decoded")
        elif defined != term:
            notes.append(f"the character set {term!r} is read as {defined!r}")
        spelt.append(term if defined is None else defined)
    if spelt[0] in _STAND_ALONE:
        extensions, spelt = spelt[1:], spelt[:1]
    else:
        extensions = [term for term in spelt[1:] if term in _STAND_ALONE]
        spelt = [spelt[0], *(term for term in spelt[1:] if term not in _STAND_ALONE)]
    if extensions:
        notes.append(f"code extensions do not go with {', '.join(extensions)} beside {spelt[0]!r}: ignored")
    return spelt, notes


def _defined_term(term: str) -> str | None:
    if not term or term in _STAND_ALONE:
        return term
    numbered = _NUMBERED.fullmatch(term)
    if numbered is not None:
        number = numbered[4]
        if number in _EXTENSIBLE:
            return f"ISO_IR {number}" if numbered[1] is None else f"ISO 2022 IR {number}"
        return "ISO_IR 192" if number == "192" else None
    upper = term.upper()
    return upper if upper in _STAND_ALONE else _MISSPELT.get(upper)


def _graphic_set(term: str) -> _GraphicSet:
    stand_alone = _STAND_ALONE.get(term)
    return stand_alone or _EXTENSIBLE.get(term.rpartition(" ")[2], _ASCII)


def _codec_of(initial: _GraphicSet) -> str:
    """Before any escape sequence G0 is ASCII, even where value 1 names a set of pairs."""
    return "ascii" if initial.in_g0 else initial.codec


def _with_pairs(run: bytes, pairs: _GraphicSet, upper: str) -> list[str]:
    """Decode a run while G0 holds pairs; bytes from 80H still mean G1."""
    return [
        (pairs.designation + half).decode(pairs.codec, "replace") if half.isascii() else half.decode(upper, "replace")
        for half in _HALVES.findall(run)
    ]


def _form(set_: _GraphicSet, character: str) -> bytes:
    """Return the bytes of a character that is not ASCII, without escape sequences; nothing when the set lacks
    it.
    """
    try:
        encoded = character.encode(set_.codec)
    except UnicodeEncodeError:
        return b""
    if set_.in_g0:
        start = len(set_.designation)
        return encoded[start : start + 2] if encoded.startswith(set_.designation) else b""
    # A codec may go beyond the set: yen as 5CH, Shift JIS's kanji, Hangul composed of its letters.
    return encoded if len(encoded) == set_.width and encoded[0] >= 0x80 else b""
