"""A corpus that a tiny model learns in seconds."""

import random
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.txt, valid.txt and test.txt: short sentences from a small grammar."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    for split, lines in (("train", 400), ("valid", 40), ("test", 40)):
        sentences = (
            f"the {rng.choice(['cat', 'dog', 'bird', 'fish'])} {rng.choice(['sees', 'hears', 'likes'])} "
            f"a {rng.choice(['big', 'small'])} {rng.choice(['house', 'tree', 'stone'])} ."
            for _ in range(lines)
        )
        (folder / f"{split}.txt").write_text("\n".join(sentences) + "\n")
    return folder
