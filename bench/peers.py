"""What the gateway is measured beside: Orthanc, dcmqrscp, the synthetic source, and the relay.

Each is started when it is first asked for, on a free loopback port, in a temporary folder, and so is each filling.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from bench import synthetic
from bench.processes import NO_DELAY, Process, free_port, module

STORE_SECS = 300.0
"""Seconds that filling an archive may take."""

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Orthanc's own DICOMweb, of Debian's orthanc-dicomweb."""


class Archive:
    """A PACS: where it is, and what has been put into it."""

    def __init__(self, folder: Path, ae_title: str, port: int, start: Callable[[Path, int], Process]) -> None:
        folder.mkdir()
        self.ae_title = ae_title
        self.port = port
        self._folder = folder
        self._start = start
        self._stored: set[str] = set()

    @cached_property
    def process(self) -> Process:
        process = self._start(self._folder, self.port)
        process.wait_for_port(self.port)
        return process

    def empty(self) -> None:
        """Start it anew with nothing in it, where it was."""
        self.process.end()
        del self.process
        shutil.rmtree(self._folder / "database")
        self._stored.clear()
        self.process.check()

    def holds(self, write: Callable[[Path], Iterator[Path]], *, proposing: str = "-x=") -> "Archive":
        """Put a filling of `objects` into it, unless it is there; `proposing` is `storescu`'s option."""
        self.process.check()
        if write.__name__ not in self._stored:
            self._stored.add(write.__name__)
            files = self._folder / write.__name__
            files.mkdir()
            for _ in write(files):
                pass
            command = ["storescu", "-R", proposing, "-pdu", "131072", "-aec", self.ae_title, "+sd", "+r"]
            subprocess.run(
                [*command, "127.0.0.1", str(self.port), str(files)],
                env=NO_DELAY,
                check=True,
                capture_output=True,
                timeout=STORE_SECS,
            )
            shutil.rmtree(files)
        return self


class Peers:
    """All of them. Close it at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.orthanc = Archive(folder / "orthanc", "ORTHANC", free_port(), self._orthanc)
        self.orthanc_http_port = free_port()
        self.dcmqrscp = Archive(folder / "dcmqrscp", "QRSCP", free_port(), _dcmqrscp)

    @cached_property
    def _synthetic(self) -> Process:
        return module("bench.synthetic", log=self.folder / "synthetic.log")

    @cached_property
    def synthetic_port(self) -> int:
        return self._synthetic.announced_port()

    @cached_property
    def _relay(self) -> Process:
        return module("bench.relay", str(self.synthetic_port), log=self.folder / "relay.log")

    @cached_property
    def relay_port(self) -> int:
        return self._relay.announced_port()

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """AE title and port of each PACS, by the name that the gateway knows it by."""
        return {
            "orthanc": (self.orthanc.ae_title, self.orthanc.port),
            "dcmqrscp": (self.dcmqrscp.ae_title, self.dcmqrscp.port),
            "synthetic": (synthetic.AE_TITLE, self.synthetic_port),
        }

    def _orthanc(self, folder: Path, port: int) -> Process:
        configuration = folder / "orthanc.json"
        settings = {
            "StorageDirectory": str(folder / "database"),
            "IndexDirectory": str(folder / "database"),
            "HttpPort": self.orthanc_http_port,
            "HttpServerEnabled": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomPort": port,
            "DicomAet": "ORTHANC",
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowFind": True,
            "Plugins": [str(path) for path in (DICOMWEB_PLUGIN,) if path.exists()],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        configuration.write_text(json.dumps(settings))
        return Process(["Orthanc", str(configuration)], log=folder / "log")

    def close(self) -> None:
        """End what has been started."""
        for owner, name in (
            (self, "_relay"),
            (self, "_synthetic"),
            (self.orthanc, "process"),
            (self.dcmqrscp, "process"),
        ):
            if name in vars(owner):
                getattr(owner, name).end()


def _dcmqrscp(folder: Path, port: int) -> Process:
    database = folder / "database"
    database.mkdir()
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {database} RW (500, 2047mb) ANY\nAETable END\n"
    )
    return Process(["dcmqrscp", "-c", str(configuration)], log=folder / "log")
