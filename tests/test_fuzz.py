"""The fuzz targets hold for what they begin with, and the command says what it cannot do."""

import zlib
from collections import deque
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from fuzz import __main__ as command
from fuzz import data_set, upper_layer, web
from tests.dicom.upperlayer.scripts import AC_PDU, P_DATA, UNKNOWN_PDU

LONG_VALUE = pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 6000) + bytes(6000)

FOUND_ONCE = [
    # Of a deflated stream that takes more than one step, what follows its end.
    (data_set, b"\3\x28" + zlib.compress(LONG_VALUE, wbits=-zlib.MAX_WBITS) + b"\1\2\3"),
    # An unexpected PDU behind a P-DATA-TF in one read.
    (upper_layer, b"\4\x07" + P_DATA + AC_PDU + UNKNOWN_PDU),
]


@pytest.mark.parametrize("target", [upper_layer, data_set, web], ids=lambda target: str(target.NAME))
def test_what_a_target_begins_with_holds(target: Any) -> None:
    seeds = list(target.seeds())
    assert len(seeds) >= 15
    assert max(map(len, seeds)) <= target.LONGEST_INPUT
    for seed in seeds:
        target.one_input(seed)


@pytest.mark.parametrize(("target", "data"), FOUND_ONCE)
def test_what_was_found_once_is_not_found_again(target: Any, data: bytes) -> None:
    target.one_input(data)


def test_a_target_finds_what_is_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that cannot fail would find nothing."""
    monkeypatch.setattr(upper_layer, "_NOW", None)
    seeds = list(upper_layer.seeds())
    with pytest.raises(TypeError):
        deque(map(upper_layer.one_input, seeds))


def test_a_file_can_be_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "found"
    file.write_bytes(next(upper_layer.seeds()))
    assert command.main(["upper_layer", str(file)]) == 0


def test_what_is_no_target_and_no_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["nonsense"])
    assert "nonsense: no target, and no file" in capsys.readouterr().err
