"""The backend itself: one server, to which requests are passed on as they stream, and its responses back."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import h11
from twisted.internet.endpoints import wrapClientTLS
from twisted.logger import Logger
from zope.interface import implementer

from harmonygw.backends.http import forwarding
from harmonygw.config.backend_options import HTTPBackendOptions, WebServerOptions
from harmonygw.config.model import Backend, is_loopback
from harmonygw.errors import ConfigurationError, HarmonyError
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.net.connecting import target_endpoint
from harmonygw.net.http.client.client import Answer, Client
from harmonygw.net.http.client.limits import ClientLimits
from harmonygw.net.http.client.passing import FRAMING, HOP_BY_HOP
from harmonygw.net.http.client.urls import BaseURL
from harmonygw.net.http.credentials import Credentials, credentials
from harmonygw.net.http.fields import Fields, value_of
from harmonygw.net.tls import client_options
from harmonygw.pipeline import Context, IBackend

log = Logger()

OPERATION = "Pass on"
"""What the log calls an exchange that no middleware has named."""


@implementer(IBackend)
class HTTPBackend:
    """A web server: what a request asks is asked of it, below its base URL and nowhere else."""

    answers_any_path = True
    """Which paths there are is for the server to say."""

    def __init__(self, context: Context) -> None:
        settings: Backend = context.settings
        options: WebServerOptions = context.options
        self._name = context.name
        self._target = settings.target or context.name
        self._options = options
        self._method = options.method if isinstance(options, HTTPBackendOptions) else None
        if "@" in urlsplit(settings.base_url).netloc:
            raise ConfigurationError((f"backends.{context.name}: a user in a URL is not sent; give an authentication",))
        self.base = BaseURL.of(settings.base_url)
        name = settings.authentication or ""
        own = credentials(name, context.configuration.authentications.get(name))
        self._own_credentials = own.any
        self._set_fields = (*_checked(context.name, options), *own.fields)
        self._host = value_of(self._set_fields, "host")
        self._exposed = bool(own.fields) and not settings.use_tls and not is_loopback(settings.host)
        self._client = Client(_endpoint(context, settings, options, own), context.reactor, _limits(settings, options))

    # The backend's life

    @staticmethod
    def foundation(context: Context) -> object:
        """Return what a backend is built from; None where that is in files too, which are read again."""
        settings = context.settings
        if settings.use_tls:
            return None
        return settings, context.configuration.authentications.get(settings.authentication or "")

    def start(self) -> None:
        """Say what should not be as it is; connections are made when they are needed."""
        if self._exposed:
            log.warn("{backend} sends its credentials to the server without TLS", backend=f"backends.{self._name}")

    def stop(self) -> None:
        """Break off what is under way."""
        self._client.stop()

    def state(self) -> dict[str, object]:
        """Describe the server."""
        return {"target": self._target, "base_url": str(self.base), **self._client.state()}

    # One exchange

    async def respond(self, request: Request) -> Reply:
        """Pass a request on, and reply as the server does."""
        record, origin = request.record, request.origin
        record.target = self._name
        record.operation = record.operation or OPERATION
        if not isinstance(origin, HTTPOrigin):
            raise ConfigurationError(("no middleware has made an HTTP request of the DICOM operation",))
        try:
            return await self._pass_on(request, origin)
        except HarmonyError as error:
            raise self._named(error) from error.__cause__

    async def _pass_on(self, request: Request, origin: HTTPOrigin) -> Reply:
        pass_credentials = self._options.pass_credentials and request.principal is None and not self._own_credentials
        outgoing = forwarding.outgoing(
            request,
            self.asking(origin),
            self.base,
            self._set_fields,
            method=self._method,
            pass_credentials=pass_credentials,
        )
        answer = await self._client.send(outgoing, request.record.note, request.deadline)
        try:
            forwarding.check_status(answer.status, own_credentials=self._own_credentials)
            fields = forwarding.incoming(
                answer.fields, self.urls(origin), origin.base_url, pass_credentials=pass_credentials
            )
        except HarmonyError as error:
            if answer.body is not None:
                await answer.body.abort(error)
            raise
        if answer.body is not None:
            answer.body.when_done().addCallbacks(lambda _: _note_end(answer, request), lambda _: None)
        else:
            fields = (*fields, *_length(answer))
        return self.answered(Reply(answer.status, fields, answer.body), origin)

    def urls(self, origin: HTTPOrigin) -> tuple[str, ...]:
        """Return the URLs that the server may have for itself in its answer to `origin`."""
        return forwarding.urls_of(self.base, self._host, self.asking(origin).base_url)

    # What a server of a special kind needs

    def asking(self, origin: HTTPOrigin) -> HTTPOrigin:
        """Return what the server is asked in the place of `origin`."""
        return origin

    def answered(self, reply: Reply, origin: HTTPOrigin) -> Reply:
        """Return what is replied in the place of what the server said."""
        return replace(reply, of_web_server=True)

    def _named(self, error: HarmonyError) -> HarmonyError:
        """Let the operator see which server it was; clients are told the backend's name alone."""
        error.log_detail = ", ".join(filter(None, (error.log_detail, f"backend {self._name} at {self.base}")))
        return error


def _note_end(answer: Answer, request: Request) -> None:
    if answer.response.ended_by_close:
        request.record.note("the server ended its response by closing: whether that was all of it, nobody can tell")


def _length(answer: Answer) -> Fields:
    """Return the Content-Length of a response without a body: to HEAD, what GET would have had."""
    fields = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in answer.fields)
    length = value_of(fields, "content-length")
    return (("Content-Length", length),) if length and answer.status != 204 else ()


def _limits(settings: Backend, options: WebServerOptions) -> ClientLimits:
    return ClientLimits(
        connect_secs=options.connect_timeout_secs,
        answer_secs=settings.timeout_secs,
        silence_secs=options.silence_timeout_secs,
        max_connections=options.max_connections,
        idle_secs=options.idle_connection_secs,
        queue_secs=options.queue_timeout_secs,
        max_retries=settings.max_retries,
    )


def _endpoint(context: Context, settings: Backend, options: WebServerOptions, own: Credentials) -> Any:
    endpoint = target_endpoint(context.reactor, settings.host, settings.port, options.connect_timeout_secs)
    if not settings.use_tls:
        if own.cert_path:
            raise ConfigurationError((f"backends.{context.name}: mutual_tls needs protocol https",))
        return endpoint
    return wrapClientTLS(client_options(settings.host, settings.ca_cert_path, own.cert_path, own.key_path), endpoint)


def _checked(backend: str, options: WebServerOptions) -> Fields:
    """Return the header fields that are set; raises `ConfigurationError` for those that cannot be."""
    for name, value in options.headers.items():
        place = f'backends.{backend}.options.headers: "{name}"'
        if name.lower() in (HOP_BY_HOP | FRAMING) - {"host"}:
            raise ConfigurationError((f"{place} is made by the gateway itself",))
        try:
            h11.Request(method="GET", target="/", headers=[("Host", "h"), (name, value)][name.lower() == "host" :])
        except (h11.LocalProtocolError, UnicodeEncodeError) as error:
            raise ConfigurationError((f"{place} is no header field: {error}",)) from error
    return tuple(options.headers.items())
