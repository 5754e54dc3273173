"""The network as an ONNX graph, in float32 and in int8: words and state in, features, logits and state out.

Batch and time are free. The output layer runs for the last word of each text alone. ``torch.export`` would fix the time
axis of an LSTM, so the graphs are written out by hand.

The int8 graph quantises weights by output channel, once, and activations by row, as they come: a text is scored to the
bit as if it were alone, whatever is batched with it and however many of its words are read at a time. onnxruntime's own
dynamic quantisation takes one scale for a whole batch and window, and does not have this property.
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
    """``model.onnx``: Gather, one LSTM a layer, Gemm; a tied embedding is stored once.

    Args:
        config: What the network is made of.
        weights: By name of the network's ``state_dict``, float32.
    """
    graph = GraphBuilder("lstm_lm")
    input_ids, states = _inputs(graph, config)
    embedding = graph.constant("embedding", weights["embedding.weight"])
    first, second = graph.constant("axis_0", np.array([0])), graph.constant("axis_1", np.array([1]))
    features = graph.run("Gather", embedding, graph.run("Transpose", input_ids, perm=[1, 0]))  # (T, B, E)
    after = []
    for depth, (hidden, cell) in enumerate(states):
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        parts = [_iofc(weights[f"layers.{depth}.{name}"]) for name in names]
        every, last_hidden, last_cell = graph.run_many(
            "LSTM",
            features,
            graph.constant(f"layers.{depth}.input", parts[0][None]),
            graph.constant(f"layers.{depth}.recurrent", parts[1][None]),
            graph.constant(f"layers.{depth}.bias", np.concatenate(parts[2:])[None]),
            "",
            graph.run("Unsqueeze", hidden, first),
            graph.run("Unsqueeze", cell, first),
            count=3,
            hidden_size=config.hidden_dims[depth],
        )
        features = graph.run("Squeeze", every, second)
        after.append((graph.run("Squeeze", last_hidden, first), graph.run("Squeeze", last_cell, first)))
    output = embedding if config.tie_weights else graph.constant("output", weights["untied_output_weight"])
    bias = graph.constant("output_bias", weights["output_bias"])
    logits = _split(graph, config, weights, after[-1][0], graph.run("Gemm", after[-1][0], output, bias, transB=1))
    _outputs(graph, config, features, logits, after)
    return graph.model()


def int8_graph(config: ModelConfig, weights: Weights) -> bytes:
    """``model.int8.onnx``: the same with every matrix in int8; a tied embedding is stored once.

    Args:
        config: What the network is made of.
        weights: By name of the network's ``state_dict``, float32.
    """
    graph = GraphBuilder("lstm_lm")
    input_ids, states = _inputs(graph, config)
    embedding, scales = _quantized(graph, "embedding", weights["embedding.weight"])
    # columns of (E, V) rather than rows of (V, E): the output layer needs it this way, and can share it
    columns = graph.run("Transpose", graph.run("Gather", embedding, input_ids, axis=1), perm=[2, 1, 0])  # (T, B, E)
    factors = graph.run("Gather", scales, graph.run("Transpose", input_ids, perm=[1, 0]))
    features = graph.run(
        "Mul",
        graph.run("Cast", columns, to=_FLOAT),
        graph.run("Unsqueeze", factors, graph.constant("last_axis", np.array([-1]))),
    )
    after = []
    for depth, (hidden, cell) in enumerate(states):
        features, *last = _int8_layer(graph, depth, weights, features, hidden, cell)
        after.append((last[0], last[1]))
    output = (embedding, scales)
    if not config.tie_weights:
        output = _quantized(graph, "output", weights["untied_output_weight"])
    bias = graph.constant("output_bias", weights["output_bias"])
    logits = graph.run("Add", _product(graph, after[-1][0], *output), bias)
    _outputs(graph, config, features, _split(graph, config, weights, after[-1][0], logits), after)
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


def _split(graph: GraphBuilder, config: ModelConfig, weights: Weights, features: str, logits: str) -> str:
    """The logits of a split softmax, as ``TailClusters`` makes them; the same ones where the network has none."""
    bounds = config.cluster_bounds(len(weights["output_bias"]))
    if len(bounds) == 1:
        return logits
    last = graph.constant("last_axis", np.array([-1]))
    vectors = graph.constant("clusters", weights["clusters.weight"])
    bias = graph.constant("clusters_bias", weights["clusters.bias"])
    reached = graph.run("Gemm", features, vectors, bias, transB=1)
    clusters = graph.run_many("Split", reached, count=len(bounds) - 1, axis=-1, num_outputs=len(bounds) - 1)
    sizes = graph.constant("cluster_sizes", np.diff([0, *bounds]))
    head, *tails = graph.run_many("Split", logits, sizes, count=len(bounds), axis=-1)
    moved = [
        graph.run("Add", tail, graph.run("Sub", cluster, graph.run("ReduceLogSumExp", tail, last, keepdims=1)))
        for tail, cluster in zip(tails, clusters, strict=True)
    ]
    return graph.run("Concat", head, *moved, axis=-1)


def _outputs(
    graph: GraphBuilder, config: ModelConfig, features: str, logits: str, after: list[tuple[str, str]]
) -> None:
    graph.output(
        graph.run("Transpose", features, perm=[1, 0, 2]), "features", _FLOAT, ["batch", "time", config.hidden_dims[-1]]
    )
    graph.output(logits, "logits", _FLOAT, ["batch", "vocabulary"])
    for depth, (hidden, cell) in enumerate(after):
        graph.output(hidden, f"hidden_{depth}_after", _FLOAT, ["batch", config.hidden_dims[depth]])
        graph.output(cell, f"cell_{depth}_after", _FLOAT, ["batch", config.hidden_dims[depth]])


def _iofc(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of torch's gates i, f, g, o in the order i, o, f, c of ONNX, whose c is torch's g."""
    i, f, g, o = np.split(weight, 4)
    return np.concatenate([i, o, f, g])


