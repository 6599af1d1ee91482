"""A Search while a JPEG 2000 frame of 2048 by 2048 is decoded: it must not wait for that."""

import threading
from collections.abc import Iterator
from statistics import median

from bench import objects
from bench.gateway import Search
from bench.report import RUNS, Figure
from bench.stand import Stand
from bench.viewer import Viewing, frame_paths, view

TARGET_MS = 5.0
DECODED = "multipart/related; type=application/octet-stream"
TURNS = 20
"""Searches of each run."""


def measure(stand: Stand) -> Iterator[Figure]:
    stand.peers.orthanc.holds(objects.large_jpeg_2000, proposing="-xv")
    stand.peers.dcmqrscp.holds(objects.multi_frame)
    study = objects.JPEG_2000_STUDY
    decoding = Viewing(stand.gateway.port, frame_paths("/cached/orthanc", study, (f"{study}.1.1",)) * 4, accept=DECODED)
    alone = view(decoding).seconds / 4
    search = Search(stand.gateway, f"/dcmqrscp/studies?StudyInstanceUID={objects.MULTI_FRAME_STUDY}")
    search.seconds(1)
    beyond, idle_times, busy_times = [], [], []
    for _ in range(RUNS):
        idle = [search.seconds(1) * 1000 for _ in range(TURNS)]
        thread = threading.Thread(target=view, args=(decoding,))
        thread.start()
        busy = []
        while thread.is_alive():
            busy.append(search.seconds(1) * 1000)
        thread.join()
        idle_times.append(median(idle))
        busy_times.append(median(busy))
        beyond.append(busy_times[-1] - idle_times[-1])
    search.close()
    yield Figure("decoding of one frame", [alone * 1000], "ms")
    yield Figure("Search, idle", idle_times, "ms")
    yield Figure("Search while frames are decoded", busy_times, "ms")
    yield Figure("Search beyond its idle time", beyond, "ms", at_most=TARGET_MS)
