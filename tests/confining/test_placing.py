"""Where a confinement stands: nothing is answered in front of it that was made for somebody else."""

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from harmonygw.config.authorizations import Authorization
from harmonygw.confining import Placing
from harmonygw.errors import ConfigurationError, Denied
from harmonygw.exchange import HTTPOrigin, Reply, Request, Restriction
from harmonygw.operations import Echo, Find, Level, Operation
from harmonygw.pipeline import Proceed, chain
from tests.confining.archive import result_of

TABLES = {"anna": Authorization(("anna",), keys={"PatientID": ("B",)})}


class Step:
    """Says that it was passed; or answers by itself."""

    def __init__(self, diary: list[str], name: str, *, answers: bool = False) -> None:
        self.diary, self.name, self.answers = diary, name, answers

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        self.diary.append(self.name)
        return Reply(299) if self.answers else await proceed(request)


class Pipeline:
    def __init__(self) -> None:
        self.diary: list[str] = []
        self.steps = {name: Step(self.diary, name) for name in ("auth", "bridge", "cache", "log", "dicom_to_dicomweb")}

    async def respond(self, request: Request) -> Reply:
        self.diary.append("backend")
        return Reply(204)

    def named(self, *names: str) -> Any:
        return [self.steps[name] for name in names]

    def passed(self, proceed: Proceed, operation: Operation | None = None, principal: str = "nobody") -> list[str]:
        """What a request has passed until it was refused."""
        self.diary.clear()
        request = Request(HTTPOrigin("GET", ()), "", "", operation=operation, principal=principal)

        async def ask() -> Reply:
            return await proceed(request)

        with pytest.raises(Denied):
            result_of(ask())
        return list(self.diary)


@pytest.mark.parametrize(
    ("names", "passed"),
    [
        ((), []),
        (("auth", "bridge", "log"), ["auth", "bridge", "log"]),
        (("auth", "cache", "log"), ["auth"]),
        (("auth", "log", "dicom_to_dicomweb"), ["auth", "log"]),
        (("cache", "dicom_to_dicomweb"), []),
    ],
)
def test_it_stands_in_front_of_what_keeps_answers_or_at_the_end(names: tuple[str, ...], passed: list[str]) -> None:
    one = Pipeline()
    proceed = Placing(TABLES, Clock()).list(one.named(*names), names, chain((), one.respond))
    assert one.passed(proceed) == passed


def test_what_makes_operations_at_the_end_stands_in_front_of_it() -> None:
    one = Pipeline()
    implicit: Any = Step(one.diary, "dimse_over_http")
    placing = Placing(TABLES, Clock(), [implicit])
    end = chain((), one.respond)
    assert one.passed(placing.list(one.named("auth"), ["auth"], end)) == ["auth", "dimse_over_http"]
    proceed = placing.list(one.named("auth", "cache", "log"), ["auth", "cache", "log"], end)
    assert one.passed(proceed) == ["auth", "cache", "log", "dimse_over_http"], "no cache answers what is no operation"
    assert one.passed(proceed, Find(Level.STUDY)) == ["auth"]
    assert result_of(asked(proceed, Echo())).status == 204
    assert one.diary[-2:] == ["dimse_over_http", "backend"]


async def asked(proceed: Proceed, operation: Operation | None) -> Reply:
    return await proceed(Request(HTTPOrigin("GET", ()), "", "", operation=operation))


def sides(one: Pipeline, left: tuple[str, ...], right: tuple[str, ...], implicit: Any = ()) -> Proceed:
    kinds = {step: name for name, step in one.steps.items()}
    end = chain((), one.respond)
    return Placing(TABLES, Clock(), implicit).sides(one.named(*left), one.named(*right), kinds, end)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("left", "right", "passed"),
    [
        ((), (), []),
        (("auth",), ("log",), ["log", "auth"]),
        (("auth", "cache"), ("cache",), ["auth"]),
        (("auth", "log", "cache"), ("cache", "log"), ["auth", "log"]),
        (("auth", "cache", "log"), ("log", "cache", "bridge"), ["bridge", "auth"]),
        (("auth", "cache", "dicom_to_dicomweb"), ("dicom_to_dicomweb", "cache"), ["auth"]),
    ],
)
def test_on_two_sides_it_stands_in_front_on_both(
    left: tuple[str, ...], right: tuple[str, ...], passed: list[str]
) -> None:
    one = Pipeline()
    assert sorted(one.passed(sides(one, left, right))) == sorted(passed)
    implicit: Any = [Step(one.diary, "dimse_over_http")]
    behind = one.passed(sides(one, left, right, implicit))
    assert behind[-1] == "dimse_over_http"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("cache",), ()),
        ((), ("cache",)),
        (("cache",), ("log",)),
        (("log", "cache"), ("log", "cache")),
        (("cache", "log"), ("cache", "log")),
        (("dicom_to_dicomweb", "auth"), ("auth",)),
    ],
)
def test_where_there_is_no_such_place_the_configuration_is_refused(
    left: tuple[str, ...], right: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError, match="middleware: a cache or dicom_to_dicomweb "):
        sides(Pipeline(), left, right)


