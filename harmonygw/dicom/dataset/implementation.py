"""How this implementation names itself on the wire and in files (PS3.7 §D.3.3.2, PS3.10 §7.1)."""

from typing import Final

IMPLEMENTATION_CLASS_UID: Final = "2.25.268374950216643215987531806341652903814"
"""Implementation Class UID (0002,0012), derived from a UUID (PS3.5 Annex B.2); the same in every release."""

IMPLEMENTATION_VERSION_NAME: Final = "HARMONYGW_0.1"
"""Implementation Version Name (0002,0013), at most 16 characters; changes with the release."""
