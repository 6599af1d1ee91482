"""Where scopes of SMART App Launch can be gone by: at endpoints whose paths say what is asked, those of DICOMweb."""

from collections.abc import Iterable, Mapping

from harmonygw.config.listening import HTTP_SERVICES
from harmonygw.config.model import Endpoint, MiddlewareSettings, Pipeline
from harmonygw.config.reading import Document
from harmonygw.config.system import Authentication
from harmonygw.config.tokens import TokenOptions

SENTENCE = '"scopes" = "smart" is for endpoints of service "dicomweb", and this one\'s is "{}"'


def report_unscoped(
    pipelines: Iterable[Pipeline],
    endpoints: Mapping[str, Endpoint],
    middleware: Mapping[str, MiddlewareSettings],
    authentications: Mapping[str, Authentication],
    document: Document,
) -> None:
    """Report every other HTTP endpoint that asks for them, or whose pipeline does.

    What such an endpoint's paths mean is known to whoever answers them: the first segment of one may be all studies.
    """

    def is_scoped(options: object, authentication: str | None) -> bool:
        table = authentications.get(authentication or "")
        counting = options if table is None else table.options
        return isinstance(counting, TokenOptions) and counting.scopes != "none"

    for pipeline in pipelines:
        steps = (middleware[name] for name in pipeline.middleware_names if name in middleware)
        all_scoped = any(is_scoped(step.options, step.authentication) for step in steps)
        for endpoint in (endpoints[name] for name in pipeline.endpoints if name in endpoints):
            of_http = endpoint.service in HTTP_SERVICES and endpoint.service != "dicomweb"
            if of_http and (all_scoped or is_scoped(None, endpoint.authentication)):
                document.report(("endpoints", endpoint.name), SENTENCE.format(endpoint.service))
