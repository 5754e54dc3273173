"""Everyday chat: the 7,168 conversations of the Chit-Chat Challenge (Myers et al. 2020), in English.

The text comes with the package ``chitchat-dataset`` (MIT licence); nothing is downloaded. It is written as a phone's
keyboard would have typed it: "i dont know" is "I don't know", and a sentence starts with a capital letter. A line is
one message, so ``<eos>`` is where a message is sent; a blank line ends a conversation.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from lstm_lm.data.text_source import split_by_hash
from lstm_lm.errors import DataError
from lstm_lm.text.placeholders import replace_addresses

PERCENTAGES = (("train", 90), ("valid", 5), ("test", 5))
"""Percentage of the conversations in each split."""
SIZE_HINTS = {"train": 11_100_000, "valid": 570_000, "test": 690_000}
"""Approximate number of characters of each split, for progress bars."""

# without the apostrophe they are no other word
_CONTRACTIONS = (
    "ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't he's he'd how's I'm I've isn't it'd it'll "
    "she's shouldn't that'd that'll that's there's they'd they'll they're they've wasn't we've weren't what's where's "
    "who's won't wouldn't y'all you'd you'll you're you've"
)
_BY_LETTERS = {text.replace("'", "").lower(): text for text in _CONTRACTIONS.split()}
_MISSING_APOSTROPHE = re.compile(rf"(?<![\w'@])(?:{'|'.join(_BY_LETTERS)})(?![\w'@])", re.IGNORECASE)
# "its", "ill", "id" and "lets" are words too, but not before these
_VERBS = "be do get give go have just let make never see send take talk tell try"
_ADVERBS = "been definitely going just kind kinda like not pretty probably really so still too very"
_BEFORE = {
    "its": ("it's", f"a all always an better cool easy fun good great hard my nice okay the {_ADVERBS}"),
    "ill": ("I'll", f"check definitely probably {_VERBS}"),
    "id": ("I'd", f"definitely like love probably rather say {_VERBS}"),
    "lets": ("let's", f"not {_VERBS}"),
}
_AMBIGUOUS = re.compile(
    "|".join(rf"(?<![\w'@]){word}(?= (?:{following.replace(' ', '|')})\b)" for word, (_, following) in _BEFORE.items()),
    re.IGNORECASE,
)
_SMALL_I = re.compile(r"(?<![\w'.@-])i(?=$|[^\w.@-]|\.(?!\w))")
# "..." and "i.e." do not end a sentence, and "iPhone" keeps its first letter
_SENTENCE_START = re.compile(r"(?:^[^\w<]*|(?<![.!?])(?<!\.\w)(?:\.|[!?]+)[\"')]* +[\"'(]*)[a-z](?=[a-z']*(?![\w@]))")
_WORD = re.compile(r"[\w']+")
_MIN_CAPITALS = 3  # words of a message in capitals
_MIN_REPEATED = 6


class ChatSplit:
    """The messages of one split, one per line, with a blank line after each conversation."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __iter__(self) -> Iterator[str]:
        for key, conversation in json.loads(_dataset().read_bytes()).items():
            if split_by_hash(key, PERCENTAGES) != self._name:
                continue
            messages = [message["text"] for turn in conversation["messages"] for message in turn]
            texts = [text for message in messages if not _repeats_itself(message) and (text := as_typed(message))]
            if texts and not _is_noise(" ".join(texts)):
                yield from texts
                yield ""


@cache
def sources_digest() -> str:
    """sha256 of the dataset and of this module."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(_dataset().read_bytes())
    return digest.hexdigest()


def _dataset() -> Path:
    try:
        return Path(str(files("chitchat_dataset") / "dataset.json"))
    except ModuleNotFoundError as error:
        raise DataError(
            "data=chat: the package chitchat-dataset is not installed; run pip install 'lstm-lm[chat]', or use your "
            "own text with data=text_file data.file=FILE"
        ) from error


def as_typed(text: str) -> str:
    """A message as a phone's keyboard would have typed it; an address or phone number is one placeholder."""
    words = text.split()
    if len(words) >= _MIN_CAPITALS and text.isupper():
        text = text.lower()
    text = " ".join(text.split())
    text = _MISSING_APOSTROPHE.sub(lambda match: _in_case_of(match[0], _BY_LETTERS[match[0].lower()]), text)
    text = _AMBIGUOUS.sub(lambda match: _in_case_of(match[0], _BEFORE[match[0].lower()][0]), text)
    text = _SMALL_I.sub("I", text)
    text = _SENTENCE_START.sub(lambda match: match[0][:-1] + match[0][-1].upper(), text)
    return " ".join(replace_addresses(text).split())


def _in_case_of(word: str, contraction: str) -> str:
    if word.isupper():
        return contraction.upper()
    return contraction[0].upper() + contraction[1:] if word[0].isupper() else contraction


def _repeats_itself(text: str) -> bool:
    """Whether most of a message is one word: "a a a a a a"."""
    words = text.lower().split()
    return len(words) >= _MIN_REPEATED and Counter(words).most_common(1)[0][1] > len(words) / 2


def _is_noise(text: str) -> bool:
    """Whether a conversation has far fewer different words than any text: four were filled to win the contest."""
    words = _WORD.findall(text.lower())
    return bool(len(set(words)) < len(words) ** 0.7)
