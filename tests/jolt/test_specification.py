"""Specifications: chains, what is wrong with them, what they may cost, and what imaging pipelines do with them."""

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harmonygw.errors import ConfigurationError, TooMuchWork, Untransformable
from harmonygw.jolt import MAX_STEPS, Specification, Work
from harmonygw.jolt.functions import FUNCTIONS
from harmonygw.jolt.specification import OPERATIONS


def test_operations_follow_one_another() -> None:
    specification = Specification(
        [
            {"operation": "shift", "spec": {"name": "patient.name", "id": "patient.id"}},
            {"operation": "default", "spec": {"patient": {"sex": "O"}}},
            {"operation": "modify-overwrite-beta", "spec": {"patient": {"name": "=toUpper"}}},
            {"operation": "remove", "spec": {"patient": {"id": ""}}},
            {"operation": "cardinality", "spec": {"patient": "MANY"}},
            {"operation": "sort"},
        ]
    )
    assert specification.apply({"name": "Doe", "id": 1}) == {"patient": [{"name": "DOE", "sex": "O"}]}


def test_one_operation_needs_no_list() -> None:
    assert Specification({"operation": "shift", "spec": {"a": "b"}}).apply({"a": 1}) == {"b": 1}


@pytest.mark.parametrize(
    ("operations", "problems"),
    [
        ([], ["there is no operation in it"]),
        ([1], ['[0]: an operation is an object with "operation" and "spec"']),
        ({"spec": {}}, ['[0]: an operation is an object with "operation" and "spec"']),
        ([{"operation": "shft"}], ['[0]: there is no operation "shft"; did you mean "shift"?']),
        ([{"operation": "com.example.Mine"}], ['[0]: there is no operation "com.example.Mine"']),
        ([{"operation": "sort", "specs": 1}], ['[0]: "specs" is no key of an operation: "operation" and "spec" are']),
        (
            [{"operation": "shift"}, {"operation": "sort"}, {"operation": "default", "spec": []}],
            ["[0].spec: a shift has an object", "[2].spec: a default has an object"],
        ),
    ],
)
def test_every_operation_that_is_wrong_is_named(operations: Any, problems: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Specification(operations)
    assert list(caught.value.problems) == problems


class TestCost:
    @pytest.mark.parametrize(
        ("operations", "document"),
        [
            pytest.param([{"operation": "shift", "spec": {"*": "a[&]"}}], {"999999999": 1}, id="an index as a key"),
            pytest.param(
                [{"operation": "modify-overwrite-beta", "spec": {"a": {"[999999999]": 1}}}], {}, id="an index"
            ),
            pytest.param([{"operation": "default", "spec": {"a[]": {"999999999": 1}}}], {}, id="a default's index"),
            pytest.param(
                [
                    {
                        "operation": "modify-overwrite-beta",
                        "spec": {f"k{n}": f"=concat(@(1,k{n - 1}),@(1,k{n - 1}))" for n in range(1, 60)},
                    }
                ],
                {"k0": "x"},
                id="a text that doubles",
            ),
            pytest.param(
                [{"operation": "shift", "spec": {"*": ["a.&", "b.&"]}}] * 30, {"x": 1}, id="a tree that doubles"
            ),
            pytest.param(
                [{"operation": "modify-overwrite-beta", "spec": {"a": "=concat(@(1,a),@(1,a))"}}] * 40,
                {"a": ["x", "y"]},
                id="text of text",
            ),
            pytest.param(
                [{"operation": "shift", "spec": {"*": {"*": {"@2": "x[]"}}}}],
                {str(n): list(range(100)) for n in range(100)},
                id="the whole for every part",
            ),
        ],
    )
    def test_what_multiplies_comes_to_an_end(self, operations: Any, document: Any) -> None:
        with pytest.raises(TooMuchWork, match=f"more than {MAX_STEPS} steps"):
            Specification(operations).apply(document)

    def test_one_step_too_few_is_too_few(self) -> None:
        specification = Specification({"operation": "shift", "spec": {"a": "b"}})
        steps = next(n for n in range(100) if _is_enough(specification, n))
        assert steps > 2
        with pytest.raises(TooMuchWork):
            specification.apply({"a": 1}, None, Work(steps - 1))

    def test_a_deep_document_is_refused(self) -> None:
        document: Any = 1
        for _ in range(101):
            document = [document]
        for operation, spec in (("shift", {"a": ""}), ("default", {"a": 1}), ("sort", None)):
            with pytest.raises(Untransformable, match="nested deeper than 100"):
                Specification({"operation": operation, "spec": spec}).apply({"a": document})


def _is_enough(specification: Specification, steps: int) -> bool:
    try:
        specification.apply({"a": 1}, None, Work(steps))
    except TooMuchWork:
        return False
    return True


# Whatever comes

DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "b", "", "0", "1", "x.y", "tag-a"])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "0", "1", "tag-a", "a-b-c", ""]), inner, max_size=4)
    ),
    max_leaves=20,
)
KEYS = st.sampled_from(
    [
        *(
            "a",
            "b",
            "*",
            "tag-*",
            "*-*",
            "*a*b*",
            "a|b",
            "&",
            "&1",
            "@",
            "@a",
            "@(1,a.b)",
            "$",
            "$1",
            "$(0,1)",
            "#x",
            "0",
        ),
        *("[0]", "[2]?", "+a", "~b?", "_*", "a[]", "*[]", "0|1", "\\*", "", "@(", "&(1,1)", "|"),
    ]
) | st.text("ab*&@$#[](),.\\|01", max_size=6)
FUNCTION_CALLS = st.builds(
    lambda name, arguments: f"={name}({','.join(arguments)})",
    st.sampled_from(sorted(FUNCTIONS)),
    st.lists(
        st.sampled_from(
            ["@(1,a)", "@(0)", "@(2,b)", "'x'", "1", "-1", "2.5", "true", "^a.b", "'[.]'", "=size(@(1,a))", ""]
        ),
        max_size=4,
    ),
)
LEAVES = (
    st.sampled_from(
        [
            "",
            "a",
            "a.b",
            "a[]",
            "a[0]",
            "a[&1]",
            "a[#2]",
            "a.&",
            "a-&(1,0)",
            "@(1,a)",
            "a.@(1,b)",
            "ONE",
            "MANY",
            "^a.b",
        ]
    )
    | FUNCTION_CALLS
    | st.text("ab*&@$#[](),.\\=^'01", max_size=8)
    | st.none()
    | st.integers(-2, 2)
)
SPECS = st.recursive(
    LEAVES | st.lists(LEAVES, max_size=3),
    lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=4),
    max_leaves=12,
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), SPECS), min_size=1, max_size=3), DOCUMENTS, DOCUMENTS)
@example([("modify-overwrite-beta", {"a": "=abs"})], {"a": -(2**63)}, None)
def test_nothing_but_its_own_errors_comes_of_any_specification_and_document(
    operations: list[tuple[str, Any]], document: Any, context: Any
) -> None:
    before = orjson.dumps(document)
    try:
        specification = Specification([{"operation": name, "spec": spec} for name, spec in operations])
    except ConfigurationError:
        return
    try:
        result = specification.apply(document, context, Work(20_000))
    except Untransformable:
        result = None
    orjson.loads(orjson.dumps(result))
    assert orjson.dumps(document) == before


