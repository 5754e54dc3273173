"""Windows of a split: every word at its place in the grid, epochs, resuming."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.data.config import BatchingConfig
from lstm_lm.data.streams import EvalWindows, TrainWindows, Window, jittered_lengths
from lstm_lm.errors import DataError

EOS = 0
# each word is a letter; "." is <eos>
ALPHABET = ".abcdefghijklmnopqrstuvwxyz"


def ids_of(letters: str) -> np.ndarray:
    return np.array([ALPHABET.index(letter) for letter in letters], dtype=np.int32)


def letters(rows: torch.Tensor) -> list[str]:
    return ["".join(ALPHABET[index] for index in row) for row in rows.tolist()]


def train_windows(n: int = 1000, seed: int = 3, **batching: int | bool) -> TrainWindows:
    config = BatchingConfig(**({"batch_size": 4, "bptt_length": 20, "jitter": True, "random_offset": True} | batching))
    ids = np.arange(n, dtype=np.int32)
    ids[-1] = EOS
    return TrainWindows(ids, config, seed, eos_id=EOS)


def content(windows: list[Window]) -> list[tuple[list[list[int]], list[list[int]], bool]]:
    return [(w.input_ids.tolist(), w.target_ids.tolist(), w.starts_stream) for w in windows]


def test_training_grid() -> None:
    windows = list(
        TrainWindows(ids_of("abcdefghijklmn."), BatchingConfig(batch_size=3, bptt_length=2), seed=1, eos_id=EOS)
    )
    assert [(letters(w.input_ids), letters(w.target_ids)) for w in windows] == [
        ([".a", "ef", "jk"], ["ab", "fg", "kl"]),
        (["bc", "gh", "lm"], ["cd", "hi", "mn"]),
        (["d", "i", "n"], ["e", "j", "."]),
    ]
    assert [w.starts_stream for w in windows] == [True, False, False]
    assert all(w.mask is None for w in windows)
    assert windows[0].input_ids.dtype == windows[0].target_ids.dtype == torch.int64


def test_evaluation_grid() -> None:
    windows = list(EvalWindows(ids_of("abcdefgh."), batch_size=2, window_length=3, eos_id=EOS))
    assert [(letters(w.input_ids), letters(w.target_ids)) for w in windows[:1]] == [([".ab", "efg"], ["abc", "fgh"])]
    last = windows[-1]
    assert last.mask is not None
    assert last.mask.tolist() == [[True, True], [True, False]]
    assert [row[:1] for row in letters(last.target_ids)] == ["d", "."]
    assert [w.starts_stream for w in windows] == [True, False]


@given(st.integers(1, 300), st.integers(1, 12), st.integers(1, 80))
def test_evaluation_predicts_every_word_once_from_the_one_before(n: int, batch_size: int, window_length: int) -> None:
    ids = np.arange(1, n + 1, dtype=np.int32)
    pairs = []
    for window in EvalWindows(ids, batch_size, window_length, eos_id=EOS):
        mask = torch.ones_like(window.target_ids, dtype=torch.bool) if window.mask is None else window.mask
        pairs += zip(window.input_ids[mask].tolist(), window.target_ids[mask].tolist(), strict=True)
    assert sorted(pairs) == [(i, i + 1) for i in range(n)]


def test_batch_sizes_1_and_10_evaluate_the_same_tokens() -> None:
    ids = np.random.default_rng(0).integers(0, 50, 245_569).astype(np.int32)
    counts = []
    for batch_size in (1, 10):
        targets = [
            w.target_ids.flatten() if w.mask is None else w.target_ids[w.mask]
            for w in EvalWindows(ids, batch_size, 70, eos_id=EOS)
        ]
        counts.append(torch.bincount(torch.cat(targets)).tolist())
    assert counts[0] == counts[1]
    assert sum(counts[0]) == 245_569


@pytest.mark.parametrize("jitter", [True, False])
@pytest.mark.parametrize("random_offset", [True, False])
def test_targets_are_inputs_shifted_by_one_and_windows_join(jitter: bool, random_offset: bool) -> None:
    windows = list(train_windows(jitter=jitter, random_offset=random_offset))
    inputs = torch.cat([w.input_ids for w in windows], dim=1)
    targets = torch.cat([w.target_ids for w in windows], dim=1)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    # 1,000 words in 4 streams: each word is a target once per epoch
    assert sorted(targets.flatten().tolist()) == sorted([*range(999), EOS])


def test_a_seed_reproduces_the_epochs_and_epochs_differ() -> None:
    one, other = train_windows(), train_windows()
    epochs = [content(list(one)) for _ in range(3)]
    assert epochs == [content(list(other)) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert content(list(train_windows(seed=4))) != epochs[0]
    assert {len(epoch) for epoch in epochs} == {len(one)}


def test_epochs_are_equal_without_jitter_and_random_offset() -> None:
    windows = train_windows(jitter=False, random_offset=False)
    assert content(list(windows)) == content(list(windows))


def test_random_offset_changes_the_windows_but_not_their_shapes() -> None:
    windows = train_windows(jitter=False)
    one, other = list(windows), list(windows)
    assert [w.target_ids.shape for w in one] == [w.target_ids.shape for w in other]
    assert content(one) != content(other)


@given(st.integers(5, 3000), st.integers(1, 100), st.integers(0, 9))
def test_jittered_lengths_fill_the_stream(stream_length: int, bptt_length: int, seed: int) -> None:
    if bptt_length > stream_length:
        return
    lengths = jittered_lengths(stream_length, bptt_length, seed)
    assert sum(lengths) == stream_length
    assert min(lengths) >= min(5, bptt_length)


def test_jittered_lengths_are_near_bptt_length_or_sometimes_its_half() -> None:
    lengths = np.array(jittered_lengths(700_000, 70, seed=1))
    short = (lengths < 50).mean()
    assert 0.03 < short < 0.07
    assert abs(lengths[lengths >= 50].mean() - 70) < 1
    assert 4 < lengths[lengths >= 50].std() < 6


@pytest.mark.parametrize("done", [0, 1, 5, 11])
def test_resuming_continues_with_the_next_window(done: int) -> None:
    whole = train_windows()
    expected = content(list(whole)) + content(list(whole))
    interrupted = train_windows()
    iterator = iter(interrupted)
    for _ in range(done):
        next(iterator)
    resumed = train_windows()
    resumed.load_state_dict(interrupted.state_dict())
    # Lightning creates one iterator more than it uses
    iter(resumed)
    assert content(list(resumed)) + content(list(resumed)) == expected[done:]


def test_resuming_at_the_end_of_an_epoch_starts_the_next() -> None:
    whole = train_windows()
    list(whole)
    state = whole.state_dict()
    assert state == {"epoch": 0, "position": len(whole)}
    resumed = train_windows()
    resumed.load_state_dict(state)
    assert content(list(resumed)) == content(list(whole))


def test_an_incomplete_epoch_is_repeated() -> None:
    windows = train_windows()
    first = next(iter(windows))
    assert content([next(iter(windows))]) == content([first])


def test_a_position_past_the_epoch_is_refused() -> None:
    with pytest.raises(DataError, match=r"at window 999 of an epoch, .* the same data, batching and seed"):
        train_windows().load_state_dict({"epoch": 0, "position": 999})


def test_processes_share_the_columns() -> None:
    config = BatchingConfig(batch_size=2, bptt_length=10)
    ids = np.arange(400, dtype=np.int32)
    whole = list(TrainWindows(ids, BatchingConfig(batch_size=4, bptt_length=10), 1, EOS))
    parts = [list(TrainWindows(ids, config, 1, EOS, rank=rank, world_size=2)) for rank in range(2)]
    for window, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(window.target_ids, torch.cat([first.target_ids, second.target_ids]))


@pytest.mark.parametrize("random_offset", [False, True])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_process_stores_and_reads_its_own_part_of_the_split_only(rank: int, random_offset: bool) -> None:
    class Recorded(np.ndarray):
        """Ids that know which of them were read."""

        positions: ClassVar[set[int]] = set()

        def __getitem__(self, key: object) -> object:
            if isinstance(key, np.ndarray):
                self.positions.update((key % len(self)).ravel().tolist())
            return super().__getitem__(key)

    config = BatchingConfig(batch_size=4, bptt_length=20, jitter=True, random_offset=random_offset)
    ids = np.arange(1000, dtype=np.int32)
    ids[-1] = EOS
    recorded = ids.view(Recorded)
    recorded.positions.clear()
    arguments = {"seed": 3, "eos_id": EOS, "rank": rank, "world_size": 3}
    windows = TrainWindows(recorded, config, **arguments)
    on_device = TrainWindows(ids, config, **arguments, device=torch.device("cpu"))
    for _ in range(3):
        recorded.positions.clear()
        assert content(list(windows)) == content(list(on_device))
        # four streams of 83 words each, and the word before them
        assert len(recorded.positions) == 4 * (1000 // 12) + 1
    assert on_device._device_split is not None
    assert len(on_device._device_split._words) == 4 * (1000 // 12) + 1


def test_evaluation_on_a_device_has_the_same_windows() -> None:
    for length, streams in ((10, 3), (5, 4), (12, 1)):
        ids = np.arange(1, length + 1, dtype=np.int32)
        for one, other in zip(
            EvalWindows(ids, streams, 2, EOS), EvalWindows(ids, streams, 2, EOS, torch.device("cpu")), strict=True
        ):
            mask = torch.ones_like(one.target_ids, dtype=torch.bool) if one.mask is None else one.mask
            assert torch.equal(one.input_ids[mask], other.input_ids[mask])
            assert torch.equal(one.target_ids[mask], other.target_ids[mask])


def test_error_for_too_short_streams_names_the_remedy() -> None:
    with pytest.raises(DataError, match=r"100 words in 20 streams are 5 words each.*bptt_length=35.*lower batching"):
        TrainWindows(np.zeros(100, dtype=np.int32), BatchingConfig(), 1, EOS)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="split to evaluate is empty; it needs at least one line"):
        EvalWindows(np.zeros(0, dtype=np.int32), 1, 10, EOS)


def test_to_moves_all_tensors_of_a_window() -> None:
    window = next(iter(EvalWindows(np.arange(5, dtype=np.int32), 2, 3, EOS)))
    moved = window.to("meta")
    assert moved.input_ids.device.type == moved.target_ids.device.type == "meta"
    assert moved.mask is not None
    assert moved.mask.device.type == "meta"


def test_modifying_a_window_does_not_modify_the_split() -> None:
    ids = np.arange(100, dtype=np.int32)
    ids.setflags(write=False)
    for window in TrainWindows(ids, BatchingConfig(batch_size=2, bptt_length=5, random_offset=True), 1, EOS):
        window.input_ids.add_(1)
        window.target_ids.zero_()
    assert ids.tolist() == list(range(100))
