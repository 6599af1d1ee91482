"""Where exchanges end."""
