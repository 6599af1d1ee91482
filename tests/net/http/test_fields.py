import pytest

from harmonygw.net.http.fields import Fields, value_of, with_vary, without

FIELDS: Fields = (("Content-Type", "a/b"), ("ETag", '"1"'), ("etag", '"2"'))


def test_a_field_is_found_whatever_its_case() -> None:
    assert value_of(FIELDS, "etag") == '"1"'
    assert value_of(FIELDS, "vary") == ""


def test_every_field_of_a_name_is_left_out() -> None:
    assert without(FIELDS, ("etag", "vary")) == (("Content-Type", "a/b"),)


@pytest.mark.parametrize(
    ("fields", "vary"),
    [
        ((), "Accept-Encoding"),
        ((("vary", "Origin"),), "Origin, Accept-Encoding"),
        ((("Vary", "Origin"), ("Vary", "Accept")), "Origin, Accept, Accept-Encoding"),
        ((("Vary", "accept-encoding, Origin"),), "accept-encoding, Origin"),
    ],
)
def test_there_is_one_vary_that_names_everything_once(fields: Fields, vary: str) -> None:
    assert with_vary((("A", "b"), *fields), "Accept-Encoding") == (("A", "b"), ("Vary", vary))
