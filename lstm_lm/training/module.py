"""The LightningModule that trains and validates a language model."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from typing_extensions import override

from lstm_lm.checkpoint import METADATA, CheckpointMetadata
from lstm_lm.data.encoding import EncodedCorpus
from lstm_lm.data.streams import Window
from lstm_lm.errors import TrainingError
from lstm_lm.evaluation.score import Score
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.nn.device import use_exact_float32
from lstm_lm.nn.losses import SoftmaxLoss
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.state import LSTMState
from lstm_lm.training.clipping import clip_gradients
from lstm_lm.training.config import OPTIMIZER, SCHEDULE, TrainConfig
from lstm_lm.training.initialization import initial_network, saved_run
from lstm_lm.training.objective import GraphedObjective, window_objective
from lstm_lm.training.optimizers import build_optimizer, uses_sparse_gradients
from lstm_lm.training.schedules import build_schedule
from lstm_lm.training.scoring import SplitScore, SplitScorer


class LanguageModelModule(L.LightningModule):
    """Trains a network by truncated backpropagation through time; the state is carried from window to window.

    ::

        data = LanguageModelDataModule(DataConfig(source="text_files", dir="corpus"))
        module = LanguageModelModule(data.corpus, ModelConfig(embedding_dim=64, hidden_dims=[64]))
        L.Trainer(max_epochs=1).fit(module, datamodule=data)

    Args:
        corpus: The training corpus.
        model: Sizes of the network, which is built and initialized; or a network, which is taken as it is.
        loss: Softmax and activation regularization.
        optimizer: ``_target_`` of the optimizer, the path of a class such as ``torch.optim.AdamW``, and its arguments;
            ``None`` is Adam with a learning rate of 1e-3.
        schedule: The same for the learning-rate schedule; ``None`` is a constant rate.
        bptt_length: Nominal window length; the loss of a longer or shorter window is scaled accordingly.
        seed: Seed of the initial weights. It also seeds each step together with the step number, so that a resumed run
            draws the same random numbers.
        embedding_init: As in :func:`initial_network`.
        init_from: A model whose weights the network starts with, as in :func:`warm_start`.
        presets: Sampling presets by name, for checkpoints and exports; ``default`` is the default one.
        fraction: Maps optimizer steps to the completed fraction of the run, which drives the schedule; ``None`` takes
            the Trainer's number of steps.
        run: Settings of the run that checkpoints record, plain data.
        cuda_graphs: On one GPU, run windows of ``bptt_length`` as CUDA graphs.

    Attributes:
        metadata: What checkpoints record besides weights, scores and training state.
        valid_score: Score of the last validation.
        metrics: The scores that a checkpoint of the scored weights records, by split.

    Raises:
        ValueError: If ``model`` is invalid.
        ConfigError: If ``init_from`` has other sizes.
    """

    def __init__(
        self,
        corpus: EncodedCorpus,
        model: ModelConfig | LSTMLanguageModel | None = None,
        *,
        loss: LossConfig | None = None,
        optimizer: Mapping[str, Any] | None = None,
        schedule: Mapping[str, Any] | None = None,
        bptt_length: int = 35,
        seed: int = 1,
        embedding_init: str = "random",
        init_from: str | Path | None = None,
        presets: Mapping[str, SamplingConfig] | None = None,
        fraction: Callable[[int], float] | None = None,
        run: Mapping[str, Any] | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        super().__init__()
        initialized_from = None
        if not isinstance(model, LSTMLanguageModel):
            config = ModelConfig() if model is None else model
            model, initialized_from = initial_network(config, corpus, seed, embedding_init, init_from)
        self.model = model
        self.loss_config = LossConfig() if loss is None else loss
        self.optimizer_config = OPTIMIZER if optimizer is None else optimizer
        self.schedule_config = SCHEDULE if schedule is None else schedule
        self.bptt_length = bptt_length
        self.seed = seed
        self.fraction = self._fraction_of_steps if fraction is None else fraction
        self.metadata = CheckpointMetadata(
            model=model.config.with_all_options(),
            tokenizer=corpus.tokenizer,
            data=corpus.config.with_absolute_paths(),
            presets={"default": SamplingConfig()} | dict(presets or {}),
            default_preset="default",
            init_from=initialized_from,
            vocabulary=corpus.vocabulary,
            run=dict(run or {"loss": self.loss_config.name, "seed": seed}),
        )
        self.loss = SoftmaxLoss(self.loss_config, corpus.vocabulary.counts)
        self._objective = functools.partial(window_objective, self.model, self.loss, bptt_length)
        self._graphed = GraphedObjective(self.model, self.loss, bptt_length) if cuda_graphs else None
        self.scorer = SplitScorer(corpus.vocabulary)
        self.valid_score: SplitScore | None = None
        self.metrics: dict[str, Any] = {}
        self._scored_step = -1
        self.gradient_norm = torch.tensor(torch.nan)
        self._state: LSTMState | None = None

    @classmethod
    def from_config(cls, config: TrainConfig, corpus: EncodedCorpus, **arguments: Any) -> Self:
        """The module of a run of ``lstm-lm train``; ``arguments`` are other arguments of the constructor."""
        return cls(
            corpus,
            config.model,
            loss=config.loss,
            optimizer=config.optimizer,
            schedule=config.schedule,
            bptt_length=config.batching.bptt_length,
            seed=config.seed,
            embedding_init=config.embedding_init,
            init_from=config.init_from,
            presets={**config.presets, "default": config.sampling},
            cuda_graphs=config.trainer.cuda_graphs,
            **arguments,
        )

    def _fraction_of_steps(self, step: int) -> float:
        return min(step / self.trainer.estimated_stepping_batches, 1.0)

    @override
    def setup(self, stage: str) -> None:
        use_exact_float32(self.trainer.strategy.root_device)
        tied = self.model.config.tie_weights
        self.loss.sparse_gradient = uses_sparse_gradients(self.optimizer_config, self.trainer, tied)
        if self.trainer.world_size > 1:
            self._graphed = None
            # what DistributedDataParallel asks: whether to exchange rows, or the gradient of the whole vocabulary
            self.model.embedding.sparse = self.loss.sparse_gradient and self.loss.inclusion is not None

    @override
    def on_fit_start(self) -> None:
        self.train()  # engine() has switched dropout off

    def engine(self) -> Engine:
        """An engine that predicts and generates with the current weights, from the CPU or a GPU."""
        self.model.eval()
        presets = self.metadata.presets
        return Engine(TorchBackend(self.model), self.metadata.vocabulary, presets, self.metadata.default_preset)

    @classmethod
    @override
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: Any = None, **arguments: Any
    ) -> Self:
        """A module with the weights of a checkpoint, a bundle or a run folder, to test, train further or export.

        Optimizer and schedule are not restored, as no code is taken from a file: ``trainer.fit(…, ckpt_path=PATH)``
        restores their state.

        Args:
            checkpoint_path: As in ``load_model``.
            map_location: The device of the weights; by default the CPU.
            arguments: The module's other arguments.

        Raises:
            CheckpointError, BundleError: If the model cannot be loaded.
        """
        saved, corpus, settings = saved_run(checkpoint_path)
        module = cls(corpus, saved.network, **{**settings, **arguments})
        module.metadata = replace(module.metadata, init_from=saved.metadata.init_from)
        return module.to(map_location or "cpu")

    @override
    def on_train_start(self) -> None:
        if self._state is not None:  # restored from a checkpoint, on the CPU
            self._state = self._state.to(self.device)

    @override
    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.optimizer_config, self.model)
        schedule = build_schedule(self.schedule_config, optimizer, lambda: self.fraction(self.global_step))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    @override
    def on_train_batch_start(self, batch: Window, batch_idx: int) -> None:
        # with accumulation, each window of a step draws its own numbers
        accumulated = 1 if self._trainer is None else self._trainer.accumulate_grad_batches
        torch.manual_seed((self.seed << 32) + self.global_step * accumulated + batch_idx % accumulated)

    @override
    def training_step(self, batch: Window, batch_idx: int) -> dict[str, Tensor]:
        state = self._state
        if batch.starts_stream or state is None:
            state = self.model.initial_state(batch.input_ids.shape[0])
        step = self._objective if self._graphed is None else self._graphed.step(batch)
        objective, nll, dropped, *tensors = step(batch.input_ids, batch.target_ids, *state.detach().tensors())
        self._state = LSTMState.from_tensors(tensors, len(self.model.layers))
        if nll.device.type == "cpu":  # on a GPU, TrainingMetrics checks the losses of several steps at once
            self.check_finite(nll.item(), self.global_step)
        return {"loss": objective, "nll": nll, "features": dropped}

    def check_finite(self, nll: float, step: int) -> None:
        """Raise an error if a loss is not finite.

        Args:
            nll: Loss of a step.
            step: Number of the step.

        Raises:
            TrainingError: If ``nll`` is infinite or NaN.
        """
        if not math.isfinite(nll):
            raise TrainingError(
                f"the loss became {nll} at step {step}; lower optimizer.lr (got {self.optimizer_config.get('lr')}) or "
                "trainer.gradient_clip_val"
            )

    @override
    def on_validation_epoch_start(self) -> None:
        self.scorer.reset()

    @override
    def validation_step(self, batch: Window, batch_idx: int) -> None:
        self.scorer.add(self.model, batch)

    @override
    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:  # a few windows before the first step
            return
        result = self.scorer.result(self.trainer.val_dataloaders)
        # every process scores all windows; on GPUs, rounding may differ, and what follows must not
        result = self.valid_score = self.trainer.strategy.broadcast(result)
        self.metrics = {"valid": result.score.to_dict() | {"exact": result.is_exact}}
        self._scored_step = self.global_step
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(result.score.loss)
        # Lightning's own count is one behind here
        self._log_score("valid", result.score, {"step": float(self.global_step)})

    # the data module reads test as lstm-lm eval does: as one stream
    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step

    @override
    def on_test_epoch_end(self) -> None:
        windows = self.trainer.test_dataloaders
        score = self.scorer.result(windows).score
        # how it was read
        read = {"test/tokens": float(score.tokens), "test/streams": float(getattr(windows, "num_streams", 1))}
        self._log_score("test", score, read)

    def _log_score(self, split: str, score: Score, others: dict[str, float]) -> None:
        figures = {f"{split}/{name}": getattr(score, name) for name in ("loss", "perplexity", "top1", "top5")}
        self.log_dict({**figures, f"{split}/words_top1": score.words.top1, **others})

    @override
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        # on_validation_epoch_end steps a plateau schedule, before the checkpoint is written: Lightning would step it
        # afterwards, at the end of the epoch, and a run resumed from that checkpoint would miss the step
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = None if self._state is None else self._state.map(self._gather_streams)
        checkpoint[METADATA] = {
            **self.metadata.to_plain(),
            # if the weights changed since validation, the score no longer applies
            "metrics": self.metrics if self._scored_step == self.global_step else {},
            "epoch": self.current_epoch,
            "step": self.global_step,
            "state": None if state is None else state.by_name(self.model.cell.state_names),
        }

    def _gather_streams(self, tensor: Tensor) -> Tensor:
        """The state of the streams of all processes, (1, world_size x B, H), as one process would have it."""
        if self.trainer.world_size == 1:
            return tensor
        gathered = [torch.empty_like(tensor) for _ in range(self.trainer.world_size)]
        torch.distributed.all_gather(gathered, tensor.contiguous())
        return torch.cat(gathered, dim=1)

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        record = checkpoint[METADATA]
        state = record["state"]
        if state is not None:
            whole = LSTMState.from_names(state, self.model.cell.state_names)
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            self._state = whole.map(lambda tensor: tensor.chunk(world_size, dim=1)[rank])
        self.metrics, self._scored_step = record["metrics"], record["step"]

    @override
    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # overridden because Lightning rejects fused optimizers in mixed precision (for a loss scale that bfloat16 does
        # not have), because torch has no norm of a sparse gradient, and to log the norm
        self.gradient_norm = clip_gradients(self.model.parameters(), gradient_clip_val, gradient_clip_algorithm)
