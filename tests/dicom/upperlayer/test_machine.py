import pytest
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

from harmonygw.dicom.upperlayer.machine import EFFECTS, TRANSITIONS, Action, Event, State, StateMachine

ARTIM_STARTS = {"AE-5", "AE-8", "AR-4", "AA-1", "AA-8"}
ARTIM_STOPS = {"AE-6", "AR-5", "AA-2", "AA-5"}
CLOSES = {"AE-4", "AR-3", "AA-2", "AA-3"}

CELLS = [pytest.param(state, event, id=f"{state.name}-{event.name}") for event in Event for state in State]


def machine_in(state: State, *, requestor: bool = True) -> StateMachine:
    machine = StateMachine(requestor=requestor, artim_timeout=30.0, association_timeout=20.0)
    machine.state = state
    machine.artim_deadline = 7.0
    return machine


def test_the_table_has_thirteen_states_and_nineteen_events() -> None:
    assert [state.name for state in State] == [f"Sta{n}" for n in range(1, 14)]
    assert [event.name for event in Event] == [f"Evt{n}" for n in range(1, 20)]
    assert {action.value for action in Action} == set(ACTIONS)
    assert set(EFFECTS) == set(Action)


@pytest.mark.parametrize(("state", "event"), CELLS)
def test_every_cell_agrees_with_an_independent_copy_of_table_9_10(state: State, event: Event) -> None:
    expected = TRANSITION_TABLE.get((event.name, state.name))
    action = TRANSITIONS.get((state, event))
    assert (action and action.value) == expected


@pytest.mark.parametrize(("state", "event"), CELLS)
def test_an_event_leads_to_the_next_state_of_its_action_or_is_impossible(state: State, event: Event) -> None:
    label = TRANSITION_TABLE.get((event.name, state.name))
    machine = machine_in(state)
    if label is None:
        assert not machine.allows(event)
        with pytest.raises(RuntimeError, match=f"impossible in {state.name} "):
            machine.happen(event, 100.0)
        assert machine.state is state
        assert machine.artim_deadline == 7.0
        return
    assert machine.allows(event)
    assert machine.happen(event, 100.0).value == label
    next_state = ACTIONS[label][2]
    assert machine.state.name == (next_state if isinstance(next_state, str) else next_state[0])
    if label in ARTIM_STARTS:
        assert machine.artim_deadline == 130.0
    elif label in ARTIM_STOPS:
        assert machine.artim_deadline is None
    else:
        assert machine.artim_deadline == 7.0
    assert machine.close_transport is (label in CLOSES)
    assert machine.association_deadline == (120.0 if machine.state is State.Sta5 else None)
    assert machine.expects_data is (machine.state in (State.Sta6, State.Sta7))


def test_ae_6_rejects_what_the_provider_cannot_accept_and_starts_artim() -> None:
    machine = machine_in(State.Sta2, requestor=False)
    assert machine.happen(Event.Evt6, 100.0, acceptable=False) is Action.AE_6
    assert (machine.state, machine.artim_deadline) == (State.Sta13, 130.0)


def test_ar_8_leads_an_acceptor_to_its_own_side_of_the_collision() -> None:
    machine = machine_in(State.Sta7, requestor=False)
    assert machine.happen(Event.Evt12, 100.0) is Action.AR_8
    assert machine.state is State.Sta10


def test_a_connection_carries_one_association() -> None:
    machine = StateMachine(requestor=True, artim_timeout=30.0, association_timeout=20.0)
    machine.happen(Event.Evt1, 0.0)
    machine.happen(Event.Evt17, 1.0)
    assert machine.state is State.Sta1
    with pytest.raises(RuntimeError, match="one association"):
        machine.happen(Event.Evt1, 2.0)
