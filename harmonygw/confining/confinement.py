"""One pipeline's confinement: what is asked passes it in front of whatever keeps answers, or fetches them.

It is no middleware that a configuration names: where it stands is no choice. Who is confined by nothing passes at the
cost of a comparison.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from harmonygw.config.authorizations import Authorization
from harmonygw.confining import worklist
from harmonygw.confining.constraints import Constraints
from harmonygw.confining.naming import Naming
from harmonygw.confining.retrieving import moved, retrieved
from harmonygw.confining.searching import found
from harmonygw.confining.sight import Memory, Sight
from harmonygw.confining.storing import stored
from harmonygw.errors import Denied
from harmonygw.exchange import Reply, Request
from harmonygw.operations import Echo, Find, FindWorklist, Move, Retrieve, Store
from harmonygw.pipeline import IMiddleware, Proceed

DENIED: Final = "You are not authorized to do this."

HELD: Final = "held_to_authorizations"
"""Name of an attribute: that a request has passed a confinement which stands ahead of another."""


@implementer(IMiddleware)
class Confinement:
    """Enforces `Request.restrictions`, and those of the `[authorizations]` that apply to a pipeline."""

    def __init__(self, tables: Mapping[str, Authorization], clock: IReactorTime, *, ahead: bool = False) -> None:
        self._naming = Naming(tables)
        self._memory = Memory(clock)
        self._ahead = ahead
        """Whether another one stands behind, where operations are made of what is none yet."""

    def around(self, proceed: Proceed) -> Proceed:
        """Return what continues an exchange, with this in front: nothing but a comparison where nobody is confined."""
        confines = bool(self._naming)

        def confined(request: Request) -> "Deferred[Reply]":
            if (confines or request.restrictions) and request.settled is None:
                return Deferred.fromCoroutine(self.intercept(request, proceed))
            return proceed(request)

        return confined

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Answer a request within its bounds.

        Raises `Denied` for whoever is named by no table, for what is no operation, and for one that cannot be checked;
        and what the operations raise.
        """
        operation = request.operation
        if operation is None and self._ahead:
            return await proceed(request)
        if isinstance(operation, Echo) or (request.attributes.get(HELD) is True and not self._ahead):
            return await proceed(replace(request, restrictions=()))
        of_tables = self._naming.restrictions(request) if self._naming else ()
        constraints = Constraints((*of_tables, *request.restrictions))
        attributes = {**request.attributes, HELD: True} if self._ahead else request.attributes
        request = replace(request, restrictions=(), attributes=attributes)
        if not constraints:
            return await proceed(request)
        sight = Sight(request, proceed, constraints, self._memory)
        match operation:
            case Find():
                return await found(request, operation, sight, proceed)
            case Retrieve():
                return await retrieved(request, operation, sight, proceed)
            case Move():
                return await moved(request, operation, sight, proceed)
            case Store():
                return await stored(request, operation, sight, proceed)
            case FindWorklist():
                return await worklist.found(request, operation, constraints, proceed)
        # An HTTP request that is passed on, an upload, storage commitment: none can be held against a study.
        raise Denied(DENIED, log_detail=constraints.reasons)
