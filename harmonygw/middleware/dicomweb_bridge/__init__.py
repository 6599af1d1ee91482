"""The `dicomweb_bridge` middleware: an HTTP request becomes an operation, and its result an HTTP reply (PS3.18)."""

from harmonygw.middleware.dicomweb_bridge.bridge import DICOMwebBridge

__all__ = ["DICOMwebBridge"]
