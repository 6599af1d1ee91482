"""One frame out of an instance of 200 MB that is in the cache: how long, and how much memory it takes."""

from collections.abc import Iterator

from bench import objects
from bench.gateway import Gateway
from bench.report import RUNS, Figure
from bench.stand import Stand
from bench.viewer import Viewing, frame_paths, view

TARGET_MS = 5.0
TARGET_MIB = 8.0
TURNS = 20
"""Frames of each run; its figure is the median of them."""


def measure(stand: Stand) -> Iterator[Figure]:
    stand.peers.dcmqrscp.holds(objects.multi_frame)
    study = objects.MULTI_FRAME_STUDY
    with Gateway(stand.peers) as gateway:
        first = frame_paths("/cached/dcmqrscp", study, (f"{study}.1.1",), 1)
        view(Viewing(gateway.port, first))
        before = gateway.resident()
        seconds, growth = [], []
        for run in range(RUNS):
            gateway.forget_peak()
            taken = sorted(
                view(Viewing(gateway.port, frame_paths("/cached/dcmqrscp", study, (f"{study}.1.1",), number))).seconds
                for number in range(2 + run * TURNS, 2 + (run + 1) * TURNS)
            )
            seconds.append(taken[TURNS // 2] * 1000)
            growth.append((gateway.resident_peak() - before) / 2**20)
    yield Figure("one frame of 512 KB out of 200 MB, warm", seconds, "ms", at_most=TARGET_MS)
    yield Figure("memory growth meanwhile", growth, "MiB", at_most=TARGET_MIB)
