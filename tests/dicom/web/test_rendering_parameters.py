from urllib.parse import parse_qsl

import pytest

from harmonygw.dicom.web.rendering_parameters import (
    MAX_NUMBER_LENGTH,
    MAX_SHOWN,
    MAX_VIEWPORT,
    Annotation,
    ICCProfile,
    Region,
    RenderingParameters,
    Source,
    URIParameters,
    Viewport,
    Window,
    WindowFunction,
    parse_rendering,
    parse_thumbnail,
    parse_uri,
)
from harmonygw.dicom.web.resources import MAX_FRAME_DIGITS
from harmonygw.errors import BadRequest


def query(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True)


def rendering(text: str) -> RenderingParameters:
    return parse_rendering(query(text))


def uri(text: str) -> URIParameters:
    return parse_uri(query(text))


# The parameters of the rendered resources


def test_without_parameters_nothing_is_asked_for() -> None:
    assert rendering("") == RenderingParameters()
    assert rendering("accept=image/png&charset=utf-8&Viewport=1,1&zoom=2") == RenderingParameters()
    assert parse_thumbnail([]) is None


def test_all_parameters_are_read() -> None:
    text = "viewport=512,256&window=40,400,linear&quality=90&annotation=patient,technique&iccprofile=srgb"
    assert rendering(text) == RenderingParameters(
        Viewport(512, 256),
        Window(40, 400, WindowFunction.LINEAR),
        90,
        frozenset({Annotation.PATIENT, Annotation.TECHNIQUE}),
        icc_profile=ICCProfile.SRGB,
    )
    assert rendering(f"{text}&{text}") == rendering(text)


@pytest.mark.parametrize(
    ("text", "viewport", "region"),
    [
        ("512,512", Viewport(512, 512), None),
        (" 512 , 256 ", Viewport(512, 256), None),
        (f"1,{MAX_VIEWPORT}", Viewport(1, MAX_VIEWPORT), None),
        ("512,512,,,512,512", Viewport(512, 512), Region(0, 0, 512, 512)),
        ("512,512,10,20.5", Viewport(512, 512), Region(10, 20.5)),
        ("512,512,,20", Viewport(512, 512), Region(0, 20)),
        ("512,512,10,20,30", Viewport(512, 512), Region(10, 20, 30)),
        ("512,512,10,20,-30,-4e1", Viewport(512, 512), Region(10, 20, -30, -40)),
        ("512,512,-10,-.5,+30,40.", Viewport(512, 512), Region(10, 0.5, 30, 40)),
        ("512,512,,,,", Viewport(512, 512), Region(0, 0)),
    ],
)
def test_a_viewport_has_a_size_and_may_have_a_region(text: str, viewport: Viewport, region: Region | None) -> None:
    parameters = parse_rendering([("viewport", text)])
    assert (parameters.viewport, parameters.region) == (viewport, region)


@pytest.mark.parametrize(
    "text",
    [
        *("512", "512,", ",512", "512,512,1,2,3,4,5", "0,512", "512,0", "-1,5", "1.5,5", "a,b", "5x5", "٥,٥"),
        *("512,512,x", "512,512,1,2,0,4", "512,512,1,2,3,0.0", "512,512,nan", "512,512,1e999", "512,512,inf"),
        *(f"{MAX_VIEWPORT + 1},1", f"1,{MAX_VIEWPORT + 1}", f"{'9' * 20},1", f"1,1,{'1' * (MAX_NUMBER_LENGTH + 1)}"),
    ],
)
def test_a_viewport_that_is_none_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(BadRequest, match=f"^viewport is '.*it has to be .*(1 to {MAX_VIEWPORT}|without 0)"):
        parse_rendering([("viewport", text)])


def test_a_refusal_shows_what_came_and_what_is_right() -> None:
    with pytest.raises(BadRequest) as refusal:
        rendering("window=40")
    assert refusal.value.detail == (
        "window is '40'; it has to be centre,width,function: two numbers and one of linear, linear-exact, sigmoid."
    )
    for length, shown in ((MAX_SHOWN, "x" * MAX_SHOWN), (MAX_SHOWN + 1, "x" * MAX_SHOWN + "…")):
        with pytest.raises(BadRequest) as refusal:
            parse_rendering([("quality", "x" * length)])
        assert refusal.value.detail == f"quality is '{shown}'; it has to be a whole number from 1 to 100."
    with pytest.raises(BadRequest, match=r"quality is '\\x1b\[31m'"):
        parse_rendering([("quality", "\x1b[31m")])


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("40,400,linear", Window(40, 400)),
        ("-600.5,1,linear", Window(-600.5, 1)),
        ("0,0.1,linear-exact", Window(0, 0.1, WindowFunction.LINEAR_EXACT)),
        ("1e3,5E-3,SIGMOID", Window(1000, 0.005, WindowFunction.SIGMOID)),
        (" 40 , 400 , LINEAR_EXACT ", Window(40, 400, WindowFunction.LINEAR_EXACT)),
        (f"{'1' * MAX_NUMBER_LENGTH},1,linear", Window(float("1" * MAX_NUMBER_LENGTH), 1)),
    ],
)
def test_a_window_has_a_centre_a_width_and_a_function(text: str, window: Window) -> None:
    assert parse_rendering([("window", text)]).window == window


