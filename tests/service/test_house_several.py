"""Several backends at the end of one pipeline."""

from collections.abc import Callable

import pytest

from harmonygw.pipeline import BACKENDS
from tests.net.http.asking import ask
from tests.service.conftest import Build
from tests.service.parts import web


def test_what_takes_no_operations_is_not_one_of_several(problems: Callable[..., tuple[str, ...]]) -> None:
    several = web().replace('["archive"]', '["archive", "second"]\noptions.strategy = "federate"')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKENDS, "http", "tests.service.parts:Telling")
        assert problems(several, '[backends.second]\nservice = "http"\noptions.base_url = "http://h"') == (
            'pipelines.web: backends: "second" (http) takes no operations, and cannot be one of several',
        )


SEVERAL = web("empty").replace('["archive"]', '["archive", "second"]\noptions.strategy = "federate"')


def test_several_backends_are_one_at_the_end_of_their_pipeline(build: Build) -> None:
    bridge = SEVERAL.replace("backends =", 'middleware = ["dicomweb_bridge"]\nbackends =')
    gateway = build(bridge, '[backends.second]\nservice = "empty"')
    root = gateway.resource("default")
    described = gateway.describe()
    assert described["pipelines"]["web"]["several"] == {
        "target": "archive, second",
        "ready": True,
        "strategy": "federate",
        "sources": {"archive": True, "second": True},
        "studies_remembered": 0,
    }
    assert list(described["targets"]) == ["archive", "second"]
    sources = ask(root, "/dicom", "Accept: application/json").document["sources"]
    assert [one["aeTitle"] for one in sources] == ["archive", "second"]
    assert ask(root, "/dicom/aets/third").status == 404
    assert "sources" not in ask(root, "/dicom/aets/second", "Accept: application/json").document


def test_a_disabled_backend_is_a_missing_one_among_several(build: Build) -> None:
    bridge = SEVERAL.replace("backends =", 'middleware = ["dicomweb_bridge"]\nbackends =')
    gateway = build(
        bridge,
        '[backends.second]\nservice = "dicom_scu"\ntarget_ref = "off"\noptions.aet = "OFF"',
        '[targets.off]\nenabled = false\nconnection.host = "h"\nconnection.port = 104\n',
    )
    found = ask(gateway.resource("default"), "/dicom/studies")
    assert (found.status, found.document) == (200, [])
    assert found.header["warning"] == '299 harmonygw "OFF did not answer; what it holds is missing here."'


def test_a_pipeline_with_one_backend_has_nothing_of_several(build: Build) -> None:
    gateway = build(web())
    assert gateway.describe()["pipelines"]["web"]["several"] is None
    assert ask(gateway.resource("default"), "/dicom/aets/archive/studies").document["path"] == ["studies"]


def test_what_a_policy_forbids_is_forbidden_below_each_archives_name_too(build: Build) -> None:
    guarded = SEVERAL.replace("backends =", 'middleware = ["guard", "dicomweb_bridge"]\nbackends =')
    gateway = build(
        guarded,
        '[backends.second]\nservice = "empty"',
        '[middleware.guard]\ntype = "policies"\noptions.policies = ["closed"]',
        '[policies.closed]\nrules = ["no_series"]',
        '[rules.no_series]\ntype = "path"\noptions = { mode = "deny", paths = ["/series"] }',
    )
    root = gateway.resource("default")
    assert [ask(root, f"/dicom/{path}").status for path in ("series", "aets/second/series")] == [403, 403]
    assert ask(root, "/dicom/aets/second/studies").status == 200
