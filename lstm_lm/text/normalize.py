"""The one spelling in which text is matched: NFC, straight apostrophes, no ignorable characters.

Phones write ``don’t`` with U+2019, some systems send ``café`` with a combining accent, and copied text contains
zero-width characters. None of these changes which word is meant.
"""

import re
import unicodedata

APOSTROPHES = "\u2018\u2019\u201b\u02bc\uff07"
"""Signs that are typed for ``'``."""
IGNORABLE = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff"
"""Soft hyphen, grapheme joiner, zero-width characters, marks of text direction, variation selectors: a regex class."""

_APOSTROPHES = str.maketrans(dict.fromkeys(APOSTROPHES, "'"))
_NON_ASCII_APOSTROPHE = re.compile(f"[{APOSTROPHES}]")
_IGNORABLE = re.compile(f"[{IGNORABLE}]")


def normalize(text: str) -> str:
    """``text`` with straight apostrophes, and otherwise as :func:`clean` returns it."""
    return text if text.isascii() else clean(text).translate(_APOSTROPHES)


def clean(text: str) -> str:
    """``text`` in NFC and without ignorable characters; each apostrophe stays the sign that was typed."""
    return text if text.isascii() else unicodedata.normalize("NFC", _IGNORABLE.sub("", text))


def typed_apostrophe(*texts: str) -> str:
    """The apostrophe that ``texts`` use last, from the first text that has a sign other than ``'``; else ``'``."""
    for text in texts:
        if not text.isascii() and (signs := _NON_ASCII_APOSTROPHE.findall(text)):
            return "\u2019" if signs[-1] in "\u2018\u201b" else str(signs[-1])
    return "'"


def without_accents(text: str) -> str:
    """``text`` without diacritics: "Beyoncé" is "Beyonce"."""
    if text.isascii():
        return text
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))
