import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmonygw.dicom.web.media_types import (
    MAX_MEDIA_RANGES,
    MODEL_OFFERS,
    RETRIEVE_INSTANCE_OFFERS,
    MediaRange,
    Offer,
    RetrieveChoice,
    RetrieveMedia,
    accept_parameters,
    negotiate_capabilities,
    negotiate_models,
    negotiate_retrieve,
    parse_accept,
    select,
)
from harmonygw.errors import NotAcceptable

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
LOSSLESS = "1.2.840.10008.1.2.4.70"
OHIF = "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*; transfer-syntax=*"
DICOM = 'multipart/related; type="application/dicom"'
XML = Offer("application/dicom+xml", multipart=True)


def test_a_media_range_has_its_parameters_in_order() -> None:
    assert parse_accept('Multipart/Related; Type="application/dicom"; transfer-syntax=1.2;q=0.5') == (
        MediaRange("multipart/related", (("type", "application/dicom"), ("transfer-syntax", "1.2")), 0.5),
    )


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("", ()),
        (" , ;, garbage, a/b/c", ()),
        ("a/b,c/d", (MediaRange("a/b"), MediaRange("c/d"))),
        ("image/, /b", (MediaRange("image/*"),)),
        ("application/dicom json", (MediaRange("application/dicom+json"),)),
        ("a/b;q=0", (MediaRange("a/b", (), 0.0),)),
        ("a/b;q=7", (MediaRange("a/b"),)),
        ("a/b;q=high", (MediaRange("a/b"),)),
        ("a/b;q=nan", (MediaRange("a/b"),)),
        ('a/b;x="1,2;3"', (MediaRange("a/b", (("x", "1,2;3"),)),)),
        (r'a/b;x="1\"2"', (MediaRange("a/b", (("x", '1"2'),)),)),
        ('a/b;x="1, c/d', (MediaRange("a/b", (("x", '"1, c/d'),)),)),
        ('a/b;x="1\\', (MediaRange("a/b", (("x", '"1\\'),)),)),
        ("a/b;flag", (MediaRange("a/b", (("flag", ""),)),)),
        ('a/b;type=";"', (MediaRange("a/b", (("type", ""),)),)),
    ],
)
def test_accept_lists_are_read_leniently(text: str, ranges: tuple[MediaRange, ...]) -> None:
    assert parse_accept(text) == ranges


def test_a_transfer_syntax_within_the_quotes_of_type_is_found() -> None:
    (one,) = parse_accept('multipart/related; type="application/dicom; transfer-syntax=1.2.3"')
    assert (one.part_type, one.transfer_syntaxes) == ("application/dicom", ("1.2.3",))


def test_a_list_is_read_up_to_a_limit() -> None:
    assert len(parse_accept(",".join(["a/b"] * (MAX_MEDIA_RANGES + 1)))) == MAX_MEDIA_RANGES


@pytest.mark.parametrize("text", ['\\"' * 50_000, '"' * 100_000, '"\\' * 50_000, "a;" * 50_000])
def test_no_list_takes_more_than_linear_time(text: str) -> None:
    began = time.process_time()
    parse_accept(text)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("header", "media_type"),
    [
        (None, "application/dicom+json"),
        ("", "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/*", "application/dicom+json"),
        (OHIF, "application/dicom+json"),
        ("application/json", "application/json"),
        ("application/json, application/dicom+json", "application/json"),
        ("application/json;q=0.5, application/dicom+json", "application/dicom+json"),
        ("application/dicom+json;q=0, */*", "application/json"),
        ("application/json, */*", "application/json"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/dicom+json"),
        ("APPLICATION/DICOM+JSON; charset=utf-8", "application/dicom+json"),
        ('multipart/related; type="application/dicom", application/dicom+json;q=0.1', "application/dicom+json"),
    ],
)
def test_metadata_is_json(header: str | None, media_type: str) -> None:
    assert negotiate_models(header).media_type == media_type


