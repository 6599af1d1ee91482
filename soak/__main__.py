"""`python -m soak [--minutes n]`: mixed load with faults; the status is 1 when something has grown, or surprised.

Descriptors, associations, files that are being written, and what the audit trail has not delivered, are counted at rest
before and after: there may be no more than before, but for a segment of the trail's spool, which goes when it is full.
Memory is sampled under load: the median of the last quarter may be above that of the second by `MEMORY_MIB`, which
covers what the allocator keeps, and not a leak of ten minutes.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from harmonygw.audit.spool import SEGMENTS
from soak.house import IDLE_SECS, SPOOL_BYTES, Count, House
from soak.load import HIDDEN, Load, held
from tests.interop.pacs import PACS

reactor: Any = _reactor

MEMORY_MIB: Final = 12.0
"""How much more memory the last quarter may have than the second, MiB."""

POOL_THREADS: Final = 4
"""Threads more that are no growth: a pool has as many as it has had work for at once, up to its bound."""

SAMPLE_SECS: Final = 5.0
"""Seconds between two samples."""

WARM_UP_SECS: Final = 15.0
"""Seconds of load before the first count: workers have started, and what is learned once has been."""

REST_SECS: Final = IDLE_SECS + 8.0
"""Seconds after which, without load, everything idle has been let go, and what was slow timed out."""


class Soak:
    """One run."""

    def __init__(self, house: House, pacs: PACS, minutes: float, seed: int) -> None:
        self.house = house
        self.pacs = pacs
        self.minutes = minutes
        self.seed = seed
        self.samples: list[Count] = []
        self.problems: list[str] = []

    async def run(self) -> None:
        """Load, rest and count, and load again; then find out whether anything has grown."""
        before = await self._loaded_and_rested(WARM_UP_SECS)
        sampling = LoopingCall(lambda: Deferred.fromCoroutine(self._sample()))
        load = Load(self.house, self.pacs, Random(self.seed))
        load.begin()
        sampling.start(SAMPLE_SECS, now=False)
        await _sleep(self.minutes * 60)
        sampling.stop()
        await load.end()
        await _sleep(REST_SECS)
        after = await self._count()
        self._compare(before, after)
        print("asked:", ", ".join(f"{name} {number}" for name, number in sorted(load.counts.items())))
        print(f"audit messages that arrived: {self.house.audited()}")
        if self.house.audited() < load.counts["whole studies"]:
            self.problems.append("fewer audit messages than studies")
        self.problems += load.surprises[:20]
        if not load.counts["whole studies"]:
            self.problems.append("no study came whole: that was no load")
        self.problems += self.house.failures()[:20]

    async def _loaded_and_rested(self, seconds: float) -> Count:
        load = Load(self.house, self.pacs, Random(self.seed + 1))
        load.begin()
        await _sleep(seconds)
        await load.end()
        await _sleep(REST_SECS)
        return await self._count()

    def _compare(self, before: Count, after: Count) -> None:
        print(f"before: {before.line()}\nafter:  {after.line()}")
        if len(after.descriptors) > len(before.descriptors):
            more = Counter(after.descriptors) - Counter(before.descriptors)
            self.problems.append(f"descriptors that were not open before: {dict(more)}")
        if after.threads > before.threads + POOL_THREADS:
            self.problems.append(f"threads: {before.threads} before, {after.threads} after")
        for name in ("associations", "waiting", "staged", "unsent", "unrecorded"):
            was, now = getattr(before, name), getattr(after, name)
            if now > was:
                self.problems.append(f"{name}: {was} before, {now} after")
        if after.spool > before.spool + SPOOL_BYTES // SEGMENTS:
            self.problems.append(f"the audit trail's spool: {before.spool} bytes before, {after.spool} after")
        quarter = len(self.samples) // 4
        if quarter:
            second = median(one.memory for one in self.samples[quarter : 2 * quarter])
            last = median(one.memory for one in self.samples[-quarter:])
            print(f"memory: {second:.1f} MiB in the second quarter, {last:.1f} MiB in the last")
            if last - second > MEMORY_MIB:
                self.problems.append(f"memory has grown by {last - second:.1f} MiB")

    async def _sample(self) -> None:
        count = await self._count()
        self.samples.append(count)
        print(time.strftime("%H:%M:%S"), count.line(), flush=True)

    async def _count(self) -> Count:
        load = Load(self.house, self.pacs, Random(0))
        targets, audit = [await load.ask(f"/admin/{one}", credentials=True) for one in ("targets", "audit")]
        self.house.process.check()
        return self.house.count(json.loads(targets.content), json.loads(audit.content))


async def _sleep(seconds: float) -> None:
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    await waiting


def main() -> int:
    """Run for the time that is given."""
    parser = argparse.ArgumentParser(prog="python -m soak", description="Mixed load with faults; nothing may grow.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="of everything that is random")
    options = parser.parse_args()
    print(f"a soak of {options.minutes:g} minutes, --seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="harmonygw-soak-") as folder:
        pacs = PACS(held())
        with House(Path(folder), pacs.port, {one.patient for one in pacs.held} - {HIDDEN}) as house:
            soak = Soak(house, pacs, options.minutes, options.seed)
            failures: list[Failure] = []
            running = Deferred.fromCoroutine(soak.run())
            running.addErrback(failures.append).addBoth(lambda _: reactor.stop())
            reactor.run()
            if failures:
                failures[0].printTraceback(sys.stdout)
                soak.problems.append("the soak itself failed")
            if soak.problems:
                kept = Path(tempfile.gettempdir()) / f"harmonygw-soak-{options.seed}.log"
                shutil.copyfile(house.process.log, kept)
                print(f"the gateway's log: {kept}")
    print("\n".join(soak.problems) or "nothing has grown, and nothing surprised")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
