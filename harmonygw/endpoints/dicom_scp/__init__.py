"""The `dicom_scp` endpoint: an application entity whose every query, retrieval and storage goes into a pipeline."""

from harmonygw.endpoints.dicom_scp.endpoint import DicomSCPEndpoint

__all__ = ["DicomSCPEndpoint"]
