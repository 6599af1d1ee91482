"""The gateway as a receiver: a `dicom_scp` endpoint that stores, a `storage` backend behind it, storescu in front."""

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from harmonygw.errors import HarmonyError, TransportError
from harmonygw.streams import Feed, Instance, Pieces
from tests.corpus import CORPUS
from tests.interop.conftest import Tool
from tests.interop.dimse_house import DimseHouse, dimse_house, until
from tests.interop.embedded import CT, EXPLICIT, encoded, image, part10
from tests.interop.test_embedded_pacs import our_association

pytestmark = pytest.mark.interop

STORE = 'enable_store = true\nstorage_dir = "./tmp/dimse"\n'

RECEIVER = """
[backends.archive]
service = "storage"

[backends.archive.options]
root = "{root}"
write_pattern = "{pattern}"
"""

BY_PATIENT = "{PatientID}/{StudyInstanceUID}/{SOPInstanceUID}.dcm"


def receiver(root: Path, pattern: str = BY_PATIENT) -> str:
    return RECEIVER.replace("{root}", str(root)).replace("{pattern}", pattern)


def files_below(root: Path) -> list[str]:
    """Everything below the root but the index: what is under way, too."""
    found = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith(".harmonygw/index"))


async def sent(dcmtk: Tool, house: DimseHouse, *paths: Path) -> str:
    """Send files; return what storescu said."""
    _, said = await dcmtk("storescu", "-v", "-aet", "MODALITY", "-aec", "GATEWAY", "127.0.0.1", house.port, *paths)
    return said


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (BY_PATIENT, [r"P1/1\.2/1\.2\.3\.1\.dcm", r"P1/1\.2/1\.2\.3\.2\.dcm"]),
        ("{uuid}.dcm", [r"[0-9a-f-]{36}\.dcm"] * 2),
        ("in/{timestamp}-{Modality}.dcm", [r"in/\d{8}T\d{6}\.\d{6}Z-CT\.dcm"] * 2),
        ("{file}", [r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{64}\.dcm"] * 2),
        ("all/{file}", [r"all/[0-9a-f]{64}\.dcm"] * 2),
    ],
)
@ensureDeferred
async def test_what_a_modality_sends_lies_where_the_pattern_says(
    tmp_path: Path, dcmtk: Tool, pattern: str, names: list[str]
) -> None:
    root = tmp_path / "received"
    images = [image(number) for number in (1, 2)]
    paths = [part10(one, tmp_path / f"{one.SOPInstanceUID}.dcm") for one in images]
    async with dimse_house(tmp_path, receiver(root, pattern), options=STORE) as house:
        said = await sent(dcmtk, house, *paths)
    assert said.count("Received Store Response (Success)") == 2, said
    found = files_below(root)
    assert len(found) == 2
    assert all(re.fullmatch(expected, name) for expected, name in zip(names, found, strict=True)), found
    kept = {str(one.SOPInstanceUID): one for one in (dcmread(root / name) for name in found)}
    assert all(encoded(kept[str(one.SOPInstanceUID)]) == encoded(one) for one in images)
    assert {one.file_meta.SendingApplicationEntityTitle for one in kept.values()} == {"MODALITY"}
    assert [line["outcome"] for line in house.of("C-STORE")] == ["complete"] * 2


@ensureDeferred
async def test_hostile_values_stay_below_the_root(tmp_path: Path, dcmtk: Tool) -> None:
    root = tmp_path / "received"
    paths = [
        part10(image(number, PatientID=value), tmp_path / f"{number}.dcm")
        for number, value in enumerate(("../../evil", "/etc", "..", ".ssh", "a" * 64, "CON", "-rf", "~", "%2e%2e"), 1)
    ]
    async with dimse_house(tmp_path, receiver(root), options=STORE) as house:
        said = await sent(dcmtk, house, *paths)
    assert said.count("Received Store Response (Success)") == len(paths), said
    found = files_below(root)
    assert len(found) == len(paths)
    assert not any(part.startswith(".") for name in found for part in name.split("/"))
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"received"}


@ensureDeferred
async def test_an_instance_may_come_again_but_not_under_another_patients_name(tmp_path: Path, dcmtk: Tool) -> None:
    root = tmp_path / "received"
    first = part10(image(1), tmp_path / "first.dcm")
    corrected = part10(image(1, PatientName="Doe^Janet"), tmp_path / "corrected.dcm")
    foreign = part10(image(1, PatientID="P2"), tmp_path / "foreign.dcm")
    async with dimse_house(tmp_path, receiver(root), options=STORE) as house:
        said = await sent(dcmtk, house, first, first)
        assert said.count("Received Store Response (Success)") == 2, said
        assert files_below(root) == ["P1/1.2/1.2.3.1.dcm"]
        await sent(dcmtk, house, corrected)
        [name] = files_below(root)
        assert dcmread(root / name).PatientName == "Doe^Janet"
        await sent(dcmtk, house, foreign)
    assert [line["dimse_status"] for line in house.of("C-STORE")] == ["0000H", "0000H", "0000H", "0111H"]
    [name] = files_below(root)
    assert dcmread(root / name).PatientID == "P1"


