"""A streaming DICOMweb gateway in front of the PACS you already have."""

__version__ = "0.1.0.dev0"
