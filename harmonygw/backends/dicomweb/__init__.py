"""The `dicomweb` backend: a DICOMweb server, to which requests are passed on."""

from harmonygw.backends.dicomweb.backend import DICOMwebBackend

__all__ = ["DICOMwebBackend"]
