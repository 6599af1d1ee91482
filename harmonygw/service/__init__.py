"""Configuration -> a running gateway.

`Gateway` is a Twisted service. Add it to any application; it takes the reactor it is given, installs none, and
touches nothing global.
"""

from harmonygw.service.gateway import Gateway
from harmonygw.service.house import available

__all__ = ["Gateway", "available"]
