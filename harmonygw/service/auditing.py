"""The audit trail that a configuration asks for."""

from collections.abc import Iterator
from typing import Any

from harmonygw.audit.delivery import Delivery
from harmonygw.audit.trail import Repository, Trail
from harmonygw.config.model import Configuration
from harmonygw.dicom.audit.message import AuditSourceIdentification


def trail_of(configuration: Configuration, reactor: Any, repository: Repository | None = None) -> Trail | None:
    """Return the audit trail, not yet begun; None without one. `repository` stands in for what the table says.

    Raises `ConfigurationError`.
    """
    settings = configuration.audit
    if repository is None and not settings.enabled:
        return None
    return Trail(
        repository or Delivery(settings, reactor),
        reactor,
        source=AuditSourceIdentification(settings.source_id, settings.enterprise_site_id),
        ae_titles=tuple(dict.fromkeys(_titles(configuration))),
        fail_closed=settings.fail_closed,
    )


def _titles(configuration: Configuration) -> Iterator[str]:
    """Yield our AE titles."""
    parts: list[Any] = [*configuration.endpoints.values(), *configuration.backends.values()]
    for part in parts:
        title = getattr(part.options, "local_aet", "")
        if title:
            yield title
