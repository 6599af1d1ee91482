"""The audit trail that a configuration asks for."""

from collections.abc import Iterator
from typing import Any, Final

from harmonygw.audit.trail import Delivery, Trail
from harmonygw.config.model import Configuration
from harmonygw.dicom.audit.message import AuditSourceIdentification
from harmonygw.pipeline import load

DELIVERY: Final = "harmonygw.audit.delivery:Delivery"
"""What takes messages to where the `audit` table says; called with that and the reactor."""


def trail_of(configuration: Configuration, reactor: Any, delivery: Delivery | None = None) -> Trail | None:
    """Return the audit trail, not yet begun; None without one. `delivery` stands in for what the table says.

    Raises `ConfigurationError`.
    """
    settings: Any = getattr(configuration, "audit", None)
    if delivery is None and not (settings is not None and settings.enabled):
        return None
    if delivery is None:
        delivery = load(DELIVERY)(settings, reactor)
    name = configuration.proxy.id or configuration.proxy.name
    source = AuditSourceIdentification(
        getattr(settings, "source_id", "") or name, getattr(settings, "enterprise_site_id", "")
    )
    return Trail(
        delivery,
        reactor,
        source=source,
        ae_titles=tuple(dict.fromkeys(_titles(configuration))),
        fail_closed=getattr(settings, "fail_closed", False),
    )


def _titles(configuration: Configuration) -> Iterator[str]:
    """Yield our AE titles."""
    parts: list[Any] = [*configuration.endpoints.values(), *configuration.backends.values()]
    for part in parts:
        title = getattr(part.options, "local_aet", "")
        if title:
            yield title
