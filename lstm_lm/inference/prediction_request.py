"""The arguments and the result of a prediction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.ranking import TYPED_WORD
from lstm_lm.inference.user_words import user_word_problems


@dataclass(frozen=True)
class Suggestion:
    """A next word as text, its probability, and how it joins the text before it."""

    word: str
    """As it is shown, with the typed beginning."""
    probability: float
    text: str = ""
    """What to type in place of the last ``replaces`` characters: the word, with a space before it where one belongs."""
    replaces: int = 0
    """Number of characters at the end of the text and prefix that ``text`` replaces, in Unicode code points."""
    space_before: bool = False
    """Whether a space then stands before the word."""


@dataclass(frozen=True)
class Prediction:
    """The result of a prediction."""

    suggestions: tuple[Suggestion, ...]
    """Most probable first."""
    unknown_words: tuple[str, ...]
    """Out-of-vocabulary words of the text, each once, as typed."""


@dataclass(frozen=True)
class PredictionRequest:
    """The arguments of a prediction."""

    text: str
    """The text before the predicted word, as typed."""
    k: int = 10
    """Maximum number of suggestions; there are fewer if fewer words match."""
    prefix: str = ""
    """The partial word as typed.

    Matching ignores case, and the sign that is typed as an apostrophe. Suggestions keep a typed first capital, capitals
    throughout and signs, and are capitalized at the start of a sentence; of the forms of a word that differ only in
    case, the most probable one is suggested. The prefix may contain punctuation before or inside the word: "well-kn"
    suggests "well-known", '"th' suggests '"The'. Words that begin with it come first, then those that begin with it
    apart from accents; if they are fewer than three, then those that begin with it after one edit.
    """
    words_only: bool = False
    """Exclude punctuation and symbols, which have no letter or digit, and, after a space, endings such as "'s"."""
    allow: Collection[str] | None = None
    """Suggest only these words, ignoring case; ``None`` allows all."""
    deny: Collection[str] = ()
    """Never suggest these words, ignoring case. Overrides ``allow``."""
    cache: CacheConfig | None = None
    """Mix in a neural cache of ``text``, which can also suggest out-of-vocabulary words; ``None`` is off, or the
    model's own if there are ``recent`` texts."""
    split: bool = False
    """Take the half-typed word at the end of ``text`` as the prefix; it needs an empty ``prefix``."""
    typed_word: str = "last"
    """Where the suggestion that equals the typed prefix goes: ``last``, ``ranked`` by its probability, or ``never``."""
    user_words: Mapping[str, float] = field(default_factory=dict)
    """The user's own words and how often they were used, at most ``MAX_USER_WORDS``; see ``user_words.py``."""
    recent: Sequence[str] = ()
    """Earlier texts of the same person, oldest first, for the neural cache only."""

    def problems(self) -> list[str]:
        """All errors, each as ``field: what is wrong (got VALUE)``."""
        given: dict[str, object] = {"text": self.text, "prefix": self.prefix}  # a caller may not check types
        problems = [f"{name}: must be a string (got {v!r})" for name, v in given.items() if not isinstance(v, str)]
        problems += [f"cache.{problem}" for problem in self.cache.problems()] if self.cache else []
        problems += user_word_problems(self.user_words)
        if self.k < 1:
            problems.append(f"k: must be at least 1 (got {self.k})")
        if self.typed_word not in TYPED_WORD:
            problems.append(f"typed_word: unknown (got {self.typed_word!r}); use one of {', '.join(TYPED_WORD)}")
        if self.split and self.prefix:
            problems.append("split, prefix: split takes the prefix from the text; send only one of them")
        return problems
