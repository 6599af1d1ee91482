"""The `dicom_scu` backend: operations to a PACS over DIMSE."""

from harmonygw.backends.dicom_scu.backend import DicomSCU

__all__ = ["DicomSCU"]
