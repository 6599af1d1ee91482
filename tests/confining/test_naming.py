"""Who is named by which tables: all of them hold, and who is named by none sees nothing."""

import pytest

from harmonygw.config.authorizations import Authorization
from harmonygw.confining.naming import Naming
from harmonygw.errors import Denied
from harmonygw.exchange import AssociationOrigin, HTTPOrigin, Request
from tests.confining.archive import tag

TABLES = {
    "wards": Authorization(("anna", "lab-*"), keys={"Modality": ("US",)}),
    "anna": Authorization(("anna",), keys={"InstitutionName": ("Main",)}),
    "scanner": Authorization((), ("CT1", "MR*"), {"Modality": ("CT", "MR")}),
    "all": Authorization(("root",)),
}
OTHERS = {**TABLES, "others": Authorization(("*",), keys={"PatientID": ("DEMO",)})}
CALLERS = {**TABLES, "callers": Authorization((), ("*",), {"PatientID": ("DEMO",)})}


def asking(principal: str | None, calling: str | None = None) -> Request:
    origin = HTTPOrigin("GET", ()) if calling is None else AssociationOrigin(calling, "GATEWAY")
    return Request(origin, "192.0.2.1", "c1", principal=principal)


@pytest.mark.parametrize(
    ("principal", "calling", "named"),
    [
        ("anna", None, ["wards", "anna"]),
        ("lab-7", None, ["wards"]),
        ("lab-", None, ["wards"]),
        ("root", None, ["all"]),
        (None, "CT1", ["scanner"]),
        (None, "CT1 ", ["scanner"]),
        (None, "MR9", ["scanner"]),
        ("anna", "CT1", ["wards", "anna", "scanner"]),
        ("nobody", "CT1", ["scanner"]),
    ],
)
def test_all_tables_that_name_somebody_hold(principal: str | None, calling: str | None, named: list[str]) -> None:
    for tables in (TABLES, OTHERS, CALLERS):
        found = Naming(tables).restrictions(asking(principal, calling))
        assert [one.reason for one in found] == [f"authorizations.{name}" for name in named]


def test_keys_are_by_tag() -> None:
    (wards, _) = Naming(TABLES).restrictions(asking("anna"))
    assert wards.keys == {tag("Modality"): ("US",)}


@pytest.mark.parametrize(
    ("principal", "calling"),
    [
        (None, None),
        ("", None),
        ("Anna", None),
        ("lab", None),
        ("ann", None),
        (None, "CT"),
        (None, "CT12"),
        ("CT1", None),
    ],
)
def test_who_is_named_by_none_sees_nothing(principal: str | None, calling: str | None) -> None:
    with pytest.raises(Denied):
        Naming(TABLES).restrictions(asking(principal, calling))
    assert [one.reason for one in Naming(OTHERS).restrictions(asking(principal, calling))] == ["authorizations.others"]


def test_everybody_who_calls_is_nobody_who_asks_over_http() -> None:
    assert [one.reason for one in Naming(CALLERS).restrictions(asking(None, "XX"))] == ["authorizations.callers"]
    with pytest.raises(Denied):
        Naming(CALLERS).restrictions(asking("XX"))


def test_without_tables_nobody_is_confined() -> None:
    assert not Naming({})
    assert Naming(TABLES)
