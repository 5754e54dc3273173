"""An optimizer, a schedule, a callback and a logger of one's own: one file each, outside the project."""

import json
from pathlib import Path

import pytest
import torch
from helpers.preloaded import run
from helpers.real_commands import write_corpus

OPTIMIZER = """
# RAdam, from a file in --config-dir.
_target_: torch.optim.RAdam
lr: 5e-3
betas: [0.9, 0.95]
"""
SCHEDULE = """
# A scheduler of torch, per step.
_target_: torch.optim.lr_scheduler.StepLR
step_size: 10
gamma: 0.5
"""
CALLBACK = '''
import json
import lightning as L


class RareWords(L.Callback):
    """Counts something, and asks the run for its vocabulary and folder."""

    def __init__(self, vocabulary, run_dir, threshold=2):
        self.rare = sum(count < threshold for count in vocabulary.counts)
        self.file = run_dir / "rare.json"
        self.steps = 0

    def on_train_batch_end(self, *args):
        self.steps += 1

    def on_train_end(self, trainer, pl_module):
        self.file.write_text(json.dumps({"rare": self.rare, "steps": self.steps}))

    def state_dict(self):
        return {"steps": self.steps}
'''
LOGGER = '''
from lightning.pytorch.loggers import Logger


class Lines(Logger):
    """Every metric on a line."""

    def __init__(self, save_dir):
        self.file = open(f"{save_dir}/lines.txt", "w", buffering=1)

    name = "lines"
    version = 0

    def log_metrics(self, metrics, step=None):
        self.file.write(f"{step} {sorted(metrics)}\\n")

    def log_hyperparams(self, params, *args, **kwargs):
        self.file.write(f"settings {sorted(params)}\\n")
'''


@pytest.mark.slow
def test_each_part_is_one_file_outside_the_project(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    for name, text in {
        "mine/optimizer/radam.yaml": OPTIMIZER,
        "mine/schedule/steps.yaml": SCHEDULE,
        "rare_words.py": CALLBACK,
        "lines.py": LOGGER,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    run(
        *("train", "--config-dir", "mine", "optimizer=radam", "schedule=steps", "callbacks=quiet", "logger=none"),
        *("+callbacks.rare._target_=rare_words.RareWords", "callbacks.rare.threshold=3"),
        *("+logger.mine._target_=lines.Lines", "trainer.max_steps=25", "trainer.log_every_n_steps=5"),
        *("data=text_files", "data.dir=corpus", "model=tiny", "trainer.precision=fp32", "hydra.run.dir=run"),
        cwd=tmp_path,
    )
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    group = checkpoint["optimizer_states"][0]["param_groups"][0]
    assert (group["betas"], group["lr"]) == ([0.9, 0.95], pytest.approx(5e-3 / 4))
    assert checkpoint["callbacks"]["RareWords"] == {"steps": 25}
    assert json.loads((tmp_path / "run" / "rare.json").read_text())["steps"] == 25
    lines = (tmp_path / "run" / "lines.txt").read_text().splitlines()
    assert lines[0].startswith("settings ['averaging', 'batching'")
    assert [line.split()[0] for line in lines if "train/loss" in line] == ["5", "10", "15", "20", "25"]
    assert "whole_run/valid_perplexity" in lines[-1]
