"""Optimizers from their specs."""

from torch.optim import SGD, Adam, AdamW, Optimizer

from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.training.row_adamw import RowAdamW
from lstm_lm.training.config import OptimizerConfig

_ADAMS: dict[str, type[Adam]] = {"adam": Adam, "adamw": AdamW, "row_adamw": RowAdamW}


def build_optimizer(spec: OptimizerConfig, model: LSTMLanguageModel) -> Optimizer:
    """The optimizer of a spec, for the parameters of ``model``.

    ``asgd`` is SGD; the average that it is named for (Polyak & Juditsky 1992) is a matter of ``averaging``, which goes
    with every optimizer. Matrices decay, vectors (the biases) do not.
    """
    word_rows = {model.embedding.weight, model.output_weight}
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    words, others, vectors = (
        {"params": [matrix for matrix in matrices if matrix in word_rows], "weight_decay": spec.weight_decay},
        {"params": [matrix for matrix in matrices if matrix not in word_rows], "weight_decay": spec.weight_decay},
        {"params": [parameter for parameter in model.parameters() if parameter.ndim <= 1], "weight_decay": 0.0},
    )
    if spec.name not in _ADAMS:
        return SGD([words, others, vectors], lr=spec.lr, momentum=spec.momentum)
    beta1, beta2 = spec.betas
    if spec.name == "row_adamw":
        words["betas"], vectors["betas"] = (0.0, spec.row_beta2), (beta1, spec.row_beta2)
    return _ADAMS[spec.name]([words, others, vectors], lr=spec.lr, betas=(beta1, beta2), fused=True)
