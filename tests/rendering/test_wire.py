import pytest

from harmonygw import errors
from harmonygw.rendering import wire


def test_a_message_is_a_signature_a_length_and_json() -> None:
    assert wire.pack({"id": 1}) == b'HGW1\0\0\0\x08{"id":1}'


def test_messages_arrive_in_any_pieces() -> None:
    stream = wire.pack({"id": 1}) + wire.pack({"id": 2, "lengths": [3]})
    for cut in range(len(stream) + 1):
        unpacker = wire.Unpacker()
        messages = unpacker.feed(stream[:cut]) + unpacker.feed(stream[cut:])
        assert messages == [{"id": 1}, {"id": 2, "lengths": [3]}]


@pytest.mark.parametrize(
    "garbage",
    [
        b"warning: ",
        wire.PREFIX.pack(b"HGW2", 2) + b"{}",
        wire.PREFIX.pack(b"HGW1", wire.MAX_MESSAGE + 1),
        wire.PREFIX.pack(b"HGW1", 2) + b"{]",
        wire.PREFIX.pack(b"HGW1", 2) + b"[]",
    ],
)
def test_what_is_no_message_is_refused(garbage: bytes) -> None:
    with pytest.raises(wire.Garbled):
        wire.Unpacker().feed(garbage)


def test_the_longest_message_passes_and_a_longer_one_does_not() -> None:
    text = "x" * (wire.MAX_MESSAGE - len('{"a":""}'))
    assert wire.Unpacker().feed(wire.pack({"a": text})) == [{"a": text}]
    with pytest.raises(wire.Garbled, match="exceeds 4194304"):
        wire.pack({"a": text + "x"})


@pytest.mark.parametrize(
    "error",
    [
        errors.PeerError("It is bad.", log_detail="very"),
        errors.NotAcceptable("It is not possible."),
        errors.BadRequest("It makes no sense."),
        errors.TooLarge("It is too large."),
        errors.RenderingFailed("It is broken."),
    ],
)
def test_an_error_is_the_same_on_the_other_side(error: errors.HarmonyError) -> None:
    other = wire.error_of(wire.describe(error))
    assert type(other) is type(error)
    assert (other.detail, other.log_detail) == (error.detail, error.log_detail)


def test_an_error_that_is_not_known_there_is_a_rendering_that_failed() -> None:
    other = wire.error_of(wire.describe(errors.Conflict("Which one?")))
    assert type(other) is errors.RenderingFailed
    assert other.detail == "Which one?"
    assert type(wire.error_of({"error": "Surprise"})) is errors.RenderingFailed


@pytest.mark.parametrize("module", ["numpy", "imagecodecs", "imagecodecs._jpeg2k"])
def test_a_missing_extra_is_named(module: str) -> None:
    error = wire.error_of(wire.describe(ModuleNotFoundError(f"No module named {module!r}", name=module)))
    assert type(error) is errors.NotAcceptable
    assert error.detail == "This gateway is installed without its pixels extra: pip install harmonygw[pixels]"
    assert module in error.log_detail


def test_another_missing_module_is_a_fault_of_ours() -> None:
    error = wire.error_of(wire.describe(ModuleNotFoundError("No module named 'picture'", name="picture")))
    assert type(error) is errors.RenderingFailed


def test_what_was_not_foreseen_has_its_traceback_in_the_log_alone() -> None:
    try:
        _ = 1 // 0
    except ZeroDivisionError as unforeseen:
        error = wire.error_of(wire.describe(unforeseen))
    assert error.detail == "A frame could not be rendered."
    assert error.log_detail.endswith("ZeroDivisionError: integer division or modulo by zero\n")


def test_a_traceback_is_cut_to_its_end() -> None:
    assert len(wire.describe(ValueError("x" * 5000))["log_detail"]) == 2000


def test_want_of_memory_is_said() -> None:
    error = wire.error_of(wire.describe(MemoryError()))
    assert error.detail == "A frame needs more memory than a worker process may use."
