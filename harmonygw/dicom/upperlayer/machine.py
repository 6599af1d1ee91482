"""The DICOM upper layer state machine: Tables 9-1 to 9-10 of PS3.8 §9.2, as data.

Everything that affects the state of an association lives in this file: the state, the ARTIM timer, the time
that a requestor waits for an answer, and whether the transport connection is to be closed. Whoever drives
the machine tells it what happened and performs the action that it names; nobody else starts a timer or sets
a state.

Table 9-10 is kept as text in the shape that it has in the standard, so that it can be proof-read line by
line. What an action does to state, timer and connection is in `EFFECTS`; what it sends and tells the user
is the business of `provider.py`.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple


class State(Enum):
    """The states of Tables 9-1 to 9-5, by the standard's labels; the value is the standard's meaning."""

    Sta1 = "idle"
    Sta2 = "transport connection open, awaiting A-ASSOCIATE-RQ PDU"
    Sta3 = "awaiting local A-ASSOCIATE response primitive"
    Sta4 = "awaiting transport connection opening to complete"
    Sta5 = "awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ PDU"
    Sta6 = "association established and ready for data transfer"
    Sta7 = "awaiting A-RELEASE-RP PDU"
    Sta8 = "awaiting local A-RELEASE response primitive"
    Sta9 = "release collision, requestor side; awaiting A-RELEASE response primitive"
    Sta10 = "release collision, acceptor side; awaiting A-RELEASE-RP PDU"
    Sta11 = "release collision, requestor side; awaiting A-RELEASE-RP PDU"
    Sta12 = "release collision, acceptor side; awaiting A-RELEASE response primitive"
    Sta13 = "awaiting transport connection close indication; association no longer exists"


class Event(Enum):
    """The rows of Table 9-10, by the standard's labels; the value is the standard's meaning."""

    Evt1 = "A-ASSOCIATE request primitive"
    Evt2 = "transport connection confirmation"
    Evt3 = "A-ASSOCIATE-AC PDU received"
    Evt4 = "A-ASSOCIATE-RJ PDU received"
    Evt5 = "transport connection indication"
    Evt6 = "A-ASSOCIATE-RQ PDU received"
    Evt7 = "A-ASSOCIATE response primitive (accept)"
    Evt8 = "A-ASSOCIATE response primitive (reject)"
    Evt9 = "P-DATA request primitive"
    Evt10 = "P-DATA-TF PDU received"
    Evt11 = "A-RELEASE request primitive"
    Evt12 = "A-RELEASE-RQ PDU received"
    Evt13 = "A-RELEASE-RP PDU received"
    Evt14 = "A-RELEASE response primitive"
    Evt15 = "A-ABORT request primitive"
    Evt16 = "A-ABORT PDU received"
    Evt17 = "transport connection closed indication"
    Evt18 = "ARTIM timer expired"
    Evt19 = "unrecognized or invalid PDU received"


class Action(Enum):
    """The actions of Tables 9-6 to 9-9; the value is the standard's label."""

    AE_1 = "AE-1"
    AE_2 = "AE-2"
    AE_3 = "AE-3"
    AE_4 = "AE-4"
    AE_5 = "AE-5"
    AE_6 = "AE-6"
    AE_7 = "AE-7"
    AE_8 = "AE-8"
    DT_1 = "DT-1"
    DT_2 = "DT-2"
    AR_1 = "AR-1"
    AR_2 = "AR-2"
    AR_3 = "AR-3"
    AR_4 = "AR-4"
    AR_5 = "AR-5"
    AR_6 = "AR-6"
    AR_7 = "AR-7"
    AR_8 = "AR-8"
    AR_9 = "AR-9"
    AR_10 = "AR-10"
    AA_1 = "AA-1"
    AA_2 = "AA-2"
    AA_3 = "AA-3"
    AA_4 = "AA-4"
    AA_5 = "AA-5"
    AA_6 = "AA-6"
    AA_7 = "AA-7"
    AA_8 = "AA-8"


_TABLE_9_10: Final = """
       Sta1  Sta2  Sta3  Sta4  Sta5  Sta6  Sta7  Sta8  Sta9  Sta10 Sta11 Sta12 Sta13
Evt1   AE-1  .     .     .     .     .     .     .     .     .     .     .     .
Evt2   .     .     .     AE-2  .     .     .     .     .     .     .     .     .
Evt3   .     AA-1  AA-8  .     AE-3  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt4   .     AA-1  AA-8  .     AE-4  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt5   AE-5  .     .     .     .     .     .     .     .     .     .     .     .
Evt6   .     AE-6  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
Evt7   .     .     AE-7  .     .     .     .     .     .     .     .     .     .
Evt8   .     .     AE-8  .     .     .     .     .     .     .     .     .     .
Evt9   .     .     .     .     .     DT-1  .     AR-7  .     .     .     .     .
Evt10  .     AA-1  AA-8  .     AA-8  DT-2  AR-6  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt11  .     .     .     .     .     AR-1  .     .     .     .     .     .     .
Evt12  .     AA-1  AA-8  .     AA-8  AR-2  AR-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt13  .     AA-1  AA-8  .     AA-8  AA-8  AR-3  AA-8  AA-8  AR-10 AR-3  AA-8  AA-6
Evt14  .     .     .     .     .     .     .     AR-4  AR-9  .     .     AR-4  .
Evt15  .     .     AA-1  AA-2  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  .
Evt16  .     AA-2  AA-3  .     AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-2
Evt17  .     AA-5  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AR-5
Evt18  .     AA-2  .     .     .     .     .     .     .     .     .     .     AA-2
Evt19  .     AA-1  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
"""


