from harmonygw.middleware.dicomweb_bridge.warning import warning


def test_a_warning_is_a_field_value_whatever_it_says() -> None:
    assert warning("Annotation x is not known.") == '299 harmonygw "Annotation x is not known."'
    assert warning('a "b"\\\r\nc\u00e9\x7f') == "299 harmonygw \"a 'b''''c''\""
