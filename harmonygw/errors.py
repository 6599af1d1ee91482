"""The one tree of exceptions, and nothing else.

Every docstring is written for the operator who reads it in a log: what happened, and what to look at. This
module stands on the ground floor and imports nothing, so that every room can raise and catch the same words.
"""


class HarmonyError(Exception):
    """Something went wrong that harmonygw knows how to name; `str()` of it is safe to show to a client.

    `detail` is a sentence for whoever sent the request. What only the operator may read (addresses, AE titles of
    third parties, rule names) goes into `log_detail` and never leaves the log.
    """

    def __init__(self, detail: str, *, log_detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.log_detail = log_detail
        self.members: dict[str, object] = {}
        """Further members of the problem document that tells a client of it over HTTP (RFC 9457 §3.2)."""


class PeerError(HarmonyError):
    """The other side broke the protocol. Look at the peer's version and at a capture of the association.

    `source` and `reason` are those of the A-ABORT that answers it (PS3.8 §9.3.8): source 0 is the service user,
    2 the service provider; reasons 0 to 6 as in Table 9-26.
    """

    def __init__(self, detail: str, *, source: int = 2, reason: int = 0, log_detail: str = "") -> None:
        super().__init__(detail, log_detail=log_detail)
        self.source = source
        self.reason = reason


class RejectedError(HarmonyError):
    """The peer understood and said no: an A-ASSOCIATE-RJ, or a DIMSE failure status.

    Look at the AE titles both sides are configured with, and at the peer's own log. `result`, `source` and
    `reason` are those of the A-ASSOCIATE-RJ (PS3.8 §9.3.4), or None; `status` is the DIMSE status (PS3.7 Annex C), or
    None.
    """

    def __init__(
        self,
        detail: str,
        *,
        result: int | None = None,
        source: int | None = None,
        reason: int | None = None,
        status: int | None = None,
        log_detail: str = "",
    ) -> None:
        super().__init__(detail, log_detail=log_detail)
        self.result = result
        self.source = source
        self.reason = reason
        self.status = status

    @property
    def transient(self) -> bool:
        """Whether asking again later may help: A-ASSOCIATE-RJ with result 2 (PS3.8 Table 9-21)."""
        return self.result == 2


class TransportError(HarmonyError):
    """The connection could not be made, or was lost. Look at the network, the firewall, and whether the peer runs."""


class TimedOut(HarmonyError):
    """The other side did not answer within a configured time. The message names the time-out's key."""


class RequestTimedOut(TimedOut):
    """A client did not send its request in time. Look at its network; the message names the time-out's key."""


class Busy(HarmonyError):
    """A limit of ours is reached: a quota, a queue, a rate. `retry_after` is in seconds, at least 1."""

    def __init__(self, detail: str, *, retry_after: int = 1, log_detail: str = "") -> None:
        super().__init__(detail, log_detail=log_detail)
        self.retry_after = retry_after


class RateLimited(Busy):
    """One client asked too often. Look at the `rate_limit` rule that the log names."""


class Unrecorded(Busy):
    """Nothing can be written to the audit trail: look at the disk of `audit.spool_path`, and at the collector."""


class Denied(HarmonyError):
    """Authentication or a policy refused the request. The log names the rule; the client is not told."""


class InsufficientScope(Denied):
    """The token is good, and its scopes do not allow this. Look at what the issuer grants to this client.

    `challenge` is what a WWW-Authenticate field says of it (RFC 6750 §3.1).
    """

    def __init__(self, detail: str, *, challenge: str = "", log_detail: str = "") -> None:
        super().__init__(detail, log_detail=log_detail)
        self.challenge = challenge


class Unauthenticated(HarmonyError):
    """The request has no credentials, or none that are valid. `challenge` is what a WWW-Authenticate field asks for."""

    def __init__(self, detail: str, *, challenge: str = "", log_detail: str = "") -> None:
        super().__init__(detail, log_detail=log_detail)
        self.challenge = challenge


class NotAcceptable(HarmonyError):
    """Nothing that the client accepts can be made of what the archive holds, or not by this build."""


class NotFound(HarmonyError):
    """There is no such resource, or the archive has nothing under these unique keys."""


class MethodNotAllowed(HarmonyError):
    """The resource does not answer this method. `allowed` are those that it answers."""

    def __init__(self, detail: str, *, allowed: tuple[str, ...] = (), log_detail: str = "") -> None:
        super().__init__(detail, log_detail=log_detail)
        self.allowed = allowed


class RangeNotSatisfiable(HarmonyError):
    """No byte of what was asked for lies in the ranges asked for. `length` is what there is in bytes, or None."""

    def __init__(self, detail: str, *, length: int | None = None, log_detail: str = "") -> None:
        super().__init__(detail, log_detail=log_detail)
        self.length = length


class BadRequest(HarmonyError):
    """The request is malformed; the message says what, where, and what would be right."""


class AmbiguousCredentials(BadRequest):
    """A request brings credentials in two ways at once. `challenge` is what a WWW-Authenticate field says of it."""

    def __init__(self, detail: str, *, challenge: str = "", log_detail: str = "") -> None:
        super().__init__(detail, log_detail=log_detail)
        self.challenge = challenge


class TooLarge(BadRequest):
    """A body, header or object exceeds a limit; the message names the limit's key."""


class UnsupportedMediaType(BadRequest):
    """The request's body has a media type, or a content coding, that is not taken; the message names those that are."""


class Conflict(HarmonyError):
    """The request cannot be answered without guessing which of several things is meant."""


class Incomplete(HarmonyError):
    """A transfer ended before it was whole: some instances are missing. What was sent must not look complete.

    `missing` are SOP Instance UIDs of what did not come, as far as they are known.
    """

    def __init__(self, detail: str, *, missing: tuple[str, ...] = (), log_detail: str = "") -> None:
        super().__init__(detail, log_detail=log_detail)
        self.missing = missing


class RenderingFailed(HarmonyError):
    """A worker process crashed, hung or ran out of memory over a frame. Look at the log, and at the frame."""


class NotReloaded(HarmonyError):
    """The configuration was read again and is wrong: nothing has changed. `members` has every problem."""


class Untransformable(HarmonyError):
    """A JOLT specification cannot be applied to a document. Look at it, and with `debug` at the document."""


class TooMuchWork(Untransformable):
    """A JOLT specification makes more of a document than a transformation may cost. Look for what multiplies."""


class ConfigurationError(HarmonyError):
    """The configuration cannot be used; each of `problems` names file, line, key path and a suggestion."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
