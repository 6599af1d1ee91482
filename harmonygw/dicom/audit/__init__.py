"""Audit trail messages (PS3.15 §A.5): what they are made of, how they are written, and which event has which."""
