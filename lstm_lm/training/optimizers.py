"""Optimizers from their specs."""

from torch.optim import SGD, Adam, AdamW, Optimizer

from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.training.config import OptimizerConfig
from lstm_lm.training.row_adamw import RowAdamW

_ADAMS: dict[str, type[Adam]] = {"adam": Adam, "adamw": AdamW, "row_adamw": RowAdamW}


def build_optimizer(config: OptimizerConfig, model: LSTMLanguageModel) -> Optimizer:
    """The optimizer of a spec, for the parameters of ``model``.

    ``asgd`` is SGD; the average that it is named for (Polyak & Juditsky 1992) is a matter of ``averaging``, which goes
    with every optimizer. Matrices decay, vectors (the biases) do not.
    """
    word_rows = {model.embedding.weight, model.output_weight}
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    words, others, vectors = (
        {"params": [matrix for matrix in matrices if matrix in word_rows], "weight_decay": config.weight_decay},
        {"params": [matrix for matrix in matrices if matrix not in word_rows], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in model.parameters() if parameter.ndim <= 1], "weight_decay": 0.0},
    )
    if config.name not in _ADAMS:
        return SGD([words, others, vectors], lr=config.lr, momentum=config.momentum)
    beta1, beta2 = config.betas
    if config.name == "row_adamw":
        words["betas"], vectors["betas"] = (0.0, config.row_beta2), (beta1, config.row_beta2)
    return _ADAMS[config.name]([words, others, vectors], lr=config.lr, betas=(beta1, beta2), fused=True)
