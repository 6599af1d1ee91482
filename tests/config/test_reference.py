"""The reference in the manual says what the classes say."""

import runpy
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from harmonygw.config.binding import keys
from harmonygw.config.options import BACKENDS, ENDPOINTS, MIDDLEWARE, RULES
from harmonygw.config.tables import Tables

ROOT = Path(__file__).parents[2]
SCRIPT: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "generate_configuration.py"))


def test_the_page_is_what_the_script_writes() -> None:
    assert (ROOT / "docs" / "configuration.rst").read_text(encoding="utf-8") == SCRIPT["reference"]()


def described(wanted: Any) -> set[type]:
    found = {wanted} if isinstance(wanted, type) and is_dataclass(wanted) else set()
    inner = [key.wanted for key in keys(wanted)] if found else get_args(wanted)
    return found.union(*(described(one) for one in inner))


CLASSES = described(Tables) | {
    cls
    for family in (ENDPOINTS, BACKENDS, MIDDLEWARE, RULES)
    for one in family.options.values()
    for cls in described(one)
}


@pytest.mark.parametrize("cls", sorted(CLASSES - {Tables}, key=str), ids=lambda cls: str(cls.__name__))
def test_every_key_has_a_text_beneath_it(cls: type) -> None:
    assert {key.name for key in keys(cls)} <= {name for name, text in SCRIPT["_notes"](cls).items() if text.strip()}


@pytest.mark.parametrize(
    "entry",
    [
        (
            "``tcp_config.bind_port`` (whole number, 0 to 65535; default 8080)\n    The TCP port; 0 lets"
            " the system choose one.\n"
        ),
        "``http`` is another name of ``tcp_config``.\n",
        '``local_aet``, ``aet`` (AE title; default "HARMONYGW")\n',
        "``aet_table.<name>.port`` (whole number, 1 to 65535; required)\n",
        "``rules[].allow`` (text; no default)\n",
        "``middleware.left`` (list of text; default none)\n",
        "``user_identity.username`` (text; required)\n",
        '``timezone`` (IANA time zone; default "UTC")\n',
        "dicom_scu\n~~~~~~~~~\n",
    ],
)
def test_an_entry_says_name_kind_default_and_meaning(entry: str) -> None:
    assert entry in SCRIPT["reference"]()
