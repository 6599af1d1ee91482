"""Twisted transports: associations and HTTP."""
