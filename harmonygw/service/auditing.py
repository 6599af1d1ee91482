"""The audit trail that a configuration asks for."""

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
        ae_titles=titles_of(configuration),
        fail_closed=settings.fail_closed,
    )


def titles_of(configuration: Configuration) -> tuple[str, ...]:
    """Return our AE titles, each once."""
    parts: list[Any] = [*configuration.endpoints.values(), *configuration.backends.values()]
    titles = (getattr(part.options, "local_aet", "") for part in parts)
    return tuple(dict.fromkeys(title for title in titles if title))