def _int8_layer(
    graph: GraphBuilder, depth: int, weights: Weights, features: str, hidden: str, cell: str
) -> tuple[str, str, str]:
    """One layer: features (T, B, H), last hidden and cell (B, H).

    The input's part of the gates is one product for all steps; the rest runs step by step in a Scan.
    """
    prefix = f"layers.{depth}"
    size = weights[f"{prefix}.weight_hh_l0"].shape[1]
    bias = _sigmoids_first(weights[f"{prefix}.bias_ih_l0"] + weights[f"{prefix}.bias_hh_l0"])
    matrix = _quantized(graph, f"{prefix}.input", _sigmoids_first(weights[f"{prefix}.weight_ih_l0"]))
    from_input = graph.run("Add", _product(graph, features, *matrix), graph.constant(f"{prefix}.bias", bias))

    body = GraphBuilder(prefix)
    before, cell_before, gates = (body.input(f"{prefix}.{name}", _FLOAT, None) for name in ("hidden", "cell", "gates"))
    matrix = _quantized(body, "recurrent", _sigmoids_first(weights[f"{prefix}.weight_hh_l0"]))
    gates = body.run("Add", _product(body, before, *matrix), gates)
    open_gates, candidate = body.run_many(
        "Split", gates, body.constant("parts", np.array([3 * size, size])), count=2, axis=-1
    )
    opened = body.run("Sigmoid", open_gates)
    i, f, o = body.run_many("Split", opened, body.constant("thirds", np.array([size] * 3)), count=3, axis=-1)
    kept = body.run("Mul", f, cell_before)
    cell_after = body.run("Add", kept, body.run("Mul", i, body.run("Tanh", candidate)))
    hidden_after = body.run("Mul", o, body.run("Tanh", cell_after))
    for value, name in ((hidden_after, "hidden_after"), (cell_after, "cell_after"), (hidden_after, "every_hidden")):
        body.output(value, f"{prefix}.{name}", _FLOAT, None)
    last_hidden, last_cell, every = graph.run_many(
        "Scan", hidden, cell, from_input, count=3, body=body.graph(), num_scan_inputs=1
    )
    return every, last_hidden, last_cell


def _sigmoids_first(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of torch's gates i, f, g, o in the order i, f, o, g: one sigmoid for three, one tanh for the last."""
    i, f, g, o = np.split(weight, 4)
    return np.concatenate([i, f, o, g])


def _quantized(graph: GraphBuilder, name: str, weight: NDArray[np.float32]) -> tuple[str, str]:
    """A matrix (N, K) as constants: int8 (K, N), and the scale of each of its N columns."""
    scales = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny * 127) / np.float32(127)
    rounded = np.rint(weight / scales[:, None]).astype(np.int8)
    return graph.constant(f"{name}.int8", rounded.T), graph.constant(f"{name}.scales", scales.astype(np.float32))


def _product(graph: GraphBuilder, rows: str, matrix: str, scales: str) -> str:
    """``rows`` (..., K) times an int8 matrix (K, N): each row is rounded to 255 steps between its largest values."""
    one = graph.constant("one", np.array(1.0, np.float32))
    zero_point = graph.constant("zero_point", np.array(128, np.uint8))
    last = graph.constant("last_axis", np.array([-1]))
    largest = graph.run("ReduceMax", graph.run("Abs", rows), last, keepdims=1)
    # a state before the first word is all zeros
    largest = graph.run("Max", largest, graph.constant("tiny", np.array(1e-30, np.float32)))
    step = graph.run("Mul", largest, graph.constant("step", np.array(1.0 / 127.0, np.float32)))
    rounded = graph.run("QuantizeLinear", graph.run("Div", rows, step), one, zero_point)
    product = graph.run("MatMulIntegerToFloat", rounded, matrix, one, scales, zero_point, domain=CONTRIB)
    return graph.run("Mul", product, step)
