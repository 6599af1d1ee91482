"""PS3.5, PS3.10 and PS3.18 Annex F: data sets as bytes and as DICOM JSON."""
