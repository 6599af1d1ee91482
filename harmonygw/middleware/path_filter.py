"""The `path_filter` middleware: 404 for every path but those that are let through."""

from zope.interface import implementer

from harmonygw.config.options import PathFilterRule
from harmonygw.errors import ConfigurationError, NotFound
from harmonygw.exchange import HTTPOrigin, Reply, Request
from harmonygw.middleware.paths import PathPattern, is_ambiguous
from harmonygw.pipeline import Context, IMiddleware, Proceed


@implementer(IMiddleware)
class PathFilter:
    """Raises `NotFound` for a path that the first matching rule denies, or that no rule matches.

    An association has no path, and passes: who may ask what by DIMSE is for policies to say.
    """

    def __init__(self, context: Context) -> None:
        self._rules = [_rule(one, context.name, position) for position, one in enumerate(context.options.rules)]

    async def intercept(self, request: Request, proceed: Proceed) -> Reply:
        """Proceed with a path that is let through."""
        origin = request.origin
        if isinstance(origin, HTTPOrigin) and not self._lets_through(origin.path):
            raise NotFound("There is no such resource.", log_detail="no rule of the path filter lets it through")
        return await proceed(request)

    def _lets_through(self, path: tuple[str, ...]) -> bool:
        if is_ambiguous(path):
            return False
        return next((allows for pattern, allows in self._rules if pattern.matches(path)), False)


def _rule(rule: str | PathFilterRule, name: str, position: int) -> tuple[PathPattern, bool]:
    """Return the pattern of a rule, and whether it lets through; a text does."""
    allowed = rule if isinstance(rule, str) else rule.allow
    denied = "" if isinstance(rule, str) else rule.deny
    try:
        return PathPattern.parse(allowed or denied), not denied
    except ConfigurationError as error:
        raise ConfigurationError((f"middleware.{name}.options.rules.{position}: {error}",)) from None
