"""Make harmonygw the server of 3D Slicer's DICOMweb browser: to be pasted into Slicer's Python console.

Needs the extension DICOMwebBrowser. The address stays in Slicer's settings.
"""

import qt
import slicer

SERVICE = "http://127.0.0.1:8081/dicom"
"""The URL of the DICOMweb service."""

settings = qt.QSettings()
history = [url for url in settings.value("DICOMwebBrowser/ServerURLHistory", []) or [] if url != SERVICE]
settings.setValue("DICOMwebBrowser/ServerURLHistory", [SERVICE, *history][:10])
settings.setValue("DICOMwebBrowser/ServerURL", SERVICE)
slicer.util.selectModule("DICOMwebBrowser")
