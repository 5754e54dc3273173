"""Options for sampling and the neural cache, as plain data: one class is config schema, bundle preset and request."""

from dataclasses import dataclass

from lstm_lm.settings import Settings, setting

STRATEGIES = ("greedy", "sample")


@dataclass
class SamplingConfig(Settings):
    """How the next word is chosen."""

    strategy: str = setting("sample", choices=STRATEGIES, help="greedy takes the most probable word, sample draws one.")
    temperature: float = setting(
        1.0,
        gt=0,
        le=100,
        remedy="use strategy=greedy for the most probable word",
        help="Divides the logits: below 1 favors probable words, above 1 flattens the distribution.",
    )
    top_k: int = setting(0, ge=0, special={0: "off"}, help="Sample from this many of the most probable words only.")
    top_p: float = setting(
        1.0,
        gt=0,
        le=1,
        special={1: "off"},
        help="Sample from the smallest set with at least this probability (Holtzman et al. 2020, section 3.1).",
    )
    seed: int | None = setting(None, ge=0, special={None: "a new seed each time"}, help="Makes sampling reproducible.")
    ban_unk: bool = setting(True, help="Never generate <unk>.")
    ban_tokens: list[str] = setting([], help="Words that are never generated, in any case; the model must know them.")
    repeat_penalty: float = setting(
        1.0,
        ge=1,
        le=100,
        special={1: "off"},
        help="Above 1 makes the last repeat_window words less likely (Keskar et al. 2019, section 4.1).",
    )
    repeat_window: int = setting(
        0, ge=0, special={0: "off"}, help="Number of previous words that the penalty applies to."
    )
    stop_eos: bool = setting(False, help="Stop at the first <eos>.")


@dataclass
class CacheConfig(Settings):
    """The neural cache, which raises the probability of words that the text has used.

    Grave et al. 2017, "Improving Neural Language Models with a Continuous Cache", §3.
    """

    # tuned on valid of WikiText-2 for texts of 50 words; for 500 words the best weight is 0.2
    weight: float = setting(
        0.1, ge=0, le=1, special={0: "off"}, help="Share of the cache in the mixture, the paper's lambda."
    )
    theta: float = setting(
        0.2,
        ge=0,
        le=100,
        help="How strongly the cache prefers positions with a similar context; 0 weights all positions equally.",
    )
    window: int = setting(0, ge=0, special={0: "the whole text"}, help="Number of previous words in the cache.")
