"""DIMSE services as plain HTTP requests with JSON: what an `http` endpoint in front of a `dicom_scu` backend speaks."""

from harmonygw.middleware.dimse_over_http.bridge import DIMSEOverHTTP

__all__ = ["DIMSEOverHTTP"]