@pytest.mark.parametrize(
    "text",
    [
        *("40,400", "40", "40,400,", "40,400,log", "40,400,linear,x", ",400,linear", "40,,linear", "x,400,linear"),
        *("40,0,linear", "40,0.99,linear", "40,-1,linear", "40,0,sigmoid", "40,-0.1,linear-exact", "nan,1,linear"),
        *("40,inf,sigmoid", "0x10,1,linear", "1_0,1,linear", f"{'1' * (MAX_NUMBER_LENGTH + 1)},1,linear"),
    ],
)
def test_a_window_that_is_none_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^window is "):
        parse_rendering([("window", text)])


@pytest.mark.parametrize(("text", "quality"), [("1", 1), ("100", 100), ("075", 75)])
def test_quality_is_from_1_to_100(text: str, quality: int) -> None:
    assert rendering(f"quality={text}").quality == quality


@pytest.mark.parametrize("text", ["0", "101", "-1", "50.5", "x", "9" * 40, "٥"])
def test_another_quality_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(BadRequest, match=f"^quality is '{text}'; it has to be a whole number from 1 to 100"):
        parse_rendering([("quality", text)])


@pytest.mark.parametrize(
    ("text", "known", "unknown"),
    [
        ("patient", {Annotation.PATIENT}, ()),
        ("technique, Patient", {Annotation.PATIENT, Annotation.TECHNIQUE}, ()),
        ("patient,ruler,ruler,Compass", {Annotation.PATIENT}, ("ruler", "Compass")),
        ("ruler", set(), ("ruler",)),
    ],
)
def test_annotations_that_are_not_known_are_told_apart(
    text: str, known: set[Annotation], unknown: tuple[str, ...]
) -> None:
    parameters = parse_rendering([("annotation", text)])
    assert (parameters.annotation, parameters.unknown_annotations) == (frozenset(known), unknown)


@pytest.mark.parametrize("text", ["patient,", ",", "patient technique", 'x"', "a" * 33, "ü"])
def test_what_is_no_list_of_keywords_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^annotation is .*a list of keywords, of patient, technique\.$"):
        parse_rendering([("annotation", text)])


@pytest.mark.parametrize("profile", list(ICCProfile))
def test_colour_profiles_go_by_their_keywords(profile: ICCProfile) -> None:
    assert rendering(f"iccprofile={profile}").icc_profile is profile
    assert rendering(f"iccprofile={profile.upper()}").icc_profile is profile


def test_another_colour_profile_is_refused_by_its_name() -> None:
    with pytest.raises(
        BadRequest, match=r"^iccprofile is 'cmyk'; it has to be one of no, yes, srgb, adobergb, rommrgb"
    ):
        rendering("iccprofile=cmyk")


@pytest.mark.parametrize("name", ["viewport", "window", "quality", "annotation", "iccprofile"])
def test_a_parameter_has_one_value(name: str) -> None:
    with pytest.raises(BadRequest, match=f"^{name} has no value"):
        rendering(f"{name}=")
    with pytest.raises(BadRequest, match=f"^{name} is given twice, with different values"):
        rendering(f"{name}=1&{name}=2")


def test_a_thumbnail_has_a_size_and_no_region() -> None:
    assert parse_thumbnail(query("viewport=100,80&window=1&accept=image/png")) == Viewport(100, 80)
    for text in ("viewport=100", "viewport=100,80,0,0", "viewport="):
        with pytest.raises(BadRequest, match=r"^viewport"):
            parse_thumbnail(query(text))


# The part of an image


@pytest.mark.parametrize(
    ("region", "source"),
    [
        (None, Source(0, 0, 100, 50)),
        (Region(0, 0), Source(0, 0, 100, 50)),
        (Region(10, 20), Source(10, 20, 90, 30)),
        (Region(10, 20, 30, 10), Source(10, 20, 30, 10)),
        (Region(10, 20, -30, 10), Source(10, 20, 30, 10, mirrored=True)),
        (Region(10, 20, 30, -10), Source(10, 20, 30, 10, upside_down=True)),
        (Region(90, 45, 1e300, -1e300), Source(90, 45, 10, 5, upside_down=True)),
        (Region(0.4, 0.6, 1, 1), Source(0, 1, 1, 1)),
        (Region(10, 10, 0.001, 0.001), Source(10, 10, 1, 1)),
        (Region(99.9, 49.9), Source(99, 49, 1, 1)),
        (Region(0.25, 0.5, 0.5, 0.5, fractions=True), Source(25, 25, 50, 25)),
        (Region(0, 0, 1, 1, fractions=True), Source(0, 0, 100, 50)),
        (Region(0.999, 0.999, 0.001, 0.001, fractions=True), Source(99, 49, 1, 1)),
        (Region(0.1, 0.1, 0.3 - 0.1, 0.3 - 0.1, fractions=True), Source(10, 5, 20, 10)),
    ],
)
def test_a_region_becomes_whole_pixels_of_the_image(region: Region | None, source: Source) -> None:
    assert RenderingParameters(region=region).source(100, 50) == source


