"""Pixels: decoded, encoded and made into pictures, in worker processes."""
