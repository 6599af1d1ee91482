"""Specifications in files: where they lie, what is wrong with them, and how they are applied."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from harmonygw.config.options import TransformOptions
from harmonygw.errors import ConfigurationError, TooMuchWork
from harmonygw.middleware.transform.specifications import INLINE_STEPS, MAX_SPECIFICATION_BYTES, Applied
from tests.middleware.exchanges import context, logged, result_of
from tests.middleware.transform.conftest import Written

SHIFT = ("shift", {"*": "x.&"})
WHERE = r"^middleware\.step\.options\.spec_path: "


def applied(tmp_path: Path, named: str) -> Applied:
    return Applied(context(TransformOptions(named), folder=tmp_path))


def test_it_lies_below_transforms_path_or_else_beside_the_main_file(tmp_path: Path) -> None:
    (tmp_path / "transforms").mkdir()
    for path, word in (("transforms/a.json", "first"), ("a.json", "second"), ("b.json", "third")):
        specification = [{"operation": "shift", "spec": {f"#{word}": "word"}}]
        (tmp_path / path).write_text(json.dumps(specification), encoding="utf-8")
    words = [result_of(applied(tmp_path, name).apply({}, {}, "c"))["word"] for name in ("a.json", "b.json")]
    assert words == ["first", "third"]
    assert result_of(applied(tmp_path, "transforms/a.json").apply({}, {}, "c")) == {"word": "first"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, r"cannot read .*/transforms/a\.json: No such file or directory$"),
        ("[", r".*/a\.json is no JSON: .* line 1 column"),
        ('{"operation": "shift", "spec": 1}', r".*/transforms/a\.json: \[0\]\.spec: a shift has an object$"),
        (" " * (MAX_SPECIFICATION_BYTES + 1), r".*/a\.json has more than 1048576 bytes$"),
    ],
)
def test_what_is_wrong_names_the_file_and_the_place(tmp_path: Path, content: str | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "transforms").mkdir()
        (tmp_path / "transforms" / "a.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=WHERE + problem):
        applied(tmp_path, "a.json")


def test_the_longest_specification_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]".ljust(MAX_SPECIFICATION_BYTES), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"there is no operation in it$"):
        applied(tmp_path, "a.json")


def test_what_is_little_work_is_done_at_once(written: Written) -> None:
    assert result_of(Applied(written(SHIFT)).apply({"a": 1}, {}, "c")) == {"x": {"a": 1}}


@pytest_twisted.inlineCallbacks
def test_what_is_much_work_is_done_in_a_thread(written: Written) -> Any:
    one = Applied(written(SHIFT, proxy={"reactor": reactor}))
    document = {str(number): number for number in range(INLINE_STEPS)}
    applying = [Deferred.fromCoroutine(one.apply(document, {}, "c")) for _ in range(2)]
    assert not any(deferred.called for deferred in applying)
    for deferred in applying:
        assert (yield deferred) == {"x": document}


@pytest_twisted.inlineCallbacks
def test_what_is_too_much_work_comes_to_an_end_in_its_thread(written: Written) -> Any:
    one = Applied(written(("shift", {"*": "x[&]"}), proxy={"reactor": reactor}))
    with pytest.raises(TooMuchWork):
        yield Deferred.fromCoroutine(one.apply({"999999999": 1}, {}, "c"))


def test_debug_logs_what_goes_in_and_out_without_credentials(written: Written) -> None:
    one = Applied(written(SHIFT, debug=True))
    with logged("harmonygw.transform") as events:
        result_of(one.apply({"PatientID": "17", "password": "x"}, {}, "c1"))
    [event] = events
    assert event["document"] == '{"PatientID":"17","password":"<redacted>"}'
    assert event["result"] == '{"x":{"PatientID":"17","password":"<redacted>"}}'
    assert (event["name"], event["correlation_id"]) == ("step", "c1")


def test_without_debug_nothing_is_logged(written: Written) -> None:
    with logged("harmonygw.transform") as events:
        result_of(Applied(written(SHIFT)).apply({"a": 1}, {}, "c1"))
    assert events == []
