"""The systemd unit: that it fits what twistd does, and how little it lets the process do."""

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from harmonygw.config.system import Proxy
from harmonygw.service.gateway import ENDING_SECS
from harmonygw.tap import Options

UNIT = Path(__file__).parents[1] / "etc" / "systemd" / "harmonygw.service"
LINES = UNIT.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string("\n".join(LINES))
    return parser


def test_it_runs_twistd_in_the_foreground_with_options_that_we_have(unit: ConfigParser) -> None:
    program, *arguments = unit["Service"]["ExecStart"].split()
    assert Path(program).name == "twistd"
    assert arguments[:3] == ["-n", "--pidfile=", "harmonygw"]
    options = Options()
    options.parseOptions(arguments[3:])
    assert options["config"] == "/etc/harmonygw/config.toml"


def test_it_waits_for_ready_and_starts_again_after_a_failure(unit: ConfigParser) -> None:
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"
    assert service["SuccessExitStatus"] == "143"
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_a_stop_has_time_to_drain(unit: ConfigParser) -> None:
    defaults = Proxy()
    drained = defaults.drain_delay_secs + defaults.drain_timeout_secs + 2 * ENDING_SECS
    assert int(unit["Service"]["TimeoutStopSec"]) > drained


def test_it_works_where_it_may_write_and_as_nobody_in_particular(unit: ConfigParser) -> None:
    service = unit["Service"]
    assert service["User"] not in {"", "root"}
    assert service["WorkingDirectory"] == f"%S/{service['StateDirectory']}"
    assert service["LogsDirectory"] == "harmonygw"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == ""
    assert service["NoNewPrivileges"] == "yes"


def test_it_leaves_what_we_need() -> None:
    stated = {line.partition("=")[0] for line in LINES if re.match(r"[A-Z]\w+=", line)}
    assert "MemoryDenyWriteExecute" not in stated
    assert "PrivateNetwork" not in stated
    filters = [line for line in LINES if line.startswith("SystemCallFilter=")]
    assert filters == ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged"]
    (families,) = [line for line in LINES if line.startswith("RestrictAddressFamilies=")]
    assert families.split("=")[1].split() == ["AF_INET", "AF_INET6", "AF_UNIX"]  # the last one to tell systemd


if shutil.which("systemd-analyze"):

    def test_its_exposure_is_two_at_most() -> None:
        command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(UNIT)]
        analysed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert analysed.returncode == 0, analysed.stdout + analysed.stderr
