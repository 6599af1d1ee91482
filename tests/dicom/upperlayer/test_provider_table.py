"""Every cell of Table 9-10, driven through the provider: what is sent, told, timed and closed."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

from harmonygw.dicom.upperlayer.machine import State
from harmonygw.dicom.upperlayer.provider import (
    Aborted,
    AssociateConfirm,
    AssociateIndication,
    AssociateRejected,
    Event,
    Fragment,
    ReleaseConfirm,
    ReleaseIndication,
    UpperLayer,
)
from tests.dicom.upperlayer.scripts import (
    AC,
    AC_PDU,
    ARTIM,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RJ,
    RJ_PDU,
    RQ,
    RQ_PDU,
    UNKNOWN_PDU,
    abort,
    layer_in,
    sent,
)

NOW = 5.0
PDV = (1, False, True, b"data")


def _primitive(call: Callable[[UpperLayer], None]) -> Callable[[UpperLayer], list[Event]]:
    def apply(layer: UpperLayer) -> list[Event]:
        call(layer)
        return []

    return apply


def _pdu(data: bytes) -> Callable[[UpperLayer], list[Event]]:
    return lambda layer: layer.receive(data, NOW)


def _expire(layer: UpperLayer) -> list[Event]:
    assert layer.get_timer() == ARTIM
    return layer.timer_expired(ARTIM)


EVENTS: dict[str, Callable[[UpperLayer], list[Event]]] = {
    "Evt1": _primitive(lambda layer: layer.associate(RQ, NOW)),
    "Evt2": _primitive(lambda layer: layer.connected(NOW)),
    "Evt3": _pdu(AC_PDU),
    "Evt4": _pdu(RJ_PDU),
    "Evt5": _primitive(lambda layer: layer.connected(NOW)),
    "Evt6": _pdu(RQ_PDU),
    "Evt7": _primitive(lambda layer: layer.accept(AC, NOW)),
    "Evt8": _primitive(lambda layer: layer.reject(RJ, NOW)),
    "Evt9": _primitive(lambda layer: layer.send([PDV], NOW)),
    "Evt10": _pdu(P_DATA),
    "Evt11": _primitive(lambda layer: layer.release(NOW)),
    "Evt12": _pdu(RELEASE_RQ),
    "Evt13": _pdu(RELEASE_RP),
    "Evt14": _primitive(lambda layer: layer.release_response(NOW)),
    "Evt15": _primitive(lambda layer: layer.abort(NOW)),
    "Evt16": _pdu(abort(0, 0)),
    "Evt17": lambda layer: layer.closed(NOW),
    "Evt18": _expire,
    "Evt19": _pdu(UNKNOWN_PDU),
}

SENT = {
    "AE-2": RQ_PDU,
    "AE-7": AC_PDU,
    "AE-8": RJ_PDU,
    "DT-1": P_DATA,
    "AR-1": RELEASE_RQ,
    "AR-4": RELEASE_RP,
    "AR-7": P_DATA,
    "AR-9": RELEASE_RP,
    "AA-1": abort(0, 0),
}
DATA = Fragment(1, False, True, memoryview(b"data"))
TOLD: dict[str, list[Event]] = {
    "AE-3": [AssociateConfirm(AC)],
    "AE-4": [AssociateRejected(RJ)],
    "AE-6": [AssociateIndication(RQ)],
    "DT-2": [DATA],
    "AR-2": [ReleaseIndication()],
    "AR-3": [ReleaseConfirm()],
    "AR-6": [DATA],
    "AR-8": [ReleaseIndication()],
    "AR-10": [ReleaseConfirm()],
}
ARTIM_STARTS = ("AE-5", "AE-8", "AR-4", "AA-1", "AA-8")
CLOSES = ("AE-4", "AR-3", "AA-2", "AA-3")

LEGAL = [
    pytest.param(State[state], event, action, id=f"{state}-{event}-{action}")
    for (event, state), action in TRANSITION_TABLE.items()
]
LOCAL = ("Evt1", "Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15")
IMPOSSIBLE = [
    pytest.param(state, event, id=f"{state.name}-{event}")
    for event in LOCAL
    for state in State
    if (event, state.name) not in TRANSITION_TABLE
]


def told_of_abort(action: str, event: str) -> list[Event]:
    """Return the indication that an abort action issues, its detail left empty."""
    reason = 1 if event == "Evt19" else 2
    match action:
        case "AA-1" if event != "Evt15":
            return [Aborted(0, 0, False, "")]
        case "AA-3":
            return [Aborted(0, 0, False, "")]
        case "AA-4":
            return [Aborted(2, 0, True, "")]
        case "AA-8":
            return [Aborted(2, reason, True, "")]
        case _:
            return []


@pytest.mark.parametrize(("state", "event", "action"), LEGAL)
def test_every_legal_cell_sends_tells_and_moves_as_its_action_says(state: State, event: str, action: str) -> None:
    layer = layer_in(state)
    events = EVENTS[event](layer)
    reason = 1 if event == "Evt19" else 2
    if action in ("AA-7", "AA-8"):
        assert sent(layer) == abort(2, reason)
    else:
        assert sent(layer) == SENT.get(action, b"")
    for told in events:
        assert not isinstance(told, Aborted) or told.detail
    without_detail = [replace(told, detail="") if isinstance(told, Aborted) else told for told in events]
    assert without_detail == TOLD.get(action, told_of_abort(action, event))
    next_state = ACTIONS[action][2]
    if action == "AR-8":
        assert layer.state is State.Sta9
    else:
        assert layer.state.name == (next_state if isinstance(next_state, str) else next_state[0])
    assert layer.close_transport is (action in CLOSES)
    if action in ARTIM_STARTS:
        assert layer.get_timer() == NOW + ARTIM
    elif layer.state is State.Sta13:
        assert layer.get_timer() == ARTIM
    elif layer.state is State.Sta5:
        assert layer.get_timer() == NOW + 30.0
    else:
        assert layer.get_timer() is None


@pytest.mark.parametrize(("state", "event"), IMPOSSIBLE)
def test_a_primitive_that_the_state_does_not_allow_is_an_error_of_the_program(state: State, event: str) -> None:
    layer = layer_in(state)
    before = layer.get_timer()
    with pytest.raises(RuntimeError, match=f"{state.name} "):
        EVENTS[event](layer)
    assert (layer.state, layer.get_timer(), sent(layer)) == (state, before, b"")


@pytest.mark.parametrize("state", [state for state in State if state not in (State.Sta1, State.Sta4)])
def test_a_connection_opens_once(state: State) -> None:
    with pytest.raises(RuntimeError, match="impossible"):
        layer_in(state).connected(NOW)


@pytest.mark.parametrize("state", [State.Sta1, State.Sta4])
def test_nothing_can_arrive_before_the_connection_is_open(state: State) -> None:
    with pytest.raises(RuntimeError, match=f"impossible in {state.name} "):
        layer_in(state).receive(RELEASE_RQ, NOW)


@pytest.mark.parametrize("state", State)
def test_what_may_be_asked_is_told_beforehand(state: State) -> None:
    layer = layer_in(state)
    assert layer.may_send is (("Evt9", state.name) in TRANSITION_TABLE)
    assert layer.may_abort is (("Evt15", state.name) in TRANSITION_TABLE)
