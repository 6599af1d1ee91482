"""What holds for every test."""

from hypothesis import settings

# A slow machine is no failure, and what one run finds the next one finds too.
settings.register_profile("harmonygw", deadline=None, derandomize=True)
settings.load_profile("harmonygw")
