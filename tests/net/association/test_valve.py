"""The valve."""

from harmonygw.net.association.valve import Valve


def test_it_is_held_while_anybody_holds_it() -> None:
    states: list[bool] = []
    valve = Valve(lambda: states.append(valve.held))
    one, other = valve.flow(), valve.flow()
    one.pause()
    one.pause()
    other.pause()
    one.resume()
    assert valve.held
    other.resume()
    other.resume()
    assert not valve.held
    assert states == [True, True, True, True, False]


def test_opening_voids_the_handles_made_so_far() -> None:
    changes: list[bool] = []
    valve = Valve(lambda: changes.append(valve.held))
    old, other = valve.flow(), valve.flow()
    old.pause()
    valve.open()
    valve.open()
    other.pause()
    old.resume()
    assert changes == [True, False]
    valve.flow().pause()
    assert valve.held


def test_a_closed_valve_cannot_be_held_again() -> None:
    valve = Valve(lambda: None)
    valve.flow().pause()
    valve.close()
    valve.flow().pause()
    assert (valve.held, valve.closed) == (False, True)
