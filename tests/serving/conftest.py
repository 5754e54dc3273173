"""The service with a small bundle, and a client that calls it in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from anyio.from_thread import BlockingPortal, start_blocking_portal
from helpers.service_client import Client
from helpers.small_models import write_plain_bundle

from lstm_lm.data.config import DataConfig
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.serving import create_app
from lstm_lm.serving.settings import Settings
from lstm_lm.text.vocabulary import Vocabulary

WORDS = """\
the of and in to a was is that for it with as on by he at from his an were are which this be had not or have but has
people want they time years good I You old new @-@ @,@ , . " ' ( ) ; don 't 's well known London @.@ 1 000 café 😀
"""


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with random weights and a few dozen words."""
    counts = {word: 1000 - index for index, word in enumerate(["the", "<eos>", *WORDS.split()[1:]])}
    vocabulary = Vocabulary.from_counts({**counts, "seldom": 1}, min_count=2)
    config = ModelConfig(embedding_dim=12, hidden_dims=[16, 12])
    torch.manual_seed(0)
    network = LSTMLanguageModel(config, len(vocabulary))
    path = tmp_path_factory.mktemp("exports") / "tiny"
    write_plain_bundle(
        path,
        model=config,
        tokenizer="moses",
        data=DataConfig(source="text_files", title="words"),
        presets={
            "greedy": SamplingConfig(strategy="greedy"),
            "balanced": SamplingConfig(top_k=40, temperature=0.8),
        },
        weights={name: tensor.numpy() for name, tensor in network.state_dict().items()},
        vocabulary=vocabulary,
        card="# tiny\n",
    )
    return path


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def client(tiny_bundle: Path, portal: BlockingPortal) -> Client:
    settings = Settings(bundle=tiny_bundle, max_body_bytes=65_536, max_text_chars=2000, max_k=20, max_words=50)
    return Client(create_app(settings), portal)
