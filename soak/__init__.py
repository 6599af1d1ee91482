"""Soak: mixed load and faults for as long as one likes, and afterwards nothing has grown."""
