"""Where exchanges begin."""