def test_a_cache_that_has_an_answer_is_not_asked_for_who_may_not_have_it() -> None:
    one = Pipeline()
    one.steps["cache"].answers = True
    for proceed in (
        Placing(TABLES, Clock()).list(one.named("auth", "cache"), ["auth", "cache"], chain((), one.respond)),
        sides(one, ("auth", "cache"), ("cache",)),
    ):
        assert one.passed(proceed) == ["auth"]
        assert result_of(asked(proceed, Echo())).status == 299


def test_nobody_is_confined_without_tables() -> None:
    one = Pipeline()
    proceed = Placing({}, Clock()).list(one.named("cache"), ["cache"], chain((), one.respond))
    assert result_of(asked(proceed, None)).status == 204
    assert isinstance(proceed(Request(HTTPOrigin("GET", ()), "", "")), Deferred)


def test_what_is_confined_behind_what_keeps_answers_is_held_to_it() -> None:
    """By a middleware of a third party's that stands there: what arrives at the end is bound to nothing."""
    one = Pipeline()

    class Confining(Step):
        async def intercept(self, request: Request, proceed: Proceed) -> Reply:
            return await proceed(replace(request, restrictions=(Restriction({"00100020": ("B",)}, "late"),)))

    late: Any = Confining(one.diary, "late")
    steps = [*one.named("cache"), late]
    proceed = Placing({}, Clock()).list(steps, ["cache", "late"], chain((), one.respond))
    assert one.passed(proceed) == ["cache"]


def test_who_has_passed_the_first_is_not_held_to_the_tables_again() -> None:
    """What a cache asks for, to fill itself, is asked as it asks."""
    one = Pipeline()

    class Asking(Step):
        async def intercept(self, request: Request, proceed: Proceed) -> Reply:
            return await proceed(replace(request, operation=None, principal=None))

    asking: Any = Asking(one.diary, "cache")
    proceed = Placing({"all": Authorization(("anna",))}, Clock()).list([asking], ["cache"], chain((), one.respond))
    request = Request(HTTPOrigin("GET", ()), "", "", operation=Find(Level.STUDY), principal="anna")

    async def ask() -> Reply:
        return await proceed(request)

    assert result_of(ask()).status == 204


@pytest.mark.parametrize(
    ("names", "passed"),
    [
        (("auth", "bridge"), ["auth", "bridge", "watch"]),
        (("auth", "cache", "log"), ["auth", "watch"]),
    ],
)
def test_what_watches_stands_in_front_of_it(names: tuple[str, ...], passed: list[str]) -> None:
    """It sees the operations of whoever is refused too, and of what is asked what goes out in the end."""
    one = Pipeline()
    watch: Any = Step(one.diary, "watch")
    placing, end = Placing(TABLES, Clock(), (), [watch]), chain((), one.respond)
    assert one.passed(placing.list(one.named(*names), names, end)) == passed
    kinds = {one.steps[name]: name for name in names}
    steps = one.named(*names)
    assert one.passed(placing.sides(steps, steps[::-1], kinds, end)) == passed


def test_what_watches_sees_the_operations_that_are_made_at_the_end() -> None:
    one = Pipeline()
    implicit: Any = Step(one.diary, "dimse_over_http")
    watch: Any = Step(one.diary, "watch")
    placing, end = Placing(TABLES, Clock(), [implicit], [watch]), chain((), one.respond)
    proceed = placing.list(one.named("auth", "cache"), ["auth", "cache"], end)
    assert one.passed(proceed) == ["auth", "cache", "dimse_over_http", "watch"]
