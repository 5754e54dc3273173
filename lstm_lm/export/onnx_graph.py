"""The network as an ONNX graph, in float32 and in int8: ids and state in; features, logits and state out.

Batch and time are dynamic dimensions. The output layer runs only for the last token of each text. The graphs are
written by hand because ``torch.export`` would fix the time dimension of an LSTM.

The int8 graph quantizes weights statically per output channel and activations dynamically per row. The result of a text
is therefore bitwise independent of the batch it is in and of how its words are split into windows. onnxruntime's own
dynamic quantization uses one scale for a whole batch and window and does not have this property.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from lstm_lm.export.graph_builder import CONTRIB, GraphBuilder
from lstm_lm.nn.config import ModelConfig

Weights = Mapping[str, NDArray[np.float32]]
_FLOAT, _INT64 = TensorProto.FLOAT, TensorProto.INT64


def float_graph(config: ModelConfig, weights: Weights) -> bytes:
    """Build ``model.onnx``: Gather, one LSTM per layer, Gemm; a tied embedding is stored once.

    Args:
        config: Config of the network.
        weights: Its ``state_dict``, float32.
    """
    graph = GraphBuilder("lstm_lm")
    input_ids, states = _inputs(graph, config)
    embedding = graph.constant("embedding", weights["embedding.weight"])
    first, second = graph.constant("axis_0", np.array([0])), graph.constant("axis_1", np.array([1]))
    features = graph.op("Gather", embedding, graph.op("Transpose", input_ids, perm=[1, 0]))  # (T, B, E)
    final_states = []
    for depth, (hidden, cell) in enumerate(states):
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        parts = [_to_iofc(weights[f"layers.{depth}.{name}"]) for name in names]
        all_hidden, last_hidden, last_cell = graph.op_many(
            "LSTM",
            features,
            graph.constant(f"layers.{depth}.input", parts[0][None]),
            graph.constant(f"layers.{depth}.recurrent", parts[1][None]),
            graph.constant(f"layers.{depth}.bias", np.concatenate(parts[2:])[None]),
            "",
            graph.op("Unsqueeze", hidden, first),
            graph.op("Unsqueeze", cell, first),
            count=3,
            hidden_size=config.hidden_dims[depth],
        )
        features = graph.op("Squeeze", all_hidden, second)
        final_states.append((graph.op("Squeeze", last_hidden, first), graph.op("Squeeze", last_cell, first)))
    output = embedding if config.tie_weights else graph.constant("output", weights["untied_output_weight"])
    bias = graph.constant("output_bias", weights["output_bias"])
    logits = _adaptive_logits(
        graph, config, weights, final_states[-1][0], graph.op("Gemm", final_states[-1][0], output, bias, transB=1)
    )
    _outputs(graph, config, features, logits, final_states)
    return graph.model()


def int8_graph(config: ModelConfig, weights: Weights) -> bytes:
    """Build ``model.int8.onnx``: every matrix in int8; a tied embedding is stored once.

    Args:
        config: Config of the network.
        weights: Its ``state_dict``, float32.
    """
    graph = GraphBuilder("lstm_lm")
    input_ids, states = _inputs(graph, config)
    embedding, scales = _quantize(graph, "embedding", weights["embedding.weight"])
    # (E, V) instead of (V, E), the layout of the output layer, so that both can share one constant
    columns = graph.op("Transpose", graph.op("Gather", embedding, input_ids, axis=1), perm=[2, 1, 0])  # (T, B, E)
    factors = graph.op("Gather", scales, graph.op("Transpose", input_ids, perm=[1, 0]))
    features = graph.op(
        "Mul",
        graph.op("Cast", columns, to=_FLOAT),
        graph.op("Unsqueeze", factors, graph.constant("last_axis", np.array([-1]))),
    )
    final_states = []
    for depth, (hidden, cell) in enumerate(states):
        features, last_hidden, last_cell = _int8_layer(graph, depth, weights, features, hidden, cell)
        final_states.append((last_hidden, last_cell))
    output = (embedding, scales)
    if not config.tie_weights:
        output = _quantize(graph, "output", weights["untied_output_weight"])
    bias = graph.constant("output_bias", weights["output_bias"])
    logits = graph.op("Add", _int8_matmul(graph, final_states[-1][0], *output), bias)
    _outputs(
        graph, config, features, _adaptive_logits(graph, config, weights, final_states[-1][0], logits), final_states
    )
    return graph.model()


def _inputs(graph: GraphBuilder, config: ModelConfig) -> tuple[str, list[tuple[str, str]]]:
    input_ids = graph.input("input_ids", _INT64, ["batch", "time"])
    states = [
        (
            graph.input(f"hidden_{depth}", _FLOAT, ["batch", dim]),
            graph.input(f"cell_{depth}", _FLOAT, ["batch", dim]),
        )
        for depth, dim in enumerate(config.hidden_dims)
    ]
    return input_ids, states


def _adaptive_logits(graph: GraphBuilder, config: ModelConfig, weights: Weights, features: str, logits: str) -> str:
    """The logits of an adaptive softmax, as in ``TailClusters``; unchanged if the network has no clusters."""
    bounds = config.cluster_bounds(len(weights["output_bias"]))
    if len(bounds) == 1:
        return logits
    last = graph.constant("last_axis", np.array([-1]))
    vectors = graph.constant("clusters", weights["clusters.weight"])
    bias = graph.constant("clusters_bias", weights["clusters.bias"])
    cluster_logits = graph.op("Gemm", features, vectors, bias, transB=1)
    clusters = graph.op_many("Split", cluster_logits, count=len(bounds) - 1, axis=-1, num_outputs=len(bounds) - 1)
    sizes = graph.constant("cluster_sizes", np.diff([0, *bounds]))
    head, *tails = graph.op_many("Split", logits, sizes, count=len(bounds), axis=-1)
    shifted = [
        graph.op("Add", tail, graph.op("Sub", cluster, graph.op("ReduceLogSumExp", tail, last, keepdims=1)))
        for tail, cluster in zip(tails, clusters, strict=True)
    ]
    return graph.op("Concat", head, *shifted, axis=-1)


def _outputs(
    graph: GraphBuilder, config: ModelConfig, features: str, logits: str, final_states: list[tuple[str, str]]
) -> None:
    graph.output(
        graph.op("Transpose", features, perm=[1, 0, 2]), "features", _FLOAT, ["batch", "time", config.hidden_dims[-1]]
    )
    graph.output(logits, "logits", _FLOAT, ["batch", "vocabulary"])
    for depth, (hidden, cell) in enumerate(final_states):
        graph.output(hidden, f"hidden_{depth}_after", _FLOAT, ["batch", config.hidden_dims[depth]])
        graph.output(cell, f"cell_{depth}_after", _FLOAT, ["batch", config.hidden_dims[depth]])


def _to_iofc(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the gate rows from torch's i, f, g, o to ONNX's i, o, f, c (c is torch's g)."""
    i, f, g, o = np.split(weight, 4)
    return np.concatenate([i, o, f, g])


