"""TOML to frozen dataclasses, with errors that name file, line and key path."""
