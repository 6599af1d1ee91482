"""Benchmarks: the gateway beside a relay, DCMTK and the PACS itself, each a ratio of one run. See README.rst."""
