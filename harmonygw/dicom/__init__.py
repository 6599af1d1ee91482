"""The DICOM standard without IO: bytes and the time in, events and bytes out."""
