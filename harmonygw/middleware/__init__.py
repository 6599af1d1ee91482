"""What stands between an endpoint and a backend, one file a type."""