@pytest.mark.parametrize("region", [Region(100, 0), Region(0, 50, 1, 1), Region(1e300, 0)])
def test_a_region_outside_of_the_image_is_refused(region: Region) -> None:
    with pytest.raises(BadRequest, match=r"^The region begins .* of an image that has (100|50)\.$"):
        RenderingParameters(region=region).source(100, 50)


# The parameters of the URI service


def test_the_uri_service_has_names_of_its_own() -> None:
    text = (
        "requestType=WADO&studyUID=1&seriesUID=2&objectUID=3&contentType=image%2Fpng,image/jpeg&contentType=*/*"
        "&frameNumber=3&rows=256&columns=512&region=0.25,0.5,0.75,1&windowCenter=40&windowWidth=400&imageQuality=80"
        "&annotation=patient,ruler&charset=UTF-8"
    )
    assert uri(text) == URIParameters(
        content_types=("image/png,image/jpeg", "*/*"),
        frame=3,
        rendering=RenderingParameters(
            Viewport(columns=512, rows=256),
            Window(40, 400),
            80,
            frozenset({Annotation.PATIENT}),
            ("ruler",),
            region=Region(0.25, 0.5, 0.5, 0.5, fractions=True),
        ),
        ignored=("charset",),
    )
    assert uri("requestType=WADO") == URIParameters()


def test_names_of_the_uri_service_are_read_in_any_letter_case() -> None:
    assert uri("CONTENTTYPE=image/png&framenumber=2&WindowCenter=1&WINDOWWIDTH=2") == URIParameters(
        ("image/png",), frame=2, rendering=RenderingParameters(window=Window(1, 2))
    )


def test_the_transfer_syntax_of_an_object_is_a_uid_that_may_travel() -> None:
    text = "contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.4.70"
    assert uri(text).transfer_syntax == "1.2.840.10008.1.2.4.70"
    assert uri("transferSyntax=*").transfer_syntax == "*"
    for wrong in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "JPEG", "1" * 65):
        with pytest.raises(BadRequest, match=f"^transferSyntax is '{wrong[:64]}"):
            uri(f"transferSyntax={wrong}")


def test_objects_are_not_made_anonymous_and_not_sent_as_if_they_were() -> None:
    for text in ("anonymize=yes", "Anonymize=no"):
        with pytest.raises(BadRequest, match=r"^anonymize is '.*'; it has to be left out"):
            uri(text)


def test_one_side_of_a_picture_is_enough() -> None:
    assert uri("rows=100").rendering.viewport == Viewport(None, 100)
    assert uri(f"columns={MAX_VIEWPORT}").rendering.viewport == Viewport(MAX_VIEWPORT, None)


def test_what_has_no_effect_is_named() -> None:
    assert uri("presentationUID=1.2&presentationSeriesUID=1.3&charset=x").ignored == (
        *("charset", "presentationSeriesUID", "presentationUID"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows=0", "rows is '0'; it has to be a whole number from 1 to 8192."),
        (f"columns={MAX_VIEWPORT + 1}", "columns is '8193'; it has to be a whole number from 1 to 8192."),
        ("windowCenter=40", "windowCenter and windowWidth have to be given both, or neither of them."),
        ("windowWidth=40", "windowCenter and windowWidth have to be given both, or neither of them."),
        ("windowCenter=a&windowWidth=40", "windowCenter is 'a'; it has to be a number."),
        ("windowCenter=1&windowWidth=b", "windowWidth is 'b'; it has to be a number."),
        (
            "windowCenter=1&windowWidth=0.5",
            "windowWidth is '0.5'; it has to be a width of at least 1, or with linear-exact and sigmoid more than 0.",
        ),
        ("imageQuality=0", "imageQuality is '0'; it has to be a whole number from 1 to 100."),
        ("frameNumber=0", "frameNumber is '0'; it has to be a whole number from 1."),
        ("frameNumber=1,2", "frameNumber is '1,2'; it has to be a whole number from 1."),
        (
            "frameNumber=" + "1" * (MAX_FRAME_DIGITS + 1),
            "frameNumber is '11111111111'; it has to be a whole number from 1.",
        ),
        ("frameNumber=", "frameNumber has no value."),
        ("frameNumber=1&framenumber=2", "frameNumber is given twice, with different values."),
    ],
)
def test_malformed_parameters_of_the_uri_service_are_refused_by_their_names(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        uri(text)
    assert refusal.value.detail == message


@pytest.mark.parametrize(
    "text", ["0,0,1", "0,0,1,1,1", "0,0,1,1.1", "-0.1,0,1,1", "0.5,0,0.5,1", "0,0.6,1,0.5", "a,0,1,1", "0,0,1,"]
)
def test_a_region_is_within_the_image_and_has_a_size(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^region is .* left,top,right,bottom"):
        uri(f"region={text}")