def test_the_accept_parameter_comes_first_and_the_header_after_it() -> None:
    assert negotiate_models("application/dicom+json", ("application/json",)) == Offer("application/json")
    assert negotiate_models("application/json", ("text/csv", "image/png")) == Offer("application/json")
    with pytest.raises(NotAcceptable):
        negotiate_models(None, ("text/csv",))


def test_a_refusal_lists_what_there_is() -> None:
    with pytest.raises(NotAcceptable) as refusal:
        negotiate_models("text/html")
    assert refusal.value.detail == (
        "Nothing that the request accepts can be made; available here: application/dicom+json, application/json, "
        'multipart/related; type="application/dicom+xml".'
    )
    with pytest.raises(NotAcceptable) as refusal:
        negotiate_retrieve("image/jpeg", one_instance=True)
    assert refusal.value.detail == (
        "Nothing that the request accepts can be made; available here: "
        'multipart/related; type="application/dicom", application/dicom, application/zip.'
    )


@pytest.mark.parametrize("one_instance", [True, False])
@pytest.mark.parametrize(
    ("header", "offer"),
    [
        (None, Offer("application/dicom+json")),
        ("*/*", Offer("application/dicom+json")),
        (OHIF, Offer("application/dicom+json")),
        ("application/json", Offer("application/json")),
        ('multipart/related; type="application/dicom+xml"', XML),
        ("Multipart/Related;type=application/dicom+xml", XML),
        ('multipart/related; type="application/dicom xml"', XML),
        ("multipart/related", XML),
        ('multipart/related; type="application/*"', XML),
        ('multipart/related; type="application/dicom+xml", application/dicom+json', XML),
        ('multipart/related; type="application/dicom+xml";q=0.1, */*', Offer("application/dicom+json")),
        (
            'multipart/related; type="application/dicom+xml";q=0.5, application/dicom+json;q=0.6',
            Offer("application/dicom+json"),
        ),
    ],
)
def test_data_sets_are_sent_as_json_or_as_xml(header: str | None, offer: Offer, one_instance: bool) -> None:
    assert negotiate_models(header, one_instance=one_instance) == offer


def test_the_metadata_of_one_instance_can_be_xml_by_itself() -> None:
    assert negotiate_models("application/dicom+xml", one_instance=True) == Offer("application/dicom+xml")
    with pytest.raises(NotAcceptable, match=r'application/json, multipart/related; type="application/dicom\+xml"\.$'):
        negotiate_models("application/dicom+xml")


@pytest.mark.parametrize("one_instance", [True, False])
def test_instances_can_be_sent_as_zip(one_instance: bool) -> None:
    choice = negotiate_retrieve("application/zip", one_instance=one_instance)
    assert choice == RetrieveChoice(RetrieveMedia.ZIP, (EXPLICIT,), by_default=True)
    choice = negotiate_retrieve("Application/ZIP; transfer-syntax=*", one_instance=one_instance)
    assert choice == RetrieveChoice(RetrieveMedia.ZIP, ("*",))
    choice = negotiate_retrieve(None, (f"application/zip; transfer-syntax={JPEG}",), one_instance=False)
    assert choice == RetrieveChoice(RetrieveMedia.ZIP, (JPEG,))


@pytest.mark.parametrize("header", [None, "*/*", f"{DICOM}, application/zip", "application/zip;q=0.9, */*"])
def test_instances_are_multipart_unless_zip_is_preferred(header: str | None) -> None:
    assert negotiate_retrieve(header, one_instance=False).media is RetrieveMedia.MULTIPART


def test_capabilities_are_json_unless_wadl_is_asked_for() -> None:
    assert negotiate_capabilities(None) == "application/json"
    assert negotiate_capabilities("application/vnd.sun.wadl+xml") == "application/vnd.sun.wadl+xml"


