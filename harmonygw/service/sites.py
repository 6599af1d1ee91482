"""The web sites of a gateway: one for each address, whose connections go from house to house."""
# mypy: allow-untyped-calls

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from twisted.internet.error import CannotListenError
from twisted.web.resource import IResource, Resource, getChildForRequest

from harmonygw.config.model import ListeningAddress, Network
from harmonygw.errors import ConfigurationError
from harmonygw.net.http.limits import BACKLOG, HTTPLimits
from harmonygw.net.http.server import HTTPSite
from harmonygw.net.http.tree import Problem
from harmonygw.net.ports import Lease, Upcoming
from harmonygw.service.life import refused

Address = tuple[str, int, str]


class Wanted(NamedTuple):
    """A network that is to be served."""

    settings: Network
    root: IResource
    certificates: Any
    """None without TLS."""


class Bound(NamedTuple):
    """A network whose address is ours."""

    site: HTTPSite
    address: Address
    lease: Lease
    wanted: Wanted


class Sites:
    """The sites that are served, by network."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._bound: dict[str, Bound] = {}
        self._released = False

    def bind(self, wanted: Mapping[str, Wanted], ports: Upcoming) -> tuple[dict[str, Bound], list[str]]:
        """Bind the addresses of networks; return what `replace` takes, and what is wrong. Nothing is served yet."""
        known = {one.address: one.site for one in self._bound.values()}
        bound: dict[str, Bound] = {}
        problems: list[str] = []
        for network, one in wanted.items():
            tcp = one.settings.tcp_config
            address = (tcp.bind_address, tcp.bind_port, "" if tcp.bind_port else network)
            site = known.get(address) or HTTPSite(one.root, limits=_limits(one.settings), reactor=self._reactor)
            try:
                lease = ports.listen(
                    tcp.bind_port,
                    site,
                    interface=tcp.bind_address,
                    backlog=BACKLOG,
                    tls=one.certificates,
                    place=f"network.{network}",
                )
            except CannotListenError as error:
                problems.append(f"network.{network}: {refused(error)} (tcp_config.bind_address, bind_port)")
            else:
                bound[network] = Bound(site, address, lease, one)
        return bound, problems

    def replace(self, bound: dict[str, Bound]) -> list[HTTPSite]:
        """Serve these networks from now on; return the sites that are left, whose connections are to be ended.

        A request that comes on a connection of before is answered by the new root; the limits of a connection are those
        with which it was made.
        """
        before, self._bound = self._bound, bound
        for one in bound.values():
            one.site.resource = one.wanted.root
            one.site.limit(_limits(one.wanted.settings), one.wanted.settings.tcp_config.hsts_max_age_secs)
        for one in before.values():
            one.lease.stopListening()
        kept = {id(one.site) for one in bound.values()}
        return [one.site for one in before.values() if id(one.site) not in kept]

    def release(self) -> "list[Any]":
        """Listen no more; return Deferreds that fire when the sockets are closed. The sites stay."""
        self._released = True
        return [one.lease.stopListening() for one in self._bound.values()]

    def __iter__(self) -> Any:
        """Iterate over the sites."""
        return iter([one.site for one in self._bound.values()])

    def address(self, network: str) -> ListeningAddress | None:
        """Return where a network listens, with the port that the system chose; None when it does not."""
        bound = self._bound.get(network)
        if bound is None or self._released:
            return None
        return ListeningAddress(bound.wanted.settings.bind_address, bound.lease.getHost().port)


class Mounted(Resource):
    """What a network serves, in somebody else's site: at each request what it serves then."""

    isLeaf = True

    def __init__(self, root: Any) -> None:
        super().__init__()
        self._root = root

    def render(self, request: Any) -> Any:
        """Answer."""
        try:
            root = self._root()
        except ConfigurationError:
            root = Problem(404, "There is nothing at this path.")
        return getChildForRequest(root, request).render(request)


def _limits(network: Network) -> HTTPLimits:
    """Return the limits of a listener; what an endpoint takes without a limit streams."""
    return HTTPLimits(**{**asdict(network.limits), "max_request_bytes": network.limits.max_request_bytes or 0})