# What imaging pipelines do

MATCH = {
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    "00100020": {"vr": "LO", "Value": ["PID1"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^John"}]},
    "00080020": {"vr": "DA", "Value": ["20241015"]},
    "00080050": {"vr": "SH"},
}


def test_flat_json_becomes_a_resource_whose_arrays_are_filled_in() -> None:
    specification = Specification(
        [
            {
                "operation": "shift",
                "spec": {
                    "data": {
                        "PatientID": "data.resource.identifier[0].value",
                        "PatientName": "data.resource.name[0].family",
                        "StudyInstanceUID": "data.resource.extension[0].valueString",
                        "*": "data.resource.&",
                    }
                },
            },
            {
                "operation": "default",
                "spec": {
                    "data": {
                        "resourceType": "Patient",
                        "resource": {
                            "identifier": [{"system": "urn:hospital:patients"}],
                            "name": [{"use": "usual"}],
                            "extension": [{"url": "urn:study"}, {"url": "urn:unused"}],
                        },
                    }
                },
            },
        ]
    )
    body = {"PatientID": "17", "PatientName": "Doe", "StudyInstanceUID": "1.2", "Modality": "CT"}
    assert specification.apply({"data": body, "context": {"request_details": {}}}) == {
        "data": {
            "resourceType": "Patient",
            "resource": {
                "identifier": [{"value": "17", "system": "urn:hospital:patients"}],
                "name": [{"family": "Doe", "use": "usual"}],
                "extension": [{"valueString": "1.2", "url": "urn:study"}],
                "Modality": "CT",
            },
        }
    }


def test_metadata_of_the_request_becomes_an_identifier() -> None:
    tags = {"PatientID": "00100020", "StudyInstanceUID": "0020000D", "Modality": "00080060"}
    specification = Specification(
        [
            {
                "operation": "shift",
                "spec": {
                    "context": {
                        "target_details": {
                            "metadata": {name: f"data.dimse_identifier.{tag}.Value[0]" for name, tag in tags.items()}
                        }
                    }
                },
            },
            {
                "operation": "default",
                "spec": {
                    "context": {"target_details": {"metadata": {"dimse_op": "find"}}},
                    "data": {
                        "dimse_identifier": {
                            "00100020": {"vr": "LO", "Value": []},
                            "0020000D": {"vr": "UI", "Value": []},
                        }
                    },
                },
            },
        ]
    )
    scene = {"data": None, "context": {"target_details": {"metadata": {"PatientID": "17"}}}}
    result = specification.apply(scene)
    assert result["data"]["dimse_identifier"] == {
        "00100020": {"Value": ["17"], "vr": "LO"},
        "0020000D": {"vr": "UI", "Value": []},
    }
    assert result["context"]["target_details"]["metadata"] == {"dimse_op": "find"}


def test_matches_become_a_bundle_without_what_was_only_needed_on_the_way() -> None:
    at = "data.entry[&(3)].resource"
    date = ",'-',".join(f"=substring(@(1,started),{begin},{end})" for begin, end in ((0, 4), (4, 6), (6, 8)))
    specification = Specification(
        [
            {
                "operation": "shift",
                "spec": {
                    "data": {
                        "matches": {
                            "*": {
                                "0020000D": {"Value": {"0": f"{at}.id"}},
                                "00100020": {"Value": {"0": f"{at}._patient"}},
                                "00100010": {
                                    "Value": {"0": {"Alphabetic": "data.entry[&(4)].resource.subject.display"}}
                                },
                                "00080020": {"Value": {"0": f"{at}.started"}},
                                "00080050": {"Value": {"0": f"{at}.accession"}},
                                "#ImagingStudy": "data.entry[&(1)].resource.resourceType",
                            }
                        }
                    }
                },
            },
            {
                "operation": "default",
                "spec": {"data": {"resourceType": "Bundle", "entry": [{"resource": {"status": "available"}}]}},
            },
            {
                "operation": "modify-overwrite-beta",
                "spec": {
                    "data": {
                        "entry": {
                            "*": {
                                "resource": {
                                    "url": "=concat('urn:oid:',@(1,id))",
                                    "started": f"=concat({date})",
                                }
                            }
                        }
                    }
                },
            },
            {"operation": "remove", "spec": {"data": {"entry": {"*": {"resource": {"_*": ""}}}}}},
        ]
    )
    assert specification.apply({"data": {"matches": [MATCH]}})["data"] == {
        "resourceType": "Bundle",
        "entry": [
            {
                "resource": {
                    "resourceType": "ImagingStudy",
                    "id": "1.2.3",
                    "subject": {"display": "Doe^John"},
                    "started": "2024-10-15",
                    "status": "available",
                    "url": "urn:oid:1.2.3",
                }
            }
        ],
    }


def test_a_match_is_enriched_by_a_value_of_its_own() -> None:
    specification = Specification(
        {
            "operation": "modify-overwrite-beta",
            "spec": {"data": {"matches": {"*": {"\\_url": "=concat('/studies/',@(1,0020000D.Value.0))"}}}},
        }
    )
    [match] = specification.apply({"data": {"matches": [MATCH]}})["data"]["matches"]
    assert match == {**MATCH, "_url": "/studies/1.2.3"}
