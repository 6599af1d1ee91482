from harmonygw.net.http.connections import Admission, Connections
from harmonygw.net.http.descriptors import Descriptors
from harmonygw.net.http.limits import MAX_SHED, NETWORK_SHARE, HTTPLimits


class Channel:
    def __init__(self):
        self.told = []

    def close_when_idle(self):
        self.told.append("close")

    def abort(self):
        self.told.append("abort")


def add(connections, address, count=1, descriptor=-1):
    channels = [Channel() for _ in range(count)]
    return channels, [connections.add(channel, address, descriptor) for channel in channels]


def test_the_limit_for_an_address_spares_the_others():
    connections = Connections(HTTPLimits(max_connections_per_address=2))
    _, admissions = add(connections, "a", 3)
    assert admissions == [Admission.SERVED, Admission.SERVED, Admission.SHED]
    assert add(connections, "b")[1] == [Admission.SERVED]
    assert (connections.of("a"), connections.of("b"), len(connections)) == (2, 1, 3)


def test_the_limit_overall_holds_for_every_address():
    connections = Connections(HTTPLimits(max_connections=1))
    assert add(connections, "a")[1] == [Admission.SERVED]
    assert add(connections, "b")[1] == [Admission.SHED]


def test_all_addresses_of_a_subscriber_of_ipv6_have_one_limit():
    connections = Connections(HTTPLimits(max_connections_per_address=2))
    assert add(connections, "2001:db8::1", 3)[1][-1] == Admission.SHED
    channels = [add(connections, f"2001:db8::f{number}")[0][0] for number in range(2 * NETWORK_SHARE - 2)]
    assert add(connections, "2001:db8::f:f")[1] == [Admission.SHED]
    assert add(connections, "2001:db8:0:1::1")[1] == [Admission.SERVED]
    assert connections.of("2001:db8::1") == 2
    connections.remove(channels[0])
    assert add(connections, "2001:db8::f:f")[1] == [Admission.SERVED]


def test_when_descriptors_run_short_connections_are_refused_and_then_closed_at_once():
    connections = Connections(HTTPLimits(), Descriptors(served_below=100, shed_below=110))
    admissions = [add(connections, "a", descriptor=number)[1][0] for number in (99, 100, 109, 110)]
    assert admissions == [Admission.SERVED, Admission.SHED, Admission.SHED, Admission.DROPPED]
    assert add(connections, "a", descriptor=50)[1] == [Admission.SERVED]


def test_a_place_comes_back_for_its_own_kind_only():
    connections = Connections(HTTPLimits(max_connections=1))
    (served, *refused), _ = add(connections, "a", 2 + MAX_SHED)
    assert add(connections, "a")[1] == [Admission.DROPPED]
    connections.remove(refused[0])
    assert add(connections, "a")[1] == [Admission.SHED]
    connections.remove(served)
    assert add(connections, "a")[1] == [Admission.SERVED]


def test_nothing_is_left_when_everyone_has_gone():
    connections = Connections(HTTPLimits())
    channels = add(connections, "a", 3)[0] + add(connections, "2001:db8::1", 2)[0]
    for channel in channels:
        connections.remove(channel)
    assert (len(connections), connections.of("a"), vars(connections)["_served_by_address"]) == (0, 0, {})


def test_draining_tells_everyone_and_waits_for_the_last():
    connections = Connections(HTTPLimits())
    channels, _ = add(connections, "a", 2)
    first, second = connections.drain(), connections.drain()
    assert channels[0].told == ["close", "close"]
    connections.remove(channels[0])
    assert not first.called
    connections.remove(channels[1])
    assert (first.called, second.called) == (True, True)


def test_draining_nothing_is_done_at_once():
    assert Connections(HTTPLimits()).drain().called


def test_aborting_tells_everyone():
    connections = Connections(HTTPLimits())
    channels, _ = add(connections, "a", 2)
    connections.abort()
    assert [channel.told for channel in channels] == [["abort"], ["abort"]]


def test_other_limits_hold_for_who_comes_then():
    connections = Connections(HTTPLimits(max_connections=3))
    channels, _ = add(connections, "a", 3)
    connections.limit(HTTPLimits(max_connections=2))
    assert len(connections) == 3
    connections.remove(channels[0])
    assert add(connections, "a")[1] == [Admission.SHED]
    connections.remove(channels[1])
    assert add(connections, "a")[1] == [Admission.SERVED]