@pytest.mark.parametrize(
    ("header", "transfer_syntaxes"),
    [
        (None, (EXPLICIT,)),
        ("*/*", (EXPLICIT,)),
        ("multipart/*", (EXPLICIT,)),
        ("multipart/related", (EXPLICIT,)),
        (DICOM, (EXPLICIT,)),
        ("multipart/related; type=application/dicom", (EXPLICIT,)),
        ("Multipart/Related; TYPE=Application/DICOM; Transfer-Syntax=*", ("*",)),
        (f"{DICOM}; transfer-syntax={JPEG}", (JPEG,)),
        (f'{DICOM}; transfer-syntax="{JPEG}"', (JPEG,)),
        (f"{DICOM}; transfer-syntax={JPEG};q=0.5, {DICOM}; transfer-syntax={LOSSLESS}", (LOSSLESS, JPEG)),
        (f"{DICOM}; transfer-syntax={JPEG}, {DICOM}; transfer-syntax=*", (JPEG, "*")),
        (f"{DICOM}; transfer-syntax=*, {DICOM}; transfer-syntax={JPEG}", ("*",)),
        (f"{DICOM}; transfer-syntax={JPEG}, */*;q=0.1", (JPEG, EXPLICIT)),
        (f"{DICOM}; transfer-syntax=1.2.840.10008.1.2, {DICOM}; transfer-syntax={JPEG}", (JPEG,)),
        ("multipart/related; type=application/octet-stream, */*", (EXPLICIT,)),
    ],
)
def test_a_retrieve_is_multipart_in_the_syntaxes_preferred(
    header: str | None, transfer_syntaxes: tuple[str, ...]
) -> None:
    choice = negotiate_retrieve(header, one_instance=False)
    assert (choice.media, choice.transfer_syntaxes) == (RetrieveMedia.MULTIPART, transfer_syntaxes)
    assert negotiate_retrieve(header, one_instance=True) == choice


def test_one_instance_can_be_sent_by_itself() -> None:
    single = RetrieveChoice(RetrieveMedia.SINGLE, (LOSSLESS,))
    header = f"application/dicom; transfer-syntax={LOSSLESS}"
    assert negotiate_retrieve(header, one_instance=True) == single
    assert negotiate_retrieve("application/dicom, */*", one_instance=True).media is RetrieveMedia.SINGLE
    assert negotiate_retrieve(f"{DICOM}, application/dicom", one_instance=True).media is RetrieveMedia.MULTIPART
    with pytest.raises(NotAcceptable):
        negotiate_retrieve(header, one_instance=False)


def test_syntaxes_that_cannot_be_sent_by_one_way_are_tried_by_the_next() -> None:
    header = f"{DICOM}; transfer-syntax=1.2.840.10008.1.2, application/dicom;q=0.5"
    choice = RetrieveChoice(RetrieveMedia.SINGLE, (EXPLICIT,), by_default=True)
    assert negotiate_retrieve(header, one_instance=True) == choice


@pytest.mark.parametrize(
    ("header", "by_default"),
    [
        (None, True),
        ("*/*", True),
        (DICOM, True),
        (f"{DICOM}; transfer-syntax=*", False),
        (f"{DICOM}; transfer-syntax={EXPLICIT}", False),
        (f"{DICOM}; transfer-syntax={JPEG}, */*;q=0.1", False),
    ],
)
def test_explicit_vr_little_endian_is_the_default_of_who_names_nothing(header: str | None, by_default: bool) -> None:
    assert negotiate_retrieve(header, one_instance=False).by_default is by_default


def test_accept_parameters_are_found_among_others_in_their_order() -> None:
    query = (("accept", "application/json"), ("limit", "1"), ("accept", "*/*"), ("Accept", "text/html"))
    assert accept_parameters(query) == ["application/json", "*/*"]


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "JPEG", ""])
def test_transfer_syntaxes_that_never_travel_are_not_acceptable(uid: str) -> None:
    with pytest.raises(NotAcceptable, match="Implicit VR Little Endian and Explicit VR Big Endian never"):
        negotiate_retrieve(f"{DICOM}; transfer-syntax={uid}", one_instance=False)


def test_a_type_refused_with_q_0_is_not_sent() -> None:
    with pytest.raises(NotAcceptable):
        negotiate_retrieve(f"{DICOM};q=0, multipart/related", one_instance=False)
    assert negotiate_retrieve(f"{DICOM};q=0, */*", one_instance=False).media is RetrieveMedia.ZIP
    assert negotiate_retrieve(f"{DICOM};q=0, */*", one_instance=True).media is RetrieveMedia.SINGLE


