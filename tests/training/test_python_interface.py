"""The Python interface: a Trainer of one's own, and the same results as the commands."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers.small_runs import ConfigFactory, optimizer_config, weights
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

import lstm_lm
from lstm_lm import (
    BatchingConfig,
    DataConfig,
    EvaluationConfig,
    LanguageModelDataModule,
    LanguageModelModule,
    LossConfig,
    ModelConfig,
    evaluate,
    export_bundle,
    load_model,
    train,
    train_config,
)
from lstm_lm.errors import ConfigError
from lstm_lm.export.config import BundleExportConfig
from lstm_lm.training.config import TrainerConfig

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Recorder(Callback):
    """Records the loss of each validation and whether dropout was on in each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.training: set[bool] = set()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:  # noqa: ARG002
        self.training.add(pl_module.model.training)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ARG002
        if not trainer.sanity_checking:
            self.losses.append(float(trainer.callback_metrics["valid/loss"]))


@pytest.fixture
def data(corpus: Path) -> LanguageModelDataModule:
    batching = BatchingConfig(batch_size=8, eval_batch_size=4, bptt_length=30)
    return LanguageModelDataModule(DataConfig(source="text_files", dir=str(corpus)), batching)


def small_module(data: LanguageModelDataModule, **arguments: Any) -> LanguageModelModule:
    return LanguageModelModule(data.corpus, ModelConfig(16, [24, 16], output_dropout=0.1), bptt_length=30, **arguments)


def test_every_public_name_exists_and_none_is_imported_early() -> None:
    for name in lstm_lm.__all__:
        assert getattr(lstm_lm, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'load_modle'"):
        _ = lstm_lm.load_modle
    code = (
        "import sys, lstm_lm\nfrom lstm_lm import load_model\n"
        "print([name for name in ('torch', 'lightning', 'hydra', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_of_ones_own_fits_tests_resumes_and_exports(data: LanguageModelDataModule, tmp_path: Path) -> None:
    module, recorder = small_module(data), Recorder()
    best = ModelCheckpoint(tmp_path / "mine", monitor="valid/loss", save_last=True)
    logger = CSVLogger(tmp_path / "logs")
    trainer = L.Trainer(max_epochs=2, logger=logger, callbacks=[recorder, best], **QUIET)
    trainer.fit(module, datamodule=data)
    assert recorder.losses[1] < recorder.losses[0]
    assert "valid/perplexity" in (Path(logger.log_dir) / "metrics.csv").read_text()
    assert len(module.engine().predict("the old", 3).suggestions) == 3

    saved = load_model(best.best_model_path)
    expected = evaluate(saved.network, saved.vocabulary, saved.corpus(), EvaluationConfig(), "test").score
    (tested,) = trainer.test(module, datamodule=data, ckpt_path=best.best_model_path, verbose=False)
    assert tested["test/loss"] == pytest.approx(expected.loss, rel=1e-6)
    assert (tested["test/streams"], tested["test/tokens"]) == (1, expected.tokens)
    loaded = LanguageModelModule.load_from_checkpoint(best.best_model_path)
    (again,) = L.Trainer(logger=False, **QUIET).test(loaded, datamodule=data, verbose=False)
    assert again["test/loss"] == pytest.approx(expected.loss, rel=1e-6)

    bundle = export_bundle(best.best_model_path, tmp_path / "bundle", BundleExportConfig(int8=False)).bundle
    assert load_model(str(bundle.path)).engine().predict("the old", 3) == saved.engine().predict("the old", 3)

    longer = L.Trainer(max_epochs=3, logger=False, callbacks=[recorder], enable_checkpointing=False, **QUIET)
    longer.fit(module, datamodule=data, ckpt_path=best.last_model_path)
    assert (longer.current_epoch, len(recorder.losses)) == (3, 3)
    assert recorder.training == {True}, "engine() and load_from_checkpoint() switch dropout off only for themselves"


def test_own_trainer_reaches_the_weights_of_a_run(config: ConfigFactory, tmp_path: Path) -> None:
    one_epoch = config(trainer=TrainerConfig(precision="fp32", max_epochs=1), embedding_init="cooccurrence")
    train(one_epoch, tmp_path / "run")
    data = LanguageModelDataModule(one_epoch.data, one_epoch.batching, one_epoch.seed)
    torch.manual_seed(99)  # not part of it
    module = LanguageModelModule.from_config(one_epoch, data.corpus)
    clip = one_epoch.trainer.gradient_clip_val
    trainer = L.Trainer(max_epochs=1, gradient_clip_val=clip, logger=False, enable_checkpointing=False, **QUIET)
    trainer.fit(module, datamodule=data)
    for name, tensor in weights(tmp_path / "run").items():
        assert torch.equal(module.state_dict()[name], tensor), name


def test_a_module_initializes_itself(data: LanguageModelDataModule, tmp_path: Path) -> None:
    module, counts = small_module(data), torch.tensor(data.corpus.vocabulary.counts, dtype=torch.float64)
    probs = counts.clamp(min=1) / counts.clamp(min=1).sum()
    assert torch.allclose(module.model.output_bias.double(), probs.log())
    again = small_module(data)
    for name, parameter in module.model.named_parameters():
        assert torch.equal(parameter, again.model.state_dict()[name])
    vectors = small_module(data, embedding_init="cooccurrence").model.embedding.weight
    assert vectors.square().mean().item() == pytest.approx(0.25**2, rel=1e-4)
    trainer = L.Trainer(logger=False, **QUIET)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    other = small_module(data, seed=2, init_from=tmp_path / "mine.ckpt")
    assert other.metadata.init_from is not None
    assert other.metadata.init_from.words == len(data.corpus.vocabulary)
    assert torch.equal(other.model.embedding.weight, module.model.embedding.weight)


def test_row_adamw_works_with_a_trainer_of_ones_own(data: LanguageModelDataModule) -> None:
    loss = LossConfig("sampled_softmax", num_frequent=4, num_sampled=8)
    module = small_module(data, loss=loss, optimizer=optimizer_config("row_adamw", lr=1e-2))
    before = module.model.embedding.weight.detach().clone()
    L.Trainer(max_steps=3, logger=False, enable_checkpointing=False, **QUIET).fit(module, datamodule=data)
    assert module.loss.sparse_gradient
    assert not torch.equal(module.model.embedding.weight, before)


def test_train_config_composes_as_the_command_does() -> None:
    config = train_config("experiment=quickstart", "model=tiny", "seed=3")
    assert (config.model.hidden_dims, config.seed, config.data.source) == ([64], 3, "python_docs")
    with pytest.raises(ConfigError, match="did you mean tiny"):
        train_config("model=tny")
