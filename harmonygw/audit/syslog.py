"""A message of the audit trail as syslog carries it (RFC 5424), and how messages follow one another over TLS.

PS3.15 §A.6 and §A.7 have the XML in MSG, facility 10, mostly severity 5, and a MSGID.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

NOTICE: Final = 5
"""The severity of most messages (PS3.15 §A.6)."""

WARNING: Final = 4
"""The severity of what the detail of a message makes worse than that (PS3.15 §A.6)."""

MSGID: Final = "DICOM+RFC3881"
"""The MSGID of messages of this profile (PS3.15 §A.6)."""

BOM: Final = b"\xef\xbb\xbf"
"""What MSG begins with when it is UTF-8 (RFC 5424 §6.4)."""

APP_NAME: Final = "harmonygw"

MAX_HOSTNAME: Final = 255
MAX_APP_NAME: Final = 48
MAX_PROCID: Final = 128
"""Characters of a header field (RFC 5424 §6)."""

NILVALUE: Final = "-"

_LINE_ENDS = re.compile(rb"[\r\n]+")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: what stands in the header of each message."""

    facility: int
    """0 to 23 (RFC 5424 §6.2.1)."""
    hostname: str
    procid: str
    app_name: str = APP_NAME

    def message(self, xml: bytes, severity: int, time: float) -> bytes:
        """Return a syslog message without structured data; `severity` is 0 to 7, `time` in seconds since 1970.

        What ends a line is a space in it: an XML parser takes the one for the other outside of texts, a message stays
        one line in a file, and some collectors take a message to end there.
        """
        stamp = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        header = " ".join(
            (
                f"<{self.facility * 8 + severity}>1",
                stamp,
                header_field(self.hostname, MAX_HOSTNAME),
                header_field(self.app_name, MAX_APP_NAME),
                header_field(self.procid, MAX_PROCID),
                MSGID,
                NILVALUE,
            )
        )
        return b"%b %b%b" % (header.encode("ascii"), BOM, _LINE_ENDS.sub(b" ", xml.removeprefix(BOM).strip()))

    @property
    def overhead(self) -> int:
        """Bytes of a message beyond its XML at most."""
        return len(self.message(b"", 7, 0.0))


def header_field(text: str, limit: int) -> str:
    """Return a text as a header field may have it: PRINTUSASCII, not longer than `limit`, `-` when it is empty."""
    return re.sub(r"[^!-~]", "_", text[:limit]) or NILVALUE


def framed(messages: Iterable[bytes]) -> bytes:
    """Return messages one after the other, each behind its length (octet counting, RFC 5425 §4.3)."""
    return b"".join([b"%d %b" % (len(message), message) for message in messages])
