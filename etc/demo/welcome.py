"""What `make run` prints first: the lines to try, with values that the sample studies have."""

from harmonygw.backends.storage.samples import (
    PHANTOM_PATIENT_ID,
    PHANTOM_SERIES_INSTANCE_UID,
    PHANTOM_STUDY_INSTANCE_UID,
)

STUDIES = "http://localhost:8081/dicom/studies"
STUDY = f"{STUDIES}/{PHANTOM_STUDY_INSTANCE_UID}"
SERIES = f"{STUDY}/series/{PHANTOM_SERIES_INSTANCE_UID}"


def lines() -> str:
    """Return the lines, ready to be pasted into a shell."""
    return f"""\
harmonygw: DICOMweb on http://localhost:8081/dicom, a PACS behind it on 127.0.0.1:11112 (DEMOPACS).
The first start makes sample studies, which takes a few seconds; "ready" says when. Then, in another shell:

# Query for studies by patient ID
curl "{STUDIES}?PatientID={PHANTOM_PATIENT_ID}" \\
  -H "Accept: application/dicom+json"

# Query for studies by date range
curl "{STUDIES}?StudyDate=20250101-20251231" \\
  -H "Accept: application/dicom+json"

# Query for specific series within a study
curl "{STUDY}/series" \\
  -H "Accept: application/dicom+json"

# List all instances of a series
curl "{SERIES}/instances" \\
  -H "Accept: application/dicom+json"
"""


if __name__ == "__main__":
    print(lines())
