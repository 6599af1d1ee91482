"""Files: which are read, how they merge, and what cannot be read."""

from pathlib import Path

import pytest

from harmonygw.config.reading import MAX_FILE_BYTES, Place, read


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str | bytes) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def problems(environ: dict[str, str] | None = None) -> list[str]:
    return list(read(Path("config.toml"), environ or {}).sorted_problems())


def test_the_pipelines_folder_is_read_in_name_order_and_merged_by_name() -> None:
    write("config.toml", "[targets.a]\ntimeout_secs = 1\n[proxy]\nid = 'x'\n")
    write("pipelines/b.toml", "[targets.c]\ntimeout_secs = 3\n[logging]\nformat = 'json'\n")
    write("pipelines/a.toml", "[targets.b]\ntimeout_secs = 2\n")
    write("pipelines/a.toml.bak", "nonsense")
    document = read(Path("config.toml"), {})
    assert document.problems == []
    assert list(document.tables["targets"]) == ["a", "b", "c"]
    assert document.files == [Path("config.toml"), Path("pipelines/a.toml"), Path("pipelines/b.toml")]
    assert document.place(("targets", "c", "timeout_secs")) == Place("pipelines/b.toml", 2)
    assert document.place(("targets", "c", "unknown", "deeper")) == Place("pipelines/b.toml", 1)
    assert document.place(("rules",)) == Place("config.toml")


def test_the_folder_may_be_named_also_by_a_variable_and_hold_the_main_file() -> None:
    write("config.toml", "[proxy]\npipelines_path = '${WHERE}'\n")
    write("other.toml", "[pipelines.p]\n")
    document = read(Path("config.toml"), {"WHERE": "."})
    assert document.problems == []
    assert document.files == [Path("config.toml"), Path("other.toml")]


def test_a_name_defined_twice_names_both_places() -> None:
    write("config.toml", "[proxy]\nid = 'x'\n\n[backends.pacs]\nservice = 'echo'\n")
    write("pipelines/p.toml", "[pipelines.p]\n[backends]\npacs = { service = 'echo' }\n[proxy]\nname = 'y'\n")
    assert problems() == [
        "pipelines/p.toml:3: backends.pacs: is defined twice; also at config.toml:4",
        "pipelines/p.toml:4: proxy: is defined twice; also at config.toml:1",
    ]


def test_a_missing_folder_matters_only_when_the_main_file_has_no_pipelines() -> None:
    write("config.toml", "[pipelines.p]\n")
    assert problems() == []
    write("config.toml", "[proxy]\npipelines_path = 'there'\n")
    assert problems() == [
        "config.toml:2: proxy.pipelines_path: there is no folder 'there', and the main file defines no pipelines"
    ]


def test_a_missing_main_file_is_a_problem() -> None:
    assert problems() == ["config.toml: No such file or directory"]


def test_every_file_that_is_not_toml_is_named_with_its_line() -> None:
    write("config.toml", "[pipelines.p]\n")
    write("pipelines/a.toml", "a = 1\nb = \n")
    write("pipelines/b.toml", b"a = '\xff'")
    write("pipelines/c.toml", "a = '${UNSET}'\n")
    write("pipelines/d.toml", "a = [")
    document = read(Path("config.toml"), {})
    assert not document.whole
    assert document.sorted_problems() == (
        (
            "pipelines/c.toml:1: a: the environment variable UNSET is not set, and there is no default;"
            " ${UNSET:-…} gives one"
        ),
        "pipelines/b.toml: is not UTF-8 text (byte 5)",
        "pipelines/d.toml: is not TOML: Invalid value (at end of document)",
        "pipelines/a.toml:2: is not TOML: Invalid value (column 5)",
    )


def test_a_byte_order_mark_is_no_content() -> None:
    write("config.toml", b"\xef\xbb\xbf[pipelines.p]\n")
    assert problems() == []


def test_a_file_may_be_so_large_and_no_larger() -> None:
    head = "[pipelines.p]\n#"
    write("config.toml", head + "x" * (MAX_FILE_BYTES - len(head)))
    assert problems() == []
    write("config.toml", head + "x" * (MAX_FILE_BYTES - len(head) + 1))
    assert problems() == ["config.toml: is larger than 4194304 bytes"]


def test_a_table_that_is_no_table_is_left_to_be_bound() -> None:
    write("config.toml", "pipelines = 1\nproxy = 2\n")
    document = read(Path("config.toml"), {})
    assert document.defines("pipelines") == []
    assert document.tables == {"pipelines": 1, "proxy": 2}


def test_a_folder_that_cannot_be_listed_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    write("config.toml", "[pipelines.p]\n")
    Path("pipelines").mkdir()

    def refuse(self: Path, pattern: str) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", refuse)
    assert problems() == ["pipelines: Permission denied"]
