"""A structured report as a document to read: HTML or plain text (PS3.18 §8.7.4); runs in a worker process.

Nothing of the data set is trusted: text is escaped, and the document says itself that nothing else may be loaded.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, Final

from harmonygw.dicom.dataset.json_encoding import to_json
from harmonygw.errors import NotAcceptable
from harmonygw.rendering.content_tree import CONTAINER, Attributes, ContentItem, content_tree, items, text

HTML: Final = "text/html"
PLAIN: Final = "text/plain"

DEEPEST_HEADING: Final = 6
"""The last level of headings that HTML has; deeper containers keep it."""

_HEADER: Final = (
    ("Patient's Name", "PatientName"),
    ("Patient ID", "PatientID"),
    ("Patient's Birth Date", "PatientBirthDate"),
    ("Patient's Sex", "PatientSex"),
    ("Study Date", "StudyDate"),
    ("Study Description", "StudyDescription"),
    ("Accession Number", "AccessionNumber"),
    ("Institution", "InstitutionName"),
    ("Content Date", "ContentDate"),
    ("Content Time", "ContentTime"),
    ("Completion Flag", "CompletionFlag"),
    ("Verification Flag", "VerificationFlag"),
    ("Preliminary Flag", "PreliminaryFlag"),
)
"""What stands above the content: the attributes' names and keywords (PS3.3 §C.17.2)."""

_OBSERVER: Final = ("VerifyingObserverName", "VerifyingOrganization", "VerificationDateTime")

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = (
    "body{font-family:sans-serif;max-width:60em;margin:1em auto;padding:0 1em;color:#111;background:#fff}"
    "dt{font-weight:bold;float:left;clear:left;width:14em}dd{margin-left:15em}"
    "dd,span{white-space:pre-wrap;overflow-wrap:anywhere}section{margin-left:1em}"
)
_UNTITLED: Final = "Structured Report"

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What no HTML document may have (HTML §13.2.3.5), and no terminal should get."""


def report_job(parameters: dict[str, Any], payload: Sequence[bytes]) -> tuple[dict[str, Any], bytes]:
    """Render a structured report; the one part of `payload` is its whole data set, inflated if it was deflated.

    `parameters` has `transfer_syntax`, a UID; `media_type`, `text/html` or `text/plain`; and `default_character_set`,
    the terms for a data set without one. Returns the `media_type` with its charset, UTF-8, and the document. Raises
    `NotAcceptable` for another media type and an object that is no report, `TooLarge` for one with too many items,
    `PeerError` for a data set that is malformed.
    """
    media_type = parameters["media_type"]
    if media_type not in (HTML, PLAIN):
        raise NotAcceptable(f"structured reports are not rendered as {media_type}")
    terms = tuple(parameters.get("default_character_set") or ("ISO_IR 6",))
    data_set = to_json(payload[0], parameters["transfer_syntax"], default_character_set=terms)
    root = content_tree(data_set)
    lines = _html(data_set, root) if media_type == HTML else _plain(data_set, root)
    document = "\n".join(lines) + "\n"
    return {"media_type": f"{media_type}; charset=utf-8", "ignored": []}, document.encode("utf-8")


def _header(data_set: Attributes) -> Iterator[tuple[str, str]]:
    for label, keyword in _HEADER:
        value = text(data_set, keyword)
        if value:
            yield label, value
    for observer in items(data_set, "VerifyingObserverSequence"):
        said = (text(observer, keyword) for keyword in _OBSERVER)
        yield "Verifying Observer", ", ".join(filter(None, said))


def _html(data_set: Attributes, root: ContentItem) -> Iterator[str]:
    title = _escaped(root.name or _UNTITLED)
    yield "<!DOCTYPE html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield f"<title>{title}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{title}</h1>"
    yield "<dl>"
    for label, value in _header(data_set):
        yield f"<dt>{label}</dt><dd>{_escaped(value)}</dd>"
    yield "</dl>"
    if root.value:
        yield f"<p>{_escaped(root.value)}</p>"
    yield from _html_children(root, 2)
    yield "</body></html>"


def _html_children(parent: ContentItem, level: int) -> Iterator[str]:
    listing = False
    for item in parent.children:
        if (item.value_type != CONTAINER) is not listing:
            listing = not listing
            yield "<ul>" if listing else "</ul>"
        if listing:
            yield f"<li>{_html_item(item)}"
            yield from _html_children(item, level)
            yield "</li>"
        else:
            heading = f"h{min(level, DEEPEST_HEADING)}"
            yield "<section>" + (f"<{heading}>{_escaped(item.name)}</{heading}>" if item.name else "")
            yield from _html_children(item, level + 1)
            yield "</section>"
    if listing:
        yield "</ul>"


def _html_item(item: ContentItem) -> str:
    name = f"<b>{_escaped(item.name)}</b>: " if item.name else ""
    return f"{name}<span>{_escaped(item.value)}</span>"


def _plain(data_set: Attributes, root: ContentItem) -> Iterator[str]:
    yield _printable(root.name or _UNTITLED)
    yield ""
    for label, value in _header(data_set):
        yield f"{label}: {_printable(value)}"
    yield ""
    yield from _plain_items(root.children, 0)


def _plain_items(children: Iterable[ContentItem], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for item in children:
        said = ": ".join(filter(None, (item.name, item.value)))
        for line in _printable(said).splitlines() or [""]:
            yield indent + line
        yield from _plain_items(item.children, depth + 1)


def _printable(value: str) -> str:
    return _CONTROL.sub("\ufffd", value.replace("\r\n", "\n").replace("\r", "\n"))


def _escaped(value: str) -> str:
    return escape(_printable(value))
