from twisted.application.service import ServiceMaker

harmonygw = ServiceMaker(
    "harmonygw",
    "harmonygw.tap",
    "A DICOMweb gateway in front of the PACS you already have.",
    "harmonygw",
)