def _transitions(table: str) -> Mapping[tuple[State, Event], Action]:
    heading, *rows = table.strip().splitlines()
    states = [State[label] for label in heading.split()]
    transitions: dict[tuple[State, Event], Action] = {}
    for row in rows:
        label, *cells = row.split()
        for state, cell in zip(states, cells, strict=True):
            if cell != ".":
                transitions[state, Event[label]] = Action(cell)
    return MappingProxyType(transitions)


TRANSITIONS: Final = _transitions(_TABLE_9_10)
"""Table 9-10: what to do when an event happens in a state; a cell that is empty in the standard is absent."""


class Artim(Enum):
    """What an action does to the Association Request/Reject/Release Timer (PS3.8 §9.1.5)."""

    START = "start, or restart"
    STOP = "stop"


class Effect(NamedTuple):
    """What an action does to the association's state."""

    next_state: State
    artim: Artim | None = None
    closes: bool = False


EFFECTS: Final[Mapping[Action, Effect]] = MappingProxyType(
    {
        # Table 9-6: association establishment
        Action.AE_1: Effect(State.Sta4),
        Action.AE_2: Effect(State.Sta5),
        Action.AE_3: Effect(State.Sta6),
        Action.AE_4: Effect(State.Sta1, closes=True),
        Action.AE_5: Effect(State.Sta2, Artim.START),
        Action.AE_6: Effect(State.Sta3, Artim.STOP),
        Action.AE_7: Effect(State.Sta6),
        Action.AE_8: Effect(State.Sta13, Artim.START),
        # Table 9-7: data transfer
        Action.DT_1: Effect(State.Sta6),
        Action.DT_2: Effect(State.Sta6),
        # Table 9-8: association release
        Action.AR_1: Effect(State.Sta7),
        Action.AR_2: Effect(State.Sta8),
        Action.AR_3: Effect(State.Sta1, closes=True),
        Action.AR_4: Effect(State.Sta13, Artim.START),
        Action.AR_5: Effect(State.Sta1, Artim.STOP),
        Action.AR_6: Effect(State.Sta7),
        Action.AR_7: Effect(State.Sta8),
        Action.AR_8: Effect(State.Sta9),
        Action.AR_9: Effect(State.Sta11),
        Action.AR_10: Effect(State.Sta12),
        # Table 9-9: association abort
        Action.AA_1: Effect(State.Sta13, Artim.START),
        Action.AA_2: Effect(State.Sta1, Artim.STOP, closes=True),
        Action.AA_3: Effect(State.Sta1, closes=True),
        Action.AA_4: Effect(State.Sta1),
        Action.AA_5: Effect(State.Sta1, Artim.STOP),
        Action.AA_6: Effect(State.Sta13),
        Action.AA_7: Effect(State.Sta13),
        Action.AA_8: Effect(State.Sta13, Artim.START),
    }
)
"""The next state, the timer and the connection, action by action."""

_AE_6_OTHERWISE: Final = Effect(State.Sta13, Artim.START)
_AR_8_ACCEPTOR: Final = Effect(State.Sta10)


class StateMachine:
    """One association of one transport connection, as seen from one end.

    `requestor` is whether this end asks for the association. `artim_timeout` and `association_timeout` are
    in seconds. ARTIM runs in Sta2 and Sta13 only, as the actions say. The standard gives a requestor no
    timer for Sta5, so a second one is kept for that state.
    """

    def __init__(self, *, requestor: bool, artim_timeout: float, association_timeout: float) -> None:
        self.requestor = requestor
        self.state = State.Sta1
        self.close_transport = False
        """Whether an action has asked for the transport connection to be closed."""
        self.expects_data = False
        """Whether a P-DATA-TF PDU is welcome now: DT-2 or AR-6 stands in its cell."""
        self.artim_deadline: float | None = None
        self.association_deadline: float | None = None
        self._artim_timeout = artim_timeout
        self._association_timeout = association_timeout
        self._begun = False

    def allows(self, event: Event) -> bool:
        """Say whether the cell for `event` in the present state has an action."""
        return (self.state, event) in TRANSITIONS

    def action(self, event: Event) -> Action:
        """Return the action for `event` in the present state, without performing it.

        Raises RuntimeError for an empty cell: the program asked for what cannot happen.
        """
        action = TRANSITIONS.get((self.state, event))
        if action is None:
            raise RuntimeError(f"{event.value} is impossible in {self.state.name} ({self.state.value})")
        if self.state is State.Sta1 and self._begun:
            raise RuntimeError("a transport connection carries one association (PS3.8 §9.1.1)")
        return action

    def happen(self, event: Event, now: float, *, acceptable: bool = True) -> Action:
        """Let `event` happen at the monotonic time `now`, and return the action that has to be performed.

        `acceptable` answers the question of AE-6: whether the service provider can accept the A-ASSOCIATE-RQ.
        Raises RuntimeError for an empty cell.
        """
        action = self.action(event)
        effect = EFFECTS[action]
        if action is Action.AE_6 and not acceptable:
            effect = _AE_6_OTHERWISE
        elif action is Action.AR_8 and not self.requestor:
            effect = _AR_8_ACCEPTOR
        if effect.artim is Artim.START:
            self.artim_deadline = now + self._artim_timeout
        elif effect.artim is Artim.STOP:
            self.artim_deadline = None
        if effect.closes:
            self.close_transport = True
        self._begun = True
        self._enter(effect.next_state, now)
        return action

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        self.expects_data = TRANSITIONS.get((state, Event.Evt10)) in (Action.DT_2, Action.AR_6)
        self.association_deadline = now + self._association_timeout if state is State.Sta5 else None
