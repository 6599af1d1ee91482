"""The exchanges of an HTTP endpoint, from the request's arrival to the line in the log."""
# mypy: allow-untyped-calls

from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from harmonygw import errors, journal
from harmonygw.endpoints.http_exchanges.arrival import Arrival, fault_of
from harmonygw.endpoints.http_exchanges.problems import Settled, problem_of, unforeseen
from harmonygw.exchange import Reply
from harmonygw.net.http.authority import authority
from harmonygw.net.http.compression import compressed
from harmonygw.net.http.conditional import not_modified, tagged
from harmonygw.net.http.response import Sent, send
from harmonygw.pipeline import EndpointContext, Proceed

log = Logger()


class EndpointOverHTTP:
    """One service over HTTP: requests in, replies out. Every path below its prefix, unless `resource` says otherwise.

    `proceed` is what answers, in place of the pipeline with its backend.
    """

    def __init__(self, context: EndpointContext, *, proceed: Proceed | None = None) -> None:
        self._proceed = proceed or context.proceed
        self._tell_ended = context.ended or journal.write
        self._clock = context.reactor
        self._public_url: str | None = getattr(getattr(context.settings, "options", None), "public_url", None)
        self._write_timeout = context.write_timeout
        self._max_request_bytes = context.max_request_bytes
        self._running: set[Deferred[None]] = set()
        self._drained: list[Deferred[None]] = []

    def resource(self) -> IResource:
        """Return the resource, to be put below any path of a `twisted.web` site.

        In an `HTTPSite` it has our limits, and bodies stream in; elsewhere those of that site hold.
        """
        return EveryPath(self)

    def settled(self, arrival: Arrival) -> Settled:
        """Return what is answered here to a request that `EveryPath` takes; it may be looked at, and limited."""
        return None

    def limit(self, arrival: Arrival) -> None:
        """Let a request's body be as long as what may be held whole, where its network sets no limit of its own."""
        arrival.client.limit_body(self._max_request_bytes)

    @property
    def under_way(self) -> int:
        """Exchanges that have begun and not ended."""
        return len(self._running)

    def drain(self) -> "Deferred[None]":
        """Fire as soon as no exchange is under way."""
        if not self._running:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def stop(self) -> None:
        """Break off every exchange that is under way."""
        for running in tuple(self._running):
            running.cancel()

    # What resources use

    def arrived(self, http_request: Any, host: str) -> Arrival:
        """Return what an HTTP request asks `host`; what is not UTF-8 in it comes out as U+FFFD."""
        return Arrival.of(http_request, host, self._public_url)

    def fault_of(self, http_request: Any, host: str) -> str:
        """Say what of an HTTP request to `host` cannot be understood; "" if nothing."""
        return fault_of(http_request, host, self._public_url)

    def begin(self, arrival: Arrival, settled: Settled) -> None:
        """Let the pipeline reply to a request; when the client goes away, that is cancelled."""
        if settled is not None:
            arrival = replace(arrival, request=replace(arrival.request, settled=settled))
        running = Deferred.fromCoroutine(self._conduct(arrival))
        self._running.add(running)
        arrival.client.notifyFinish().addErrback(lambda _: running.cancel())
        running.addBoth(self._ended, running)

    def _ended(self, result: Any, running: "Deferred[None]") -> Any:
        self._running.remove(running)
        if not self._running:
            watchers, self._drained = self._drained, []
            for watcher in watchers:
                watcher.callback(None)
        return result

    # One exchange

    async def _conduct(self, arrival: Arrival) -> None:
        """Reply to a request, and write its line in the log."""
        client, request = arrival.client, arrival.request
        started = self._clock.seconds()
        sent: Sent | None = None
        try:
            sent, outcome, reason = await self._reply(arrival)
        except CancelledError:
            gone = client.disconnected and not client.aborted
            outcome, reason = ("client_gone", "") if gone else ("aborted", "the exchange was cancelled")
            client.abort()  # never leave behind what could be taken for a reply
        self._tell_ended(
            request,
            journal.Ending(
                outcome=outcome,
                status=client.code if client.startedWriting else None,
                size=client.sentLength,
                started=started,
                first_byte=sent.first_byte_at if sent is not None else None,
                ended=self._clock.seconds(),
                reason=reason,
            ),
        )

    async def _reply(self, arrival: Arrival) -> tuple[Sent, str, str]:
        """Send a reply; return how that went, the outcome of the exchange, and the reason for it."""
        request, reason = arrival.request, ""
        try:
            reply = await self._proceed(request)
            if reply.body is None and reply.result is not None:
                raise errors.ConfigurationError(("no middleware has made an HTTP reply of the operation's result",))
            if arrival.origin.method in ("GET", "HEAD"):
                reply = tagged(reply)
            sent, status = await self._send(arrival, reply)
        except CancelledError:
            raise
        except errors.HarmonyError as error:
            reason = journal.describe(error)
            sent, status = await self._send(arrival, problem_of(error, request))
        except Exception:  # noqa: BLE001 - whatever it was, the client is told that it was ours
            reason = "internal error"
            log.failure(
                "an exchange failed in a way nobody foresaw ({correlation_id})", correlation_id=request.correlation_id
            )
            sent, status = await self._send(arrival, unforeseen(request))
        if sent.error is not None:
            return sent, "aborted", journal.describe(sent.error)
        return sent, _outcome(status), reason

    async def _send(self, arrival: Arrival, reply: Reply) -> tuple[Sent, int]:
        """Send a reply in the form that the client asks for; return how that went, and the status."""
        wanted = arrival.origin.headers
        if common := [one for one in arrival.request.common_headers if one not in reply.headers]:
            reply = replace(reply, headers=(*reply.headers, *common))
        reply = compressed(reply, wanted.get("accept-encoding", ""), self._clock)
        if arrival.origin.method in ("GET", "HEAD"):
            reply = not_modified(reply, wanted.get("if-none-match", ""))
        arrival.client.is_anothers = reply.of_web_server
        sent = await send(
            arrival.client,
            reply.status,
            reply.headers,
            reply.body,
            clock=self._clock,
            write_timeout=self._write_timeout,
        )
        return sent, reply.status


@implementer(IResource)
class EveryPath(Resource):
    """Takes in every request below an endpoint's prefix, whatever its path."""

    isLeaf = True

    def __init__(self, endpoint: EndpointOverHTTP) -> None:
        super().__init__()
        self._endpoint = endpoint

    def render(self, http_request: Any) -> int:
        """Begin, unless the request makes no sense."""
        endpoint = self._endpoint
        http_request.postpath = [segment for segment in http_request.postpath if segment]
        host = authority(http_request)
        arrival = endpoint.arrived(http_request, host)
        fault = endpoint.fault_of(http_request, host)
        endpoint.begin(arrival, errors.BadRequest(fault) if fault else endpoint.settled(arrival))
        return NOT_DONE_YET


def _outcome(status: int) -> str:
    """Return the journal's word for a reply that went out whole."""
    if status >= 500:
        return "failed"
    if status >= 400:
        return "refused"
    return "not_modified" if status == 304 else "complete"
