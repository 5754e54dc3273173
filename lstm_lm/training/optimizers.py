"""Builds optimizers from their config."""

import lightning as L
from torch.optim import SGD, Adam, AdamW, Optimizer

from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.training.config import OptimizerConfig
from lstm_lm.training.row_adamw import RowAdamW

_ADAMS: dict[str, type[Adam]] = {"adam": Adam, "adamw": AdamW, "row_adamw": RowAdamW}


def uses_sparse_gradient(config: OptimizerConfig, trainer: L.Trainer) -> bool:
    """Whether a run gives the embedding and output rows sparse gradients.

    With several processes, torch averages only dense gradients; on a GPU, coalescing a sparse one synchronizes.
    """
    single_process, device = trainer.world_size == 1, trainer.strategy.root_device
    return config.name == "row_adamw" and single_process and device.type == "cpu"


def build_optimizer(config: OptimizerConfig, model: LSTMLanguageModel) -> Optimizer:
    """Build the optimizer for the parameters of ``model``.

    ``asgd`` builds SGD: its weight averaging (Polyak & Juditsky 1992) is a callback that works with every optimizer.
    Weight decay applies to matrices only, not to the biases.
    """
    word_rows = {model.embedding.weight, model.output_weight}
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    word_group, matrix_group, bias_group = (
        {"params": [matrix for matrix in matrices if matrix in word_rows], "weight_decay": config.weight_decay},
        {"params": [matrix for matrix in matrices if matrix not in word_rows], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in model.parameters() if parameter.ndim <= 1], "weight_decay": 0.0},
    )
    if config.name not in _ADAMS:
        return SGD([word_group, matrix_group, bias_group], lr=config.lr, momentum=config.momentum)
    beta1, beta2 = config.betas
    if config.name == "row_adamw":
        word_group["betas"], bias_group["betas"] = (0.0, config.row_beta2), (beta1, config.row_beta2)
    return _ADAMS[config.name]([word_group, matrix_group, bias_group], lr=config.lr, betas=(beta1, beta2), fused=True)
