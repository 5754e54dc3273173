"""Lightning trains every window exactly once, wherever a run is interrupted and resumed."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from lstm_lm.data.config import BatchingConfig, DataConfig
from lstm_lm.data.streams import Window
from lstm_lm.training.datamodule import LanguageModelDataModule

EPOCHS = 3
WINDOWS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for split, lines in {"train": 40, "valid": 5, "test": 7}.items():
        text = "".join(" ".join(f"w{line}x{i}" for i in range(9)) + "\n" for line in range(lines))
        (folder / f"{split}.txt").write_text(text)
    return folder


def datamodule(folder: Path) -> LanguageModelDataModule:
    batching = BatchingConfig(batch_size=4, eval_batch_size=2, bptt_length=12, jitter=True, random_offset=True)
    return LanguageModelDataModule(DataConfig(source="text_files", dir=str(folder)), batching, seed=5)


class Recorder(L.LightningModule):
    """Records each window that it trains on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.trained: list[tuple[list[list[int]], bool]] = []

    def training_step(self, window: Window, _: int) -> torch.Tensor:
        self.trained.append((window.target_ids.tolist(), window.starts_stream))
        return self.weight.sum()

    def validation_step(self, window: Window, _: int) -> None:
        assert window.input_ids.shape[0] == 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(Callback):
    """Writes a checkpoint in one hook after a number of trained windows."""

    def __init__(self, hook: str, trained: int, path: Path) -> None:
        self.hook, self.trained, self.path = hook, trained, path

    def _maybe(self, hook: str, trainer: L.Trainer, module: Any) -> None:
        if hook == self.hook and len(module.trained) == self.trained and not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        self._maybe("batch", trainer, module)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._maybe("validation", trainer, module)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._maybe("epoch", trainer, module)


def fit(folder: Path, callbacks: list[Callback], ckpt_path: Path | None = None, **options: Any) -> Recorder:
    module = Recorder()
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        **options,
    )
    trainer.fit(module, datamodule=datamodule(folder), ckpt_path=None if ckpt_path is None else str(ckpt_path))
    return module


@pytest.fixture(scope="module")
def whole(folder: Path) -> Recorder:
    return fit(folder, [], max_epochs=EPOCHS)


def test_every_epoch_trains_all_windows(whole: Recorder) -> None:
    assert len(whole.trained) == EPOCHS * WINDOWS
    assert [starts for _, starts in whole.trained] == ([True] + [False] * (WINDOWS - 1)) * EPOCHS
    for epoch in range(EPOCHS):
        windows = [targets for targets, _ in whole.trained[epoch * WINDOWS : (epoch + 1) * WINDOWS]]
        # 40 lines of 9 words and <eos>, in 4 columns of 100 tokens
        assert sum(len(window[0]) for window in windows) == 100
    assert whole.trained[0] != whole.trained[WINDOWS]


BY_EPOCHS: dict[str, int] = {"max_epochs": EPOCHS}
# with max_steps, Lightning counts and restores a run in steps
BY_STEPS = {"max_steps": EPOCHS * WINDOWS, "max_epochs": -1}


@pytest.mark.parametrize("limit", [BY_EPOCHS, BY_STEPS, BY_EPOCHS | {"val_check_interval": 2}], ids=str)
@pytest.mark.parametrize(
    ("hook", "epoch", "windows"),
    [
        ("batch", 0, 1),
        ("batch", 0, 10),
        ("batch", 1, 4),
        ("validation", 0, 10),
        ("validation", 1, 10),
        ("epoch", 0, 10),
        ("epoch", 1, 10),
    ],
)
def test_resumed_run_trains_each_remaining_window_once(
    folder: Path, tmp_path: Path, whole: Recorder, hook: str, epoch: int, windows: int, limit: dict[str, int]
) -> None:
    done = epoch * WINDOWS + windows
    path = tmp_path / "at.ckpt"
    fit(folder, [SaveAt(hook, done, path)], **limit)
    resumed = fit(folder, [], ckpt_path=path, **limit)
    assert resumed.trained == whole.trained[done:]


def test_evaluation_covers_every_token(folder: Path) -> None:
    data = datamodule(folder)
    assert data.corpus is data.corpus, "it is loaded once"
    for split, loader in {"valid": data.val_dataloader(), "test": data.test_dataloader()}.items():
        counted = sum(w.target_ids.numel() if w.mask is None else int(w.mask.sum()) for w in loader)
        assert counted == len(data.corpus.splits[split])
