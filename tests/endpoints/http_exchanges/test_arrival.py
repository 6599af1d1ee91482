"""A request in the words of a pipeline; the rest of it is tested through the DICOMweb endpoint."""

from types import SimpleNamespace
from typing import Any

import pytest

from harmonygw.endpoints.http_exchanges.arrival import fault_of


def request_of(path: bytes = b"/a", query: bytes = b"") -> Any:
    return SimpleNamespace(uri=path + b"?" + query, postpath=[path.strip(b"/")])


@pytest.mark.parametrize(
    ("request_", "host", "public_url", "fault"),
    [
        (request_of(), "h", None, ""),
        (request_of(query=b"a=%C3%BC"), "h", None, ""),
        (request_of(query=b"a=%FF"), "h", None, "UTF-8"),
        (request_of(query=b"a=\xff"), "h", None, "UTF-8"),
        (request_of(path=b"/\xff"), "h", None, "UTF-8"),
        (request_of(), "", None, "Host"),
        (request_of(), "", "https://a/b", ""),
    ],
)
def test_what_cannot_be_understood_is_said(request_: Any, host: str, public_url: str | None, fault: str) -> None:
    said = fault_of(request_, host, public_url)
    assert fault in said
    assert bool(said) == bool(fault)
