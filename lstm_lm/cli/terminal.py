"""Text that any terminal shows as text, in any encoding."""

import io
import json
import sys
from typing import Any

# C0 and C1 control codes, escape among them: a word of a corpus must not move the cursor or change the title
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}

# JSON itself escapes only the C0 codes
_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}


def printable(text: str) -> str:
    r"""``text`` with its control codes spelled out, as in ``\x1b``; line breaks and tabs stay."""
    return text.translate(_ESCAPES)


def print_json(data: Any) -> None:
    """Print ``data`` as one line of JSON, in ASCII where standard output has another encoding than UTF-8."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(data, ensure_ascii=not utf8).translate(_JSON_ESCAPES))


def escape_unencodable_output() -> None:
    r"""Spell characters that standard output cannot encode, as in ``\xe9``, instead of ending in an error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
