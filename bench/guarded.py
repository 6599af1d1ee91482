"""A Search by who has a JSON Web Token, past policies, against the same Search without either.

The token is checked each time (RS256), its scopes too (SMART), and five rules are: address, method, path, header, rate.
"""

from collections.abc import Iterator
from statistics import median

from bench import objects
from bench.gateway import Search
from bench.report import RUNS, Figure
from bench.stand import Stand

TARGET_MS = 0.3
TURNS = 100
"""Searches of each kind in a run, by turns; a run is their median."""


def measure(stand: Stand) -> Iterator[Figure]:
    stand.peers.orthanc.holds(objects.catalogue)
    query = "/orthanc/studies?PatientID=P01000"
    plain = Search(stand.gateway, query)
    guarded = Search(stand.gateway, f"/guarded{query}", stand.gateway.token)
    plain.seconds(1), guarded.seconds(1)
    without, with_both = [], []
    for _ in range(RUNS):
        turns = [(plain.seconds(1), guarded.seconds(1)) for _ in range(TURNS)]
        without.append(median(one for one, _ in turns) * 1000)
        with_both.append(median(one for _, one in turns) * 1000)
    plain.close()
    guarded.close()
    yield Figure("Search", without, "ms")
    yield Figure("Search with token and policies", with_both, "ms")
    more = [one - other for one, other in zip(with_both, without, strict=True)]
    yield Figure("what they add", more, "ms", at_most=TARGET_MS)
