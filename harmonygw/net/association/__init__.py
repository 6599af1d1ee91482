"""The DICOM upper layer on Twisted transports: SCU, SCP and the association pool."""
