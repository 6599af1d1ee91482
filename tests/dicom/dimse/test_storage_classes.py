from harmonygw.dicom.dimse.storage_classes import STORAGE_CLASSES


def test_every_storage_class_is_there_once() -> None:
    assert len(STORAGE_CLASSES) == len(set(STORAGE_CLASSES)) >= 170
    assert "1.2.840.10008.5.1.4.1.1.2" in STORAGE_CLASSES
    assert "1.2.840.10008.5.1.4.1.1.88.33" in STORAGE_CLASSES


def test_nothing_else_is_there() -> None:
    assert all(uid.startswith("1.2.840.10008.5.1.4.") for uid in STORAGE_CLASSES)
    assert "1.2.840.10008.1.1" not in STORAGE_CLASSES
