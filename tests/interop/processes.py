"""Real peers and the gateway itself as processes of their own, on free loopback ports, ended by process id."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.service import twistd

ROOT = Path(__file__).resolve().parents[2]
NO_DELAY = {**os.environ, "TCP_NODELAY": "1"}
START_SECS = 30


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"{process.args!r} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


@contextmanager
def running(
    arguments: Sequence[str], port: int, *, log: Path, cwd: Path | None = None, **environment: str
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            env={**NO_DELAY, **environment},
        )
        try:
            wait_for_port(port, process)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[int]:
    """An empty Orthanc; gives its DICOM port. Its AE title is ORTHANC; `settings` are more of its own."""
    with _orthanc(folder, **settings) as (port, _):
        yield port


DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@contextmanager
def orthanc_dicomweb(folder: Path) -> Iterator[tuple[int, str]]:
    """An empty Orthanc with its DICOMweb plugin; gives its DICOM port, and the URL of the service."""
    with _orthanc(folder, str(DICOMWEB_PLUGIN)) as (port, http_port):
        yield port, f"http://127.0.0.1:{http_port}/dicom-web"


@contextmanager
def _orthanc(folder: Path, *plugins: str, **settings: Any) -> Iterator[tuple[int, int]]:
    port, http_port = free_port(), free_port()
    configuration = folder / "orthanc.json"
    configuration.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "orthanc"),
                "IndexDirectory": str(folder / "orthanc"),
                "HttpPort": http_port,
                "DicomPort": port,
                "DicomAet": "ORTHANC",
                "RemoteAccessAllowed": False,
                "DicomAlwaysAllowGet": True,
                "DicomAlwaysAllowFind": True,
                "AuthenticationEnabled": False,
                "Plugins": plugins,
                **settings,
            }
        )
    )
    with running(["Orthanc", str(configuration)], port, log=folder / "orthanc.log"):
        yield port, http_port


@contextmanager
def dcmqrscp(folder: Path, move_port: int) -> Iterator[int]:
    """An empty dcmqrscp; gives its port. Its AE title is QRSCP; it moves to HARMONYGW on `move_port`."""
    port = free_port()
    database = folder / "dcmqrscp"
    database.mkdir()
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nhgw = (HARMONYGW, 127.0.0.1, {move_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {database} RW (500, 1024mb) ANY\nAETable END\n"
    )
    with running(["dcmqrscp", "+xs", "-c", str(configuration)], port, log=folder / "dcmqrscp.log"):
        yield port


@contextmanager
def gateway(folder: Path, configuration: str) -> Iterator[str]:
    """The gateway under twistd with one network; `{port}` in the configuration is its port. Gives its root URL."""
    port = free_port()
    path = folder / f"gateway-{port}.toml"
    path.write_text(configuration.replace("{port}", str(port)))
    arguments = twistd.command("-n", "--pidfile=", "harmonygw", "-c", str(path))
    with running(arguments, port, log=folder / f"gateway-{port}.log", cwd=ROOT):
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url)
        yield url


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except urllib.error.HTTPError:
            time.sleep(0.05)
    raise AssertionError("the gateway does not become ready")


def send_files(paths: Sequence[Path], port: int, called_ae_title: str) -> None:
    """Store files with DCMTK's storescu, each as it is."""
    for path in paths:
        for proposal in ([], ["-xs"], ["-xv"], ["-xy"], ["-xw"], ["-xi"]):
            command = ["storescu", "-R", *proposal, "-aec", called_ae_title, "127.0.0.1", str(port), str(path)]
            if subprocess.run(command, env=NO_DELAY, capture_output=True, check=False).returncode == 0:
                break
        else:
            raise AssertionError(f"{path.name} could not be stored")
