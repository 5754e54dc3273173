"""The engine, with a small untrained network."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.small_models import WORDS, small_engine, small_network, small_vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_lm.errors import ConfigError
from lstm_lm.inference.backend import State
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.detokenize import text_pieces
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.text.detokenize import detokenize_continuation

NETWORK = small_network()
ENGINE = small_engine(NETWORK)
VOCABULARY = small_vocabulary()
GREEDY = SamplingConfig(strategy="greedy", ban_unk=False)
SAMPLE = SamplingConfig(seed=5)


def probs_after(words: list[str]) -> np.ndarray:
    """The softmax after ``<eos>`` and ``words``, from one full forward pass."""
    ids = [VOCABULARY.eos_id, *VOCABULARY.encode(words)]
    with torch.no_grad():
        logits, _ = NETWORK(torch.tensor([ids]), NETWORK.initial_state(1))
    return logits[0, -1].double().softmax(0).numpy()


class FixedBackend:
    """A backend that returns the same logits after every word."""

    vocab_size = len(WORDS)

    def __init__(self, **probs: float) -> None:
        self.logits = np.full((1, len(WORDS)), -30.0, dtype=np.float32)
        for word, prob in probs.items():
            self.logits[0, VOCABULARY.id(word)] = np.log(prob)

    def initial_state(self, batch_size: int) -> State:
        return (np.zeros((batch_size, 1), np.float32), np.zeros((batch_size, 1), np.float32))

    def step(self, _input_ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        return self.logits, state

    def last_features(self, state: State) -> np.ndarray:
        return state[0]

    def prefill(self, input_ids: np.ndarray, state: State) -> tuple[np.ndarray, np.ndarray, State]:
        return np.zeros((input_ids.shape[1], 1), np.float32), self.logits[0], state


def fixed_engine(**probs: float) -> Engine:
    return Engine(FixedBackend(**probs), VOCABULARY, {"greedy": GREEDY}, "greedy")


@pytest.mark.parametrize(
    ("text", "words"), [("I", ["I"]), ("I want", ["I", "want"]), ("the\ncat", ["the", "<eos>", "cat"])]
)
def test_prediction_is_the_softmax_after_eos_and_the_text_without_unk_and_eos(text: str, words: list[str]) -> None:
    probs = probs_after(words)
    allowed = 1.0 - probs[VOCABULARY.unk_id] - probs[VOCABULARY.eos_id]
    suggestions = ENGINE.predict(text, 5).suggestions
    assert len(suggestions) == 5
    assert [s.probability for s in suggestions] == sorted((s.probability for s in suggestions), reverse=True)
    for suggestion in suggestions:
        spellings = [f"@{suggestion.word}@", *(word for word in WORDS if word.lower() == suggestion.word.lower())]
        if suggestion.word == "don't":
            spellings.append("don")  # only this contraction continues it
        expected = sum(probs[VOCABULARY.id(word)] for word in spellings if word in VOCABULARY)
        assert suggestion.probability == pytest.approx(expected / allowed, abs=1e-6)


@pytest.mark.parametrize("k", [len(WORDS), 10**9])
def test_all_words_but_unk_and_eos_are_suggested_and_sum_to_1(k: int) -> None:
    suggestions = ENGINE.predict("the", k).suggestions
    # "-" and "@-@" have the same text, as have "," and "@,@"; "don" is only the start of "don't"
    expected = set(WORDS) - {"<unk>", "<eos>", "@-@", "@,@", "don"}
    assert sorted(s.word.lower() for s in suggestions) == sorted({word.lower() for word in expected})
    assert {s.word for s in suggestions} <= expected
    assert sum(s.probability for s in suggestions) == pytest.approx(1.0)


@given(st.integers(1, 60))
@settings(deadline=None)
def test_smaller_k_gives_a_prefix_of_the_suggestions(k: int) -> None:
    assert ENGINE.predict("I want", k).suggestions == ENGINE.predict("I want", 99).suggestions[:k]


def test_words_with_the_same_text_are_one_suggestion() -> None:
    engine = fixed_engine(**{"@-@": 0.3, "-": 0.25, "the": 0.4})
    assert [(s.word, round(s.probability, 4)) for s in engine.predict("well", 2).suggestions] == [
        ("-", 0.5789),
        ("the", 0.4211),
    ]


def test_unknown_words_become_unk_and_are_reported_once() -> None:
    prediction = ENGINE.predict("the zork of zork and blarg", 3)
    assert prediction.unknown_words == ("zork", "blarg")
    assert prediction.suggestions == ENGINE.predict("the <unk> of <unk> and <unk>", 3).suggestions
    result = ENGINE.generate("the zork", GREEDY, 3)
    assert result.unknown_words == ENGINE.unknown_words("the zork") == ("zork",)
    assert result.text.startswith("the zork")


def test_greedy_is_the_argmax_of_the_full_forward() -> None:
    words = ["I", "want"]
    for word in ENGINE.stream("I want", GREEDY, 15):
        assert word == VOCABULARY.word(int(np.argmax(probs_after(words))))
        words.append(word)
    assert len(words) == 17


def test_a_seed_reproduces_a_text() -> None:
    first, second = (ENGINE.generate("the", SAMPLE, 20) for _ in range(2))
    assert first == second
    assert first.seed == 5
    assert ENGINE.generate("the", replace(SAMPLE, seed=6), 20).words != first.words


def test_a_drawn_seed_is_reported() -> None:
    first = ENGINE.generate("the", SamplingConfig(), 20)
    assert first.seed is not None
    assert ENGINE.generate("the", SamplingConfig(seed=first.seed), 20) == first
    assert ENGINE.generate("the", GREEDY, 2).seed is None


@given(st.integers(1, 12), st.integers(0, 100))
@settings(deadline=None)
def test_max_words_truncates_the_same_text(count: int, seed: int) -> None:
    sampling = SamplingConfig(seed=seed)
    words = list(ENGINE.stream("the", sampling, count))
    assert len(words) == count
    assert list(ENGINE.stream("the", sampling, count + 3))[:count] == words


def test_banned_words_are_never_generated() -> None:
    allowed = ["cat", "<eos>"]
    sampling = SamplingConfig(seed=1, ban_tokens=[word for word in WORDS if word not in allowed])
    assert set(ENGINE.stream("the", sampling, 30)) == set(allowed)
    unk_only = SamplingConfig(seed=1, ban_unk=False, ban_tokens=[word for word in WORDS if word != "<unk>"])
    assert set(ENGINE.stream("the", unk_only, 3)) == {"<unk>"}
    assert "<unk>" not in set(ENGINE.stream("the", SamplingConfig(seed=1, temperature=50.0), 400))


def test_stop_eos_ends_the_text_before_eos() -> None:
    engine = fixed_engine(**{"<eos>": 0.9, "the": 0.1})
    assert list(engine.stream("a", GREEDY, 3)) == ["<eos>"] * 3
    assert list(engine.stream("a", replace(GREEDY, stop_eos=True), 3)) == []
    assert engine.generate("a", GREEDY, 1).text == "a\n"
    assert engine.generate("a", replace(GREEDY, stop_eos=True), 3).text == "a"


def test_repeat_window_includes_the_prompt() -> None:
    engine = fixed_engine(the=0.5, cat=0.4, dog=0.1)
    window = {"repeat_penalty": 100.0, "repeat_window": 2}
    assert list(engine.stream("the", replace(GREEDY, **window), 4)) == ["cat", "dog", "the", "cat"]
    assert list(engine.stream("the", replace(GREEDY, repeat_penalty=100.0), 2)) == ["the", "the"]


def test_prompt_is_unchanged_and_words_are_detokenized() -> None:
    prompt = "  The well-known\tdon't  1,000 "
    result = ENGINE.generate(prompt, SAMPLE, 12)
    assert result.text.startswith(prompt)
    assert result.text == prompt + detokenize_continuation(prompt, result.words)


@given(
    st.lists(st.sampled_from(WORDS), max_size=25), st.sampled_from(["", "the", "well ", 'he said "', "a\n", "1,000"])
)
@settings(deadline=None)
def test_joined_pieces_are_the_continuation(words: list[str], prompt: str) -> None:
    pieces = list(text_pieces(prompt, words))
    assert len(pieces) == len(words)
    assert "".join(pieces) == detokenize_continuation(prompt, words)


def test_threads_get_the_same_results() -> None:
    jobs = [(prompt, SamplingConfig(seed=seed)) for seed in range(4) for prompt in ("the cat", "I want", "")]
    sequential = [ENGINE.generate(prompt, sampling, 15) for prompt, sampling in jobs]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(lambda job: ENGINE.generate(*job, 15), jobs * 3))
    assert threaded == sequential * 3


def test_all_problems_are_reported_before_the_first_word() -> None:
    with pytest.raises(ConfigError) as caught:
        ENGINE.stream("the", SamplingConfig(temperature=0.0, top_k=-1, top_p=float("nan"), strategy="beam"), 0)
    fields = [problem.partition(":")[0] for problem in caught.value.problems]
    assert fields == ["strategy", "temperature", "top_k", "top_p", "generate"]
    with pytest.raises(ConfigError, match=r"ban_tokens: not in the vocabulary \(got 'teh'\); did you mean 'the'"):
        ENGINE.stream("the", SamplingConfig(ban_tokens=["teh"]), 3)
    with pytest.raises(ConfigError, match="every word of the vocabulary is banned"):
        ENGINE.stream("the", SamplingConfig(ban_tokens=list(WORDS)), 3)
    with pytest.raises(ConfigError, match=r"k: must be at least 1 \(got 0\)"):
        ENGINE.predict("the", 0)


def test_preset_that_bans_an_oov_word_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"presets\.strict\.ban_tokens: not in the vocabulary \(got 'teh'\)"):
        Engine(FixedBackend(), VOCABULARY, {"strict": SamplingConfig(ban_tokens=["teh"])}, "strict")


def test_resolve_sampling_overrides_the_preset() -> None:
    assert ENGINE.resolve_sampling() == ENGINE.presets["balanced"]
    overridden = ENGINE.resolve_sampling("greedy", temperature=0.5, seed=None, ban_tokens=["the"])
    assert overridden == replace(ENGINE.presets["greedy"], temperature=0.5, ban_tokens=["the"])
    assert ENGINE.presets["greedy"].ban_tokens == []
    with pytest.raises(ConfigError, match=r"preset: unknown \(got 'x'\); use one of greedy, balanced, creative"):
        ENGINE.resolve_sampling("x")
    with pytest.raises(ConfigError, match="temperature"):
        ENGINE.resolve_sampling(temperature=-1.0)


def test_engine_accepts_any_backend() -> None:
    assert isinstance(ENGINE.backend, TorchBackend)
    assert fixed_engine(the=1.0).predict("a", 1).suggestions[0].word == "the"


def test_python_takes_what_http_takes() -> None:
    expected = ENGINE.predict("I want", 9, deny=["to", "the"], allow=["to", "the", "cat"])
    assert ENGINE.predict("I want", 9, deny="to, the", allow="to,the,cat") == expected
    assert ENGINE.resolve_sampling(topk=5) == ENGINE.resolve_sampling(top_k=5)
    assert ENGINE.resolve_sampling(temperature=0).strategy == "greedy"
    for call in (lambda: ENGINE.predict(None), lambda: ENGINE.generate(None, GREEDY, 1)):  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"text: must be a string \(got None\)"):
            call()


def test_the_result_says_why_it_ends() -> None:
    assert ENGINE.generate("the", GREEDY, 3).finish_reason == "length"
    engine = fixed_engine(**{"<eos>": 0.9})
    assert engine.generate("the", SamplingConfig(strategy="greedy", stop_eos=True), 3).finish_reason == "end_of_line"
