"""The bootstrap: article boundaries, reproducibility and width."""

import numpy as np
import pytest
from helpers.small_streams import VOCABULARY

from lstm_lm.evaluation.intervals import BLOCK_WORDS, article_starts, bootstrap

LINES = {"title": "= the =", "long title": "= the , 1990 =", "section": "= = the = =", "text": "the , the", "blank": ""}


def encoded(*names: str) -> np.ndarray:
    words = [word for name in names for word in [*LINES[name].split(), "<eos>"]]
    return np.array(VOCABULARY.encode(words), dtype=np.int32)


def test_articles_start_with_a_level_1_heading() -> None:
    article = ("title", "blank", "text", "section", "text")
    ids = encoded("blank", *article, *("long title", *article[1:]) * 1, *article * 9)
    starts, unit = article_starts(ids, VOCABULARY)
    assert unit == "article"
    assert len(starts) == 11
    assert starts[0] == 0, "lines before the first heading belong to the first article"
    assert starts[1] == 1 + len(encoded(*article))
    assert starts[2] - starts[1] == len(encoded("long title", *article[1:]))
    assert (np.diff(starts[2:]) == len(encoded(*article))).all()


@pytest.mark.parametrize("line", ["section", "text", "blank"])
def test_other_lines_are_not_headings(line: str) -> None:
    assert article_starts(encoded(*["title", line] * 12), VOCABULARY)[0].size == 12
    assert article_starts(encoded(*[line] * 40), VOCABULARY)[1] == "block"


def test_corpus_without_headings_is_cut_into_blocks_of_lines() -> None:
    ids = encoded(*["text"] * 2000)
    starts, unit = article_starts(ids, VOCABULARY)
    assert unit == "block"
    assert len(starts) == len(ids) // BLOCK_WORDS
    assert (starts % 4 == 0).all(), "a block starts at a line"
    assert set(np.diff(starts)) == {BLOCK_WORDS}


def test_last_line_without_eos_counts() -> None:
    ids = encoded(*["title", "text"] * 12)[:-1]
    assert len(article_starts(ids, VOCABULARY)[0]) == 12


def test_equal_articles_give_an_interval_of_width_0() -> None:
    ids = encoded(*["title", "text"] * 20)
    interval = bootstrap(np.full(len(ids), np.log(50.0)), ids, VOCABULARY)
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(50.0), pytest.approx(50.0))
    assert (interval.articles, interval.unit, interval.level) == (20, "article", 0.95)


def test_interval_matches_the_normal_approximation() -> None:
    rng, count = np.random.default_rng(0), 400
    ids = encoded(*["title", "text"] * count)
    losses = rng.normal(4.0, 0.5, size=count)
    interval = bootstrap(np.repeat(losses, len(ids) // count), ids, VOCABULARY)
    assert interval is not None
    half = 1.96 * losses.std() / np.sqrt(count)
    assert np.log(interval.low) == pytest.approx(losses.mean() - half, abs=0.01)
    assert np.log(interval.high) == pytest.approx(losses.mean() + half, abs=0.01)


def test_articles_are_weighted_by_length() -> None:
    ids = encoded(*["title", "text"] * 10, *["text"] * 200)
    nll = np.full(len(ids), 2.0)
    nll[-804:] = 6.0
    interval = bootstrap(nll, ids, VOCABULARY)
    assert interval is not None
    assert np.log(interval.high) > 5.5, "resamples with the long article"
    assert np.log(interval.low) == pytest.approx(2.0), "a third of the resamples do not contain it"


def test_interval_is_reproducible_and_needs_two_articles() -> None:
    ids = encoded(*["title", "text"] * 20)
    nll = np.random.default_rng(1).random(len(ids))
    assert bootstrap(nll, ids, VOCABULARY) == bootstrap(nll, ids, VOCABULARY)
    assert bootstrap(nll[:9], ids[:9], VOCABULARY) is None
