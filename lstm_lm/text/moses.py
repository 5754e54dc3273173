"""Moses' English rules. Importing sacremoses takes 0.3 s, so import this module where a text is split or joined."""

from sacremoses import MosesDetokenizer, MosesTokenizer

__all__ = ["FastMosesTokenizer", "MosesDetokenizer"]


class FastMosesTokenizer(MosesTokenizer):  # type: ignore[misc]  # sacremoses is untyped
    """The same rules without rebuilding a set of every Unicode letter at each full stop, as sacremoses does."""

    _lower = frozenset(MosesTokenizer.IsLower)
    _alpha = frozenset(MosesTokenizer.IsAlpha)

    def islower(self, text: str) -> bool:
        """Whether every character is a lowercase letter."""
        return self._lower.issuperset(text)

    def isanyalpha(self, text: str) -> bool:
        """Whether a character is a letter."""
        return not self._alpha.isdisjoint(text)
