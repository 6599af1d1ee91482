"""The audit trail of the gateways of this process, held against the log: every exchange is told of, as it ended.

A trail tells of an exchange in the turn in which its line is written. So what follows a line is of that exchange,
whichever gateway of the process tells it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

from harmonygw.audit.flood import MAX_MESSAGES
from harmonygw.audit.kinds import ACCESSES, QUERIES, STORES, TRANSFERS
from tests.audit.parts import Kept
from tests.dicom.audit.schema import event_of, objects_of, users_of, validated

NAMES = {
    "110100": "Application",
    "110102": "Begin",
    "110103": "Accessed",
    "110104": "Transferred",
    "110112": "Query",
    "110113": "Alert",
    "110114": "Login",
}
"""EventID to what the tests call it."""

TOLD_AT_THE_END = frozenset({"Accessed", "Transferred", "Query"})
AS_ASKED = frozenset({"complete", "not_modified"})
"""Outcomes of exchanges whose client got an answer that is neither an error nor cut short."""
SUCCESS = "0"


def event(root: Any) -> str:
    """Return what happened: `Transferred`, `Alert denied`."""
    name = NAMES[event_of(root)[0]]
    kind = root.findtext("EventIdentification/EventOutcomeDescription", "").partition(" ")[0]
    return f"{name} {kind}" if name == "Alert" else name


def word(root: Any) -> str:
    """Return what happened and its outcome: `Begin 0`, `Transferred 8`, `Alert denied 4`."""
    return f"{event(root)} {event_of(root)[2]}"


def instances_of(root: Any) -> int:
    """Return how many instances a message tells of."""
    return sum(int(one.get("NumberOfInstances", "0")) for one in root.iterfind(".//SOPClass"))


class Recorded(Kept):
    """Keeps what one gateway tells, and in `told` what all gateways tell of each exchange."""

    watching: "list[Recorded]" = []  # noqa: RUF012 - what all of them have in common is the point

    def __init__(self, identifiers: Callable[[], Iterable[str]] = tuple) -> None:
        super().__init__()
        self._identifiers = identifiers
        self._seen = 0
        self._known: set[str] = set()
        """What has identified a patient while something was told."""
        self.told: list[tuple[dict[str, Any], list[Any]]] = []
        """The exchanges in the order of their ends, and the messages that follow each."""

    def put(self, message: bytes) -> None:
        """Keep a message."""
        super().put(message)
        self._known.update(self._identifiers())
        for one in self.watching:
            if one.told:
                one.told[-1][1].append(validated(message))

    def exchange_ended(self, exchange: dict[str, Any]) -> None:
        """Note that the line of an exchange has been written."""
        self.told.append((exchange, []))

    @property
    def latest(self) -> list[Any]:
        """What has been told since the last time, without the gateway's own start and stop."""
        return [one for one in self.messages[self._seen :] if event(one) != "Application"]

    @property
    def words(self) -> list[str]:
        """The same in words."""
        return [word(one) for one in self.latest]

    def take(self) -> list[Any]:
        """Return what has been told since the last time; all of it is checked at the end."""
        taken, self._seen = self.latest, len(self.written)
        return taken

    def check(self, alerts: Collection[str]) -> None:
        """Assert what holds of every trail that has ended, with these alerts in the log."""
        messages = self.messages
        if messages:
            assert word(messages[0]) == word(messages[-1]) == "Application 0", self.words
        _begins_and_ends_pair(messages)
        told = Counter(event(one) for one in messages)
        for kind, number in Counter(alerts).items():
            assert told[f"Alert {kind}"] >= min(number, MAX_MESSAGES), (kind, told)
        for exchange, following in self.told:
            _is_told_as_it_ended(exchange, [one for one in following if event(one) in TOLD_AT_THE_END])
        for one in messages if self._known else ():
            if event(one) in ("Begin", "Transferred") and instances_of(one):
                assert set(objects_of(one, "2")) <= {*self._known, "<none>"}, word(one)


def _begins_and_ends_pair(messages: list[Any]) -> None:
    """Each study that began to flow has ended, between the same participants; and nothing ends that has not begun."""
    begun: Counter[Any] = Counter()
    for one in messages:
        keys = [(*users_of(one), study, *objects_of(one, "2")) for study in objects_of(one, "110180")]
        if event(one) == "Begin":
            begun.update(keys)
        elif event(one) == "Transferred":
            for key in keys:
                assert key in begun, (key, begun)
                begun[key] = 0
    assert not +begun, begun


def _is_told_as_it_ended(exchange: dict[str, Any], messages: list[Any]) -> None:
    operation, outcome = exchange["operation"], exchange["outcome"]
    asked = operation in QUERIES | TRANSFERS | STORES | ACCESSES
    assert messages or not (asked and exchange["target"]), exchange
    outcomes = {event_of(one)[2] for one in messages}
    told = (exchange, [word(one) for one in messages])
    if outcome not in AS_ASKED and messages:
        assert outcomes != {SUCCESS}, told
    elif messages and exchange["status"] in (200, 304):
        assert outcomes == {SUCCESS}, told
    client = exchange.get("calling_ae_title") or exchange["principal"] or exchange["peer"]
    for one in messages:
        assert client in users_of(one), (*told, users_of(one))
        named = any(exchange["target"].lower() in user.lower().split(", ") for user in users_of(one))
        named = named or exchange["target"] in users_of(one)
        assert named or event(one) == "Accessed" or not exchange["target"], (*told, users_of(one))
    whole = sum(instances_of(one) for one in messages if word(one) == "Transferred 0")
    if operation in TRANSFERS | STORES and exchange["instances"]:
        assert whole <= exchange["instances"], told
        assert whole == exchange["instances"] or outcome not in AS_ASKED, told
