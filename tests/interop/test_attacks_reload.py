"""Who is shut out by a reload is out, also by what he has open."""

import time
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from tests.interop.embedded import image, part10
from tests.interop.embedded_objects import FIND
from tests.interop.processes import ROOT, free_port, running, send_files
from tests.service import twistd

pytestmark = pytest.mark.interop

CONFIGURATION = """
[proxy]
id = "shutting-out"
drain_timeout_secs = 0
[network.default.http]
bind_address = "127.0.0.1"
bind_port = 0
[pipelines.dimse]
networks = ["default"]
endpoints = ["scp"]
middleware = ["guard"]
backends = ["archive"]
[endpoints.scp]
service = "dicom_scp"
[endpoints.scp.options]
local_aet = "HARMONY"
bind_addr = "127.0.0.1"
port = PORT
enable_find = true
enable_store = true
[middleware.guard]
type = "policies"
options = { policies = ["known"] }
[policies.known]
rules = ["shut_out"]
[rules.shut_out]
type = "aet_deny"
weight = 1
options = { ae_titles = ["NOBODY"] }
[backends.archive]
service = "storage"
options = { root = "ROOT" }
"""

TABLE = '[authorizations.who]\nae_titles = ["INTRUDER"]\nkeys = { PatientID = ["P2"] }\n'


@pytest.mark.parametrize("revoked", ["by a policy", "by an authorization"])
def test_an_open_association_is_held_to_what_is_in_force(tmp_path: Path, revoked: str) -> None:
    port = free_port()
    text = CONFIGURATION.replace("PORT", str(port)).replace("ROOT", str(tmp_path / "archive"))
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    arguments = twistd.command("-n", "--pidfile=", "harmonygw", "-c", str(path))
    with running(arguments, port, log=tmp_path / "gateway.log", cwd=ROOT) as process:
        send_files([part10(image(1), tmp_path / "1.dcm")], port, "HARMONY")
        entity = AE("INTRUDER")
        entity.add_requested_context(FIND)
        association = entity.associate("127.0.0.1", port, ae_title="HARMONY")
        assert association.is_established

        def found() -> list[int]:
            query = Dataset()
            query.QueryRetrieveLevel, query.PatientID, query.StudyInstanceUID = "STUDY", "", ""
            return [status.Status for status, _ in association.send_c_find(query, FIND)]

        assert found() == [0xFF00, 0]
        path.write_text(text.replace("NOBODY", "INTRUDER") if revoked == "by a policy" else text + TABLE)
        process.send_signal(1)
        deadline = time.monotonic() + 20
        while "was read again" not in (tmp_path / "gateway.log").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert found() == ([0x0124] if revoked == "by a policy" else [0])
        association.release()
