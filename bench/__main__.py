"""`python -m bench [name ...]`: run some measurements, or all; the exit status is 1 when a target is missed."""

import argparse
import signal
import sys
from importlib import import_module

from bench.stand import stand

MEASUREMENTS = (
    *("throughput", "study", "first_byte", "memory", "search", "fairness", "data_set"),
    *("cold", "warm", "large", "decoding"),
    "federation",
    *("proxy", "forward", "stow"),
    *("guarded", "slow_clients"),
)


def main() -> int:
    """Run what is named; print each figure as it is known."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="The gateway, measured beside its peers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(MEASUREMENTS)}; all unless given")
    names = parser.parse_args().names or MEASUREMENTS
    for name in names:
        if name not in MEASUREMENTS:
            parser.error(f"{name} is none of {', '.join(MEASUREMENTS)}")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    missed = 0
    with stand() as running:
        for name in names:
            measurement = import_module(f"bench.{name}")
            print(f"\n{name}: {(measurement.__doc__ or '').partition(chr(10))[0]}", flush=True)
            for figure in measurement.measure(running):
                print(figure.line(), flush=True)
                missed += not figure.met
    print(f"\n{missed} targets missed" if missed else "\nevery target met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
