from harmonygw.dicom.dataset.limits import (
    DEFAULT_LIMITS,
    MAX_INFLATED_BYTES,
    MAX_INFLATION_RATIO,
    MAX_NESTING_DEPTH,
    Limits,
)


def test_the_default_limits_are_the_constants() -> None:
    assert Limits(MAX_NESTING_DEPTH, MAX_INFLATED_BYTES, MAX_INFLATION_RATIO) == DEFAULT_LIMITS
    assert (MAX_NESTING_DEPTH, MAX_INFLATED_BYTES, MAX_INFLATION_RATIO) == (64, 4 * 1024**3, 500)
