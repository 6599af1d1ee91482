"""Twenty retrieves at once with `max_associations = 4`, and Searches meanwhile.

Four clients ask for five studies each. All must complete, each client's must start in the order in which they were
asked for, and a Search, for which one association is kept, is answered within twice the time it takes when idle.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from statistics import median

from bench.gateway import Search
from bench.reader import Demand, Reading, read
from bench.report import RUNS, Figure
from bench.stand import Stand
from bench.synthetic import Study

CLIENTS = tuple(f"127.0.0.{number}" for number in range(2, 6))
STUDIES_EACH = 5
INSTANCES, FRAMES = 50, 1
STAGGER_SECS = 0.01
"""Between two requests, so that there is an order of arrival."""
PAUSE_SECS = 0.02
"""Between two Searches."""
IDLE_SEARCHES = 50
TARGET = 2.0


def measure(stand: Stand) -> Iterator[Figure]:
    search = Search(stand.gateway, f"/synthetic/studies?StudyInstanceUID={Study(INSTANCES, FRAMES).uid}")
    demands = [
        Demand(
            stand.gateway.port,
            path=f"/synthetic/studies/{Study(INSTANCES, FRAMES, serial=1 + number).uid}",
            client=CLIENTS[number % len(CLIENTS)],
            delay=number * STAGGER_SECS,
        )
        for number in range(len(CLIENTS) * STUDIES_EACH)
    ]
    read(*demands)
    idle_times: list[float] = []
    busy_times: list[float] = []
    slowest: list[float] = []
    out_of_order: list[float] = []
    rates: list[float] = []
    for _ in range(RUNS):
        idle_times.append(median(seconds for _, seconds in _searches(search, IDLE_SEARCHES)) * 1000)
        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(read, *demands)
            searches: list[tuple[float, float]] = []
            while not reading.done():
                searches += _searches(search, 1)
            readings = reading.result()
        begun, ended = min(one.begun for one in readings), max(one.ended for one in readings)
        busy = [seconds for at, seconds in searches if begun <= at <= ended]
        busy_times.append(median(busy) * 1000)
        slowest.append(max(busy) * 1000)
        out_of_order.append(float(_out_of_order(demands, readings)))
        rates.append(len(demands) * Study(INSTANCES, FRAMES).size / 1e6 / (ended - begun))
    search.close()
    yield Figure("20 retrieves at once, together", rates, "MB/s")
    yield Figure("retrieves that started out of order", out_of_order, at_most=0)
    yield Figure("Search when idle", idle_times, "ms")
    yield Figure("Search meanwhile", busy_times, "ms")
    yield Figure("slowest Search meanwhile", slowest, "ms")
    ratios = [one / other for one, other in zip(busy_times, idle_times, strict=True)]
    yield Figure("Search meanwhile over Search when idle", ratios, at_most=TARGET)


def _searches(search: Search, count: int) -> list[tuple[float, float]]:
    """Search `count` times with pauses; return when each began, and its seconds."""
    times = []
    for _ in range(count):
        time.sleep(PAUSE_SECS)
        begun = time.monotonic()
        times.append((begun, search.seconds(1)))
    return times


def _out_of_order(demands: list[Demand], readings: list[Reading]) -> int:
    """Count retrieves whose first byte came before that of one that the same client had asked for earlier."""
    started: dict[str, list[float]] = defaultdict(list)
    for demand, reading in zip(demands, readings, strict=True):
        started[demand.client].append(reading.first)
    return sum(later < earlier for times in started.values() for earlier, later in pairwise(times))