@pytest.mark.parametrize(
    ("offer", "header", "specificity"),
    [
        (Offer("image/jpeg"), "image/jpeg", 5),
        (Offer("image/jpeg"), "image/*", 2),
        (Offer("image/jpeg"), "*/*", 1),
        (Offer("image/jpeg"), "video/*", 0),
        (Offer("image/jpeg"), "multipart/related; type=image/jpeg", 0),
        (Offer("image/jpeg", multipart=True), "multipart/related; type=IMAGE/JPEG", 5),
        (Offer("image/jpeg", multipart=True), 'multipart/related; type="image/*"', 4),
        (Offer("image/jpeg", multipart=True), 'multipart/related; type="image/"', 4),
        (Offer("image/jpeg", multipart=True), 'multipart/related; type="*/*"', 3),
        (Offer("image/jpeg", multipart=True), "multipart/related", 3),
        (Offer("image/jpeg", multipart=True), 'multipart/related; type="video/*"', 0),
        (Offer("image/jpeg", multipart=True), "multipart/*", 2),
        (Offer("image/jpeg", multipart=True), "*/*", 1),
        (Offer("image/jpeg", multipart=True), "image/*", 0),
    ],
)
def test_a_range_names_an_offer_more_or_less_closely(offer: Offer, header: str, specificity: int) -> None:
    assert offer.specificity(parse_accept(header)[0]) == specificity


def test_other_offers_are_laid_against_the_same_list() -> None:
    frames = (Offer("application/octet-stream", multipart=True), Offer("image/jpeg", multipart=True))
    cornerstone = "multipart/related; type=application/octet-stream; transfer-syntax=*"
    (selection,) = select(cornerstone, (), frames)
    assert selection.offer is frames[0]
    assert selection.ranges[0].transfer_syntaxes == ("*",)


# Whatever clients send

TOKENS = st.text("abcdefghijklmnopqrstuvwxyz0123456789.+-", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=";"), max_size=12)
NAMES = TOKENS.filter(lambda name: name not in ("q", "type"))
RANGES = st.tuples(TOKENS, TOKENS, st.lists(st.tuples(NAMES, VALUES), max_size=3), st.integers(0, 1000))
HEADERS = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from([*map(str, RETRIEVE_INSTANCE_OFFERS), "*/*", "image/*", ";q=0", ";q=0.5", ",", '"', ";", " "]),
        max_size=9,
    ).map("".join),
)


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(RANGES, max_size=5))
def test_a_well_formed_list_is_read_as_it_was_meant(ranges: list[tuple[str, str, list[tuple[str, str]], int]]) -> None:
    """RFC 9110 §5.6.4, §12.5.1: values may be quoted, and a weight has at most three digits behind its point."""
    header = ", ".join(
        f"{kind}/{subtype}" + "".join(f"; {name}={quoted(value)}" for name, value in parameters) + f";q={q / 1000:.3f}"
        for kind, subtype, parameters, q in ranges
    )
    assert parse_accept(header) == tuple(
        MediaRange(f"{kind}/{subtype}", tuple(parameters), q / 1000) for kind, subtype, parameters, q in ranges
    )


@given(HEADERS, st.lists(HEADERS, max_size=2), st.booleans())
def test_whatever_is_accepted_is_an_offer_that_a_range_names(header: str, params: list[str], one: bool) -> None:
    for offers in (MODEL_OFFERS, RETRIEVE_INSTANCE_OFFERS):
        selections = []
        with suppress(NotAcceptable):
            selections = select(header, params, offers)
        for offer, ranges in selections:
            assert offer in offers
            assert ranges
            assert all(media_range.q > 0 and offer.specificity(media_range) for media_range in ranges)
    try:
        choice = negotiate_retrieve(header, params, one_instance=one)
    except NotAcceptable:
        return
    assert choice.transfer_syntaxes
    assert one or choice.media is not RetrieveMedia.SINGLE
    assert not {"1.2.840.10008.1.2", "1.2.840.10008.1.2.2"} & set(choice.transfer_syntaxes)
