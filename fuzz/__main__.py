"""`python -m fuzz [target ...] [--seconds n]`: look for inputs that break what must hold.

Each target runs in a process of its own, guided by the coverage of harmonygw (Atheris, the extra `fuzz`). It begins
with its seeds and with what `fuzz/corpus/` has from earlier runs, and adds to that. What breaks something is written to
`fuzz/found/`, and the status is 1; `python -m fuzz <target> <file>` tries it again.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
FOUND: Final = HERE / "found"
CORPUS: Final = HERE / "corpus"

TARGETS: Final = ("upper_layer", "data_set", "web")

INSTRUMENTED: Final = ("harmonygw.dicom", "harmonygw.rendering.codestreams")
"""What the coverage is of."""

SECONDS_AN_INPUT: Final = 5
"""Seconds that one input may take; a well-behaved one takes a millisecond."""

MEGABYTES: Final = 1024
"""Megabytes that a process may take: the instrumented code and the corpus take a third of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is named, at once and each for the time that is given; 1 when one of them found something."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Look for inputs that break what must hold.")
    parser.add_argument("names", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}; all unless given")
    parser.add_argument("--seconds", type=int, default=60, help="how long; 0 for ever (60)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        _fuzz(options.one, options.seconds)
    names = [one for one in options.names if one in TARGETS]
    files = [Path(one) for one in options.names if one not in TARGETS]
    if missing := [str(one) for one in files if not one.is_file()]:
        parser.error(f"{', '.join(missing)}: no target, and no file")
    if files:
        return _try_again(names or TARGETS, files)
    command = [sys.executable, "-m", "fuzz", f"--seconds={options.seconds}", "--one"]
    running = [subprocess.Popen([*command, name]) for name in names or TARGETS]
    statuses = [process.wait() for process in running]
    return int(any(statuses))


def _target(name: str) -> Any:
    return import_module(f"fuzz.{name}")


def _try_again(names: Sequence[str], files: Sequence[Path]) -> int:
    for file in files:
        for name in names:
            _target(name).one_input(file.read_bytes())
    return 0


def _fuzz(name: str, seconds: int) -> None:
    """Look for inputs in this process, which ends with it."""
    try:
        import atheris
    except ImportError as error:
        raise SystemExit("there is no Atheris: pip install 'harmonygw[fuzz]'") from error
    with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
        target = _target(name)
    corpus = CORPUS / name
    for folder in (FOUND, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    arguments = [
        *(sys.argv[0], str(corpus), f"-max_total_time={seconds}", f"-max_len={target.LONGEST_INPUT}"),
        *(f"-timeout={SECONDS_AN_INPUT}", f"-rss_limit_mb={MEGABYTES}", f"-artifact_prefix={FOUND}/{name}-"),
        *("-verbosity=0", "-print_final_stats=1"),
    ]
    atheris.Setup(arguments, target.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