@ensureDeferred
async def test_the_same_files_on_many_associations_at_once_lie_there_once(tmp_path: Path, dcmtk: Tool) -> None:
    root = tmp_path / "received"
    paths = [part10(image(number), tmp_path / f"{number}.dcm") for number in range(1, 9)]
    async with dimse_house(tmp_path, receiver(root), options=STORE) as house:
        said = await gatherResults([Deferred.fromCoroutine(sent(dcmtk, house, *paths)) for _ in range(4)])
    assert [one.count("Received Store Response (Success)") for one in said] == [8] * 4
    assert len(files_below(root)) == 8


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Let this process write no file longer than this: what a full disk is to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@ensureDeferred
async def test_a_disk_that_takes_no_more_is_said_and_nothing_is_left(tmp_path: Path, dcmtk: Tool) -> None:
    root = tmp_path / "received"
    small = part10(image(1), tmp_path / "small.dcm")
    large = part10(image(2, Rows=2048, Columns=1024, PixelData=bytes(4 << 20)), tmp_path / "large.dcm")
    async with dimse_house(tmp_path, receiver(root), options=STORE) as house:
        with files_at_most(2 << 20):
            said = await sent(dcmtk, house, large)
            assert "Refused: OutOfResources" in said, said
            assert files_below(root) == []
            assert "Received Store Response (Success)" in await sent(dcmtk, house, small)
        assert "Received Store Response (Success)" in await sent(dcmtk, house, large)
    assert [line["dimse_status"] for line in house.of("C-STORE")] == ["A700H", "0000H", "0000H"]
    assert len(files_below(root)) == 2


@ensureDeferred
async def test_a_sender_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "received"
    whole = encoded(image(1, Rows=2048, Columns=1024, PixelData=bytes(4 << 20)))
    arriving: Feed[Pieces] = Feed(limit=1 << 30)
    for start in range(0, 2 << 20, 1 << 19):
        arriving.put((whole[start : start + (1 << 19)],))
    async with (
        dimse_house(tmp_path, receiver(root), options=STORE) as house,
        our_association(house.port, (CT, EXPLICIT)) as association,
    ):
        storing = Deferred.fromCoroutine(association.store(Instance(CT, "1.2.3.1", EXPLICIT, arriving)))
        await until(lambda: files_below(root) != [])
        arriving.fail(TransportError("the modality was switched off"))
        with pytest.raises(HarmonyError):
            await storing
        await until(lambda: len(house.of("C-STORE")) == 1 and files_below(root) == [])
    assert house.of("C-STORE")[0]["outcome"] == "client_gone"


def objects() -> list[Path]:
    """Real objects of many kinds, as far as storescu sends them."""
    names = ("MR_small.dcm", "test-SR.dcm", "rtplan.dcm", "examples_rgb_color.dcm", "JPEG2000.dcm", "ExplVR_BigEnd.dcm")
    shipped = [Path(str(get_testdata_file(name, download=False))) for name in names]
    return [*shipped, *(sorted(CORPUS.rglob("*.dcm")) if CORPUS is not None else ())]


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
@ensureDeferred
async def test_real_objects_of_every_kind_are_kept_as_they_come(tmp_path: Path, dcmtk: Tool) -> None:
    root = tmp_path / "received"
    stored: set[str] = set()
    async with dimse_house(tmp_path, receiver(root, "{uuid}.dcm"), options=STORE) as house:
        for path in objects():
            for proposal in ("-R", "-xs", "-xv", "-xw", "-xy", "-xi"):
                _, said = await dcmtk("storescu", "-v", "-R", proposal, "127.0.0.1", house.port, path)
                if "Received Store Response (Success)" in said:
                    stored.add(str(dcmread(path, force=True).SOPInstanceUID))
                if "Received Store Response" in said:
                    break
    assert len(stored) >= 6
    assert {line["dimse_status"] for line in house.of("C-STORE")} <= {"0000H", "0111H", "A900H", "C000H"}
    kept = {str(dcmread(root / name).SOPInstanceUID) for name in files_below(root)}
    assert kept == stored
