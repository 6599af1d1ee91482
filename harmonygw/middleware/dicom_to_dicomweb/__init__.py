"""The `dicom_to_dicomweb` middleware: an operation becomes HTTP requests, and their replies its result (PS3.18)."""

from harmonygw.middleware.dicom_to_dicomweb.middleware import DicomToDICOMweb

__all__ = ["DicomToDICOMweb"]
