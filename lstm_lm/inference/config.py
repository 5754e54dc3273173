"""How a next word is chosen, as plain data: config schema, preset of a bundle and options of a request at once."""

from dataclasses import dataclass, field

STRATEGIES = ("greedy", "sample")


@dataclass
class SamplingConfig:
    """A sampling preset.

    Attributes:
        strategy: ``greedy`` takes the most probable word, ``sample`` draws one.
        temperature: Divides the logits; below 1 is safer, above 1 is livelier.
        top_k: Draw from the ``top_k`` most probable words alone; 0 is off.
        top_p: Draw from the smallest set of words whose probability reaches ``top_p``; 1 is off
            (Holtzman et al. 2020 §3.1).
        seed: Makes a draw repeatable; ``None`` draws anew each time.
        ban_unk: Never give ``<unk>``.
        ban_tokens: Words of the vocabulary that are never given.
        repeat_penalty: Above 1 makes words of the last ``repeat_window`` less likely; 1 is off
            (Keskar et al. 2019 §4.1).
        repeat_window: How many words back the penalty looks.
        stop_eos: End at the first ``<eos>``.
    """

    strategy: str = "sample"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    ban_unk: bool = True
    ban_tokens: list[str] = field(default_factory=list)
    repeat_penalty: float = 1.0
    repeat_window: int = 0
    stop_eos: bool = False

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if self.strategy not in STRATEGIES:
            found.append(f"strategy: unknown (got {self.strategy!r}); use one of {', '.join(STRATEGIES)}")
        if not 0.0 < self.temperature <= 100.0:
            found.append(
                f"temperature: must be above 0 and at most 100 (got {self.temperature}); "
                "for the most probable word use strategy=greedy"
            )
        if self.top_k < 0:
            found.append(f"top_k: must not be negative (got {self.top_k}); 0 switches it off")
        if not 0.0 < self.top_p <= 1.0:
            found.append(f"top_p: must be above 0 and at most 1 (got {self.top_p}); 1 switches it off")
        if self.seed is not None and self.seed < 0:
            found.append(f"seed: must not be negative (got {self.seed})")
        if not 1.0 <= self.repeat_penalty <= 100.0:
            found.append(f"repeat_penalty: must be from 1 to 100 (got {self.repeat_penalty}); 1 switches it off")
        if self.repeat_window < 0:
            found.append(f"repeat_window: must not be negative (got {self.repeat_window}); 0 switches it off")
        return found


@dataclass
class CacheConfig:
    """How much the words of the text at hand count: the neural cache of Grave et al. 2017, "Improving Neural Language
    Models with a Continuous Cache", §3.

    Attributes:
        weight: Share of the cache in the mixture, the paper's lambda; from 0 (off) to 1.
        theta: How much more a place counts whose context resembles the present one; 0 counts all places alike.
        window: Words of the text that are looked back on; 0 is all.
    """

    # chosen on valid of WikiText-2 for texts of 50 words; 500 words would bear a weight of 0.2
    weight: float = 0.1
    theta: float = 0.2
    window: int = 0

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if not 0.0 <= self.weight <= 1.0:
            found.append(f"weight: must be from 0 to 1 (got {self.weight}); 0 switches the cache off")
        if not 0.0 <= self.theta <= 100.0:
            found.append(f"theta: must be from 0 to 100 (got {self.theta}); 0 counts all places alike")
        if self.window < 0:
            found.append(f"window: must not be negative (got {self.window}); 0 is the whole text")
        return found
