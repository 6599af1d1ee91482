"""Who we are to a server: the header fields, or the certificate, that an `authentications` table makes."""

from base64 import b64encode
from dataclasses import dataclass

from harmonygw.config.model import Authentication
from harmonygw.errors import ConfigurationError
from harmonygw.net.http.fields import Fields


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What proves who we are; its representation shows none of it."""

    fields: Fields = ()
    cert_path: str = ""
    key_path: str = ""

    @property
    def any(self) -> bool:
        """Whether there are some."""
        return bool(self.fields or self.cert_path)


def credentials(name: str, authentication: Authentication | None) -> Credentials:
    """Return the credentials of `authentications.<name>`; raises `ConfigurationError` when there are none to show."""
    if authentication is None or authentication.method == "none":
        return Credentials()
    place, options = f"authentications.{name}", authentication.options
    match authentication.method:
        case "basic":
            if not options.username:
                raise ConfigurationError((f"{place}: a server is shown username and password, not a file of users",))
            if ":" in options.username:
                raise ConfigurationError((f"{place}: a username has no colon (RFC 7617 §2)",))
            pair = b64encode(f"{options.username}:{options.password}".encode()).decode("ascii")
            return Credentials(_field(place, "Authorization", f"Basic {pair}"))
        case "bearer":
            return Credentials(_field(place, "Authorization", f"Bearer {options.token}"))
        case "api_key":
            return Credentials(_field(place, options.header, options.token))
        case "mutual_tls":
            if not (options.cert_path and options.key_path):
                raise ConfigurationError((f"{place}: a server is shown what cert_path and key_path in options name",))
            return Credentials(cert_path=options.cert_path, key_path=options.key_path)
        case method:
            raise ConfigurationError(
                (f"{place}: method {method} checks tokens and has none to show; a server takes bearer",)
            )


def _field(place: str, name: str, value: str) -> Fields:
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise ConfigurationError((f"{place}: what is to be sent has characters that no header field has",))
    return ((name, value),)
