"""Characters that act on what stands around them, wherever a text is shown."""

import re
import unicodedata
from typing import Final

_ACTING: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, lone surrogates, separators of lines."""
_DIRECTING: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Bidirectional classes of what turns the text around it."""
_FLAG: Final = re.compile("\N{WAVING BLACK FLAG}[\U000e0030-\U000e0039\U000e0061-\U000e007a]+\U000e007f")


def acting_in(text: str) -> set[str]:
    """Returns the characters of a text that would act on what surrounds it; a tab does not."""
    return {character for character in set(_FLAG.sub("", text)) if _acts(character)}


def _acts(character: str) -> bool:
    return (
        (unicodedata.category(character) in _ACTING and character != "\t")
        or unicodedata.bidirectional(character) in _DIRECTING
        or character == "\ufeff"
        or 0xE0000 <= ord(character) <= 0xE007F
    )