def _int8_layer(
    graph: GraphBuilder, depth: int, weights: Weights, features: str, hidden: str, cell: str
) -> tuple[str, str, str]:
    """One LSTM layer.

    The input projection is one product for all steps; the recurrence is a Scan.

    Returns:
        Features (T, B, H), last hidden state (B, H) and last cell state (B, H).
    """
    prefix = f"layers.{depth}"
    size = weights[f"{prefix}.weight_hh_l0"].shape[1]
    bias = _to_ifog(weights[f"{prefix}.bias_ih_l0"] + weights[f"{prefix}.bias_hh_l0"])
    matrix = _quantize(graph, f"{prefix}.input", _to_ifog(weights[f"{prefix}.weight_ih_l0"]))
    from_input = graph.op("Add", _int8_matmul(graph, features, *matrix), graph.constant(f"{prefix}.bias", bias))

    body = GraphBuilder(prefix)
    hidden_before, cell_before, gates = (
        body.input(f"{prefix}.{name}", _FLOAT, None) for name in ("hidden", "cell", "gates")
    )
    matrix = _quantize(body, "recurrent", _to_ifog(weights[f"{prefix}.weight_hh_l0"]))
    gates = body.op("Add", _int8_matmul(body, hidden_before, *matrix), gates)
    sigmoid_gates, candidate = body.op_many(
        "Split", gates, body.constant("parts", np.array([3 * size, size])), count=2, axis=-1
    )
    activated = body.op("Sigmoid", sigmoid_gates)
    i, f, o = body.op_many("Split", activated, body.constant("thirds", np.array([size] * 3)), count=3, axis=-1)
    kept = body.op("Mul", f, cell_before)
    cell_after = body.op("Add", kept, body.op("Mul", i, body.op("Tanh", candidate)))
    hidden_after = body.op("Mul", o, body.op("Tanh", cell_after))
    for value, name in ((hidden_after, "hidden_after"), (cell_after, "cell_after"), (hidden_after, "all_hidden")):
        body.output(value, f"{prefix}.{name}", _FLOAT, None)
    last_hidden, last_cell, all_hidden = graph.op_many(
        "Scan", hidden, cell, from_input, count=3, body=body.graph(), num_scan_inputs=1
    )
    return all_hidden, last_hidden, last_cell


def _to_ifog(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the gate rows from i, f, g, o to i, f, o, g: one sigmoid for the first three, one tanh for the last."""
    i, f, g, o = np.split(weight, 4)
    return np.concatenate([i, f, o, g])


def _quantize(graph: GraphBuilder, name: str, weight: NDArray[np.float32]) -> tuple[str, str]:
    """A matrix (N, K) as two constants: int8 (K, N), and one scale per column (N,)."""
    scales = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny * 127) / np.float32(127)
    rounded = np.rint(weight / scales[:, None]).astype(np.int8)
    return graph.constant(f"{name}.int8", rounded.T), graph.constant(f"{name}.scales", scales.astype(np.float32))


def _int8_matmul(graph: GraphBuilder, rows: str, matrix: str, scales: str) -> str:
    """``rows`` (..., K) times an int8 matrix (K, N); each row is quantized symmetrically to 255 levels."""
    one = graph.constant("one", np.array(1.0, np.float32))
    zero_point = graph.constant("zero_point", np.array(128, np.uint8))
    last = graph.constant("last_axis", np.array([-1]))
    largest = graph.op("ReduceMax", graph.op("Abs", rows), last, keepdims=1)
    # the initial state is all zeros
    largest = graph.op("Max", largest, graph.constant("tiny", np.array(1e-30, np.float32)))
    step = graph.op("Mul", largest, graph.constant("step", np.array(1.0 / 127.0, np.float32)))
    rounded = graph.op("QuantizeLinear", graph.op("Div", rows, step), one, zero_point)
    product = graph.op("MatMulIntegerToFloat", rounded, matrix, one, scales, zero_point, domain=CONTRIB)
    return graph.op("Mul", product, step)
