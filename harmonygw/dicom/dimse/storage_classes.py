"""The storage SOP classes (PS3.4 Annex B), as far as pynetdicom's tables know them."""

from typing import Final

from pynetdicom.presentation import AllStoragePresentationContexts

STORAGE_CLASSES: Final = tuple(dict.fromkeys(str(one.abstract_syntax) for one in AllStoragePresentationContexts))
"""Their UIDs, each once."""
