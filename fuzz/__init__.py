"""Fuzz targets: bytes nobody would send, found by coverage, against what must hold of any."""
