"""What a browser is told of each answer: that it is data, nobody else's, and nothing that runs.

Whoever answers may say otherwise: what stands in an answer already is left as it is. What a web server behind the
`http` backend has answered is that server's, and left alone as a whole: an application's pages need what it has said.
"""
# mypy: allow-untyped-calls

from typing import Final

from twisted.web.http_headers import Headers

ALWAYS: Final = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
)
"""No guessing of media types; and no URL, and so no UID, told to another site."""

CACHEABLE: Final = b"private, no-cache"
"""Patient data: no shared cache keeps it, and the client asks again each time, by its entity tag where it has one."""

FAILED: Final = b"no-store"
"""What went wrong is nothing to keep."""

POLICY: Final = b"default-src 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of what is not meant to be looked at in a browser: JSON, DICOM, multipart."""

SHOWN: Final = {
    b"text/html": b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox",
    b"application/pdf": b"default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'",
    b"image": b"default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'",
    b"video": b"default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'",
}
"""That of what is, by media type or its first half: a report has a style of its own; for the others the browser makes a
page around them. Our own origin's viewer may have them in a frame. No script runs in any, and none can be sent to."""


NOT_MODIFIED: Final = 304


def secure(fields: Headers, status: int) -> None:
    """Add to an answer's header what it does not say already.

    Not to 304: what it says takes the place of what the client has kept with the answer (RFC 9111 §3.2), and of which
    media type that is nobody knows here.
    """
    if status == NOT_MODIFIED:
        return
    for name, value in ALWAYS:
        if not fields.hasHeader(name):
            fields.addRawHeader(name, value)
    if not fields.hasHeader(b"cross-origin-resource-policy"):
        fields.addRawHeader(b"Cross-Origin-Resource-Policy", _shown_by(fields))
    if not fields.hasHeader(b"content-security-policy"):
        fields.addRawHeader(b"Content-Security-Policy", _policy(fields))
    if not fields.hasHeader(b"cache-control"):
        fields.addRawHeader(b"Cache-Control", FAILED if status >= 400 else CACHEABLE)


def anonymous(fields: Headers) -> None:
    """Take out of an answer's header what Twisted says of itself."""
    server = fields.getRawHeaders(b"server")
    if server and server[0].startswith(b"TwistedWeb/"):
        fields.removeHeader(b"server")


def transport_security(fields: Headers, max_age_secs: int) -> None:
    """Say for how many seconds this host is to be asked over TLS alone (RFC 6797 §6.1)."""
    fields.setRawHeaders(b"Strict-Transport-Security", [b"max-age=%d" % max_age_secs])


def _shown_by(fields: Headers) -> bytes:
    """Return whose pages may show an answer that they do not read, as by `<img>`: those of our own origin.

    A request for an image alone does not say whose page it is on. Where the `cors` middleware lets some origins read,
    other hosts of our own site may show; where it lets that of the request or any, any.
    """
    if fields.hasHeader(b"access-control-allow-origin"):
        return b"cross-origin"
    vary = b",".join(fields.getRawHeaders(b"vary", [])).lower()
    return b"same-site" if b"origin" in (name.strip() for name in vary.split(b",")) else b"same-origin"


def _policy(fields: Headers) -> bytes:
    media_type = fields.getRawHeaders(b"content-type", [b""])[0].partition(b";")[0].strip().lower()
    return SHOWN.get(media_type) or SHOWN.get(media_type.partition(b"/")[0], POLICY)
