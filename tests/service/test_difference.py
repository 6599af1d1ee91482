"""What a reload says that has changed."""

from harmonygw.service.difference import difference, needs_restart
from tests.service.conftest import Configure
from tests.service.parts import web


def test_equal_configurations_have_no_difference(configure: Configure) -> None:
    assert difference(configure(web()), configure(web(), "")) == {}


def test_names_are_told_and_tables_without_names(configure: Configure) -> None:
    before = configure(web(), web(pipeline="second", prefix="/second"), web(pipeline="same", prefix="/same"))
    now = configure(
        web(prefix="/elsewhere"),
        web(pipeline="third", prefix="/third"),
        web(pipeline="same", prefix="/same"),
        '[logging]\nlog_level = "warn"',
    )
    assert difference(before, now) == {
        "logging": True,
        "pipelines": {"added": ["third"], "removed": ["second"], "changed": []},
        "endpoints": {"added": ["third"], "removed": ["second"], "changed": ["web"]},
        "backends": {"added": ["third_archive"], "removed": ["second_archive"], "changed": []},
    }
    assert needs_restart(before, now) == ["logging"]
    assert needs_restart(before, before) == []
