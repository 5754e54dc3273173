"""The figures of an evaluation, and how they are added up over windows."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from lstm_lm.data.streams import Window
from lstm_lm.evaluation.intervals import ConfidenceInterval
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.completion import is_word
from lstm_lm.text.vocabulary import Vocabulary

TOP_K = (1, 3, 5)
CHUNK = 128  # tokens whose logits exist at one time: 17 MB at 33,278 words, which stays in the cache


@dataclass(frozen=True)
class TopK:
    """Share of targets among the k most probable words.

    Attributes:
        tokens: Targets counted.
        top1: Share in [0, 1] whose target is the most probable word; ``top3`` and ``top5`` alike.
    """

    tokens: int = 0
    top1: float = 0.0
    top3: float = 0.0
    top5: float = 0.0


@dataclass(frozen=True)
class Score:
    """What a model scores on a split.

    Attributes:
        tokens: Targets: every word and one ``<eos>`` a line.
        loss: Mean negative log likelihood over the whole vocabulary, nats a token.
        perplexity: ``exp(loss)``.
        top1: Share of targets that are the most probable word, ``<unk>`` and ``<eos>`` counted; ``top3`` and
            ``top5`` alike.
        words: The same over targets that are words: no ``<unk>``, no ``<eos>``, no punctuation.
        unk_rate: Share of targets that are ``<unk>``.
        interval: Where the perplexity would lie on other articles; ``None`` where it was not asked for.
    """

    tokens: int
    loss: float
    perplexity: float
    top1: float
    top3: float
    top5: float
    words: TopK = field(default_factory=TopK)
    unk_rate: float = 0.0
    interval: ConfidenceInterval | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``metrics.json``."""
        content = asdict(self)
        if self.interval is None:
            del content["interval"]
        return content


class ScoreMetric(Metric):
    """Adds up a ``Score`` window by window, in float64.

    torchmetrics' own Perplexity takes the logarithm of a rounded softmax and so reaches ``inf`` where the likelihood
    is finite; this one adds negative log likelihoods.

    Args:
        vocabulary: Tells ``<unk>`` and which entries are words.
    """

    full_state_update = False

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(sync_on_compute=False)  # in a distributed run every process scores the whole split
        self.unk_id = vocabulary.unk_id
        self.register_buffer("is_word", word_mask(vocabulary), persistent=False)
        self.is_word: Tensor
        self.nll: Tensor
        self.counts: Tensor
        self.add_state("nll", torch.zeros((), dtype=torch.float64))
        # rows: all targets, targets that are words; columns: tokens, hits at 1, 3, 5
        self.add_state("counts", torch.zeros(2, 1 + len(TOP_K), dtype=torch.int64))
        self.add_state("unknown", torch.zeros((), dtype=torch.int64))
        self.unknown: Tensor

    def update(self, nll: Tensor, rank: Tensor, target_ids: Tensor) -> None:
        """Count some tokens.

        Args:
            nll: Negative log likelihood of the targets in nats (N,).
            rank: Their ranks, as :func:`target_rank` gives them (N,).
            target_ids: (N,), int64.
        """
        self.nll += nll.sum(dtype=torch.float64)
        words = self.is_word[target_ids]
        hits = torch.stack([torch.ones_like(words), *(rank < k for k in TOP_K)])
        self.counts[0] += hits.sum(dim=1)
        self.counts[1] += (hits & words).sum(dim=1)
        self.unknown += (target_ids == self.unk_id).sum()

    def update_window(self, model: LSTMLanguageModel, features: Tensor, window: Window) -> Tensor:
        """Count the tokens of a window; its logits are made a few at a time and never held whole.

        Args:
            model: The network whose output layer turns features into logits.
            features: What the network makes of the window, (B, T, H).
            window: The window.

        Returns:
            Negative log likelihood of every token in nats (B, T), 0 where it does not count.
        """
        if window.mask is None:
            features, target_ids = features.flatten(0, 1), window.target_ids.flatten()
        else:
            features, target_ids = features[window.mask], window.target_ids[window.mask]
        parts = []
        for part, target_part in zip(torch.split(features, CHUNK), torch.split(target_ids, CHUNK), strict=True):
            logits = model.logits(part).float()
            nll = F.cross_entropy(logits, target_part, reduction="none")
            self.update(nll, target_rank(logits, target_part), target_part)
            parts.append(nll)
        losses = torch.cat(parts)
        if window.mask is None:
            return losses.view(window.target_ids.shape)
        return losses.new_zeros(window.mask.shape).masked_scatter(window.mask, losses)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """The sums since the last reset: nll, counts, unknown."""
        return self.nll, self.counts, self.unknown

    def score(self, interval: ConfidenceInterval | None = None) -> Score:
        """The score of everything counted since the last reset, with its interval if there is one."""
        nll, counts, unknown = self.compute()
        (tokens, *hits), (word_tokens, *word_hits) = counts.tolist()
        loss = float(nll) / max(tokens, 1)
        top1, top3, top5 = (hit / max(tokens, 1) for hit in hits)
        words = TopK(word_tokens, *(hit / max(word_tokens, 1) for hit in word_hits))
        # exp overflows a float at a loss of 709
        perplexity = math.exp(loss) if loss < 700 else math.inf
        unk_rate = int(unknown) / max(tokens, 1)
        return Score(tokens, loss, perplexity, top1, top3, top5, words, unk_rate, interval)


def target_rank(logits: Tensor, target_ids: Tensor) -> Tensor:
    """How many other words are at least as probable as the target; a tie counts against it.

    Args:
        logits: (N, V).
        target_ids: (N,), int64.

    Returns:
        Ranks (N,); 0 is the most probable, alone.
    """
    # adding up in int32 is fourteen times as fast as in the default int64: the difference between 2 and 12 ms for 128
    # tokens over 33,278 words
    return (logits >= logits.gather(1, target_ids.unsqueeze(1))).sum(dim=1, dtype=torch.int32) - 1


def word_mask(vocabulary: Vocabulary) -> Tensor:
    """Which entries are words: not ``<unk>``, not ``<eos>``, and holding a letter or a digit.

    Returns:
        (V,), bool.
    """
    mask = torch.tensor([is_word(word) for word in vocabulary.words])
    mask[[vocabulary.unk_id, vocabulary.eos_id]] = False
    return mask
