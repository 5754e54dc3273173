"""Options for sampling and the neural cache, as plain data: one class is config schema, bundle preset and request."""

from dataclasses import dataclass, field

STRATEGIES = ("greedy", "sample")


@dataclass
class SamplingConfig:
    """How the next word is chosen."""

    strategy: str = "sample"
    """``greedy`` takes the most probable word; ``sample`` draws one."""
    temperature: float = 1.0
    """Divides the logits: below 1 favors probable words, above 1 flattens the distribution."""
    top_k: int = 0
    """Sample from the ``top_k`` most probable words only; 0 is off."""
    top_p: float = 1.0
    """Sample from the smallest set of words whose probability reaches ``top_p``; 1 is off.

    Holtzman et al. 2020 §3.1.
    """
    seed: int | None = None
    """Makes sampling reproducible; ``None`` uses a new seed each time."""
    ban_unk: bool = True
    """Never generate ``<unk>``."""
    ban_tokens: list[str] = field(default_factory=list)
    """Words of the vocabulary that are never generated."""
    repeat_penalty: float = 1.0
    """Above 1 makes the last ``repeat_window`` words less likely; 1 is off (Keskar et al. 2019 §4.1)."""
    repeat_window: int = 0
    """Number of previous words that the penalty applies to."""
    stop_eos: bool = False
    """Stop at the first ``<eos>``."""

    def problems(self) -> list[str]:
        """All errors, each as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        if self.strategy not in STRATEGIES:
            problems.append(f"strategy: unknown (got {self.strategy!r}); use one of {', '.join(STRATEGIES)}")
        if not 0.0 < self.temperature <= 100.0:
            problems.append(
                f"temperature: must be above 0 and at most 100 (got {self.temperature}); "
                "use strategy=greedy for the most probable word"
            )
        if self.top_k < 0:
            problems.append(f"top_k: must not be negative (got {self.top_k}); 0 switches it off")
        if not 0.0 < self.top_p <= 1.0:
            problems.append(f"top_p: must be above 0 and at most 1 (got {self.top_p}); 1 switches it off")
        if self.seed is not None and self.seed < 0:
            problems.append(f"seed: must not be negative (got {self.seed})")
        if not 1.0 <= self.repeat_penalty <= 100.0:
            problems.append(f"repeat_penalty: must be from 1 to 100 (got {self.repeat_penalty}); 1 switches it off")
        if self.repeat_window < 0:
            problems.append(f"repeat_window: must not be negative (got {self.repeat_window}); 0 switches it off")
        return problems


@dataclass
class CacheConfig:
    """The neural cache, which raises the probability of words that the text has used.

    Grave et al. 2017, "Improving Neural Language Models with a Continuous Cache", §3.
    """

    # tuned on valid of WikiText-2 for texts of 50 words; for 500 words the best weight is 0.2
    weight: float = 0.1
    """Share of the cache in the mixture, the paper's lambda; from 0 (off) to 1."""
    theta: float = 0.2
    """How strongly the cache prefers positions with a similar context; 0 weights all positions equally."""
    window: int = 0
    """Number of previous words in the cache; 0 is the whole text."""

    def problems(self) -> list[str]:
        """All errors, each as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        if not 0.0 <= self.weight <= 1.0:
            problems.append(f"weight: must be from 0 to 1 (got {self.weight}); 0 switches the cache off")
        if not 0.0 <= self.theta <= 100.0:
            problems.append(f"theta: must be from 0 to 100 (got {self.theta}); 0 weights all positions equally")
        if self.window < 0:
            problems.append(f"window: must not be negative (got {self.window}); 0 is the whole text")
        return problems
