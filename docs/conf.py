"""The manual's settings. `make docs` builds it; a warning fails the build."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harmonygw import __version__

project = "harmonygw"
author = "the harmonygw developers"
copyright = "the harmonygw developers"
release = version = __version__

exclude_patterns = ["_build"]
highlight_language = "none"
html_theme = "alabaster"
html_theme_options = {"page_width": "70em", "description": "DICOMweb in front of the PACS you already have"}
html_show_copyright = False
