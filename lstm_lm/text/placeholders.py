"""Web addresses, e-mail addresses and phone numbers as one word each, which a model never suggests."""

import re
from collections.abc import Container

URL, EMAIL, PHONE = "<url>", "<email>", "<phone>"
PLACEHOLDERS = (URL, EMAIL, PHONE)

_TOP_LEVEL = "com|org|net|edu|gov|io|co|info|uk|de|eu|ca|au"
_PATH = r"(?:[/?#](?:\S*[^\s.,;:!?)\]}\"'])?)?"  # without the punctuation of the sentence
SIGNS = re.compile(r"[@\d]|\.\w|://")  # every match has one
# the e-mail address first: it contains a web address
PATTERN = re.compile(
    rf"(?P<email>(?<![\w.+-])[\w.+-]{{1,64}}@[\w-]+(?:\.[\w-]+)+)"
    rf"|(?P<url>https?://[^\s/?#]*[^\s/?#.,;:!?)\]}}\"']{_PATH}|(?<![\w.@/-])www\.[\w-]+(?:\.[\w-]+)+{_PATH}"
    rf"|(?<![\w.@/-])[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:{_TOP_LEVEL})(?![\w-]){_PATH})"
    r"|(?P<phone>(?<![\w.+-])(?:\+?\d{1,3}[-. ]?)?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-]))",
    re.IGNORECASE,
)


def replace_addresses(text: str, kinds: Container[str] = PLACEHOLDERS) -> str:
    """Replace each address and number by its placeholder, between spaces.

    Args:
        text: Any text.
        kinds: The placeholders to use; other addresses and numbers stay.
    """
    if SIGNS.search(text) is None:
        return text

    def placeholder(match: re.Match[str]) -> str:
        word = f"<{match.lastgroup}>"
        return f" {word} " if word in kinds else match[0]

    return PATTERN.sub(placeholder, text)
