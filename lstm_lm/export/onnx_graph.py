"""The network as an ONNX graph, in float32 and in int8: ids and state in; features, logits and state out.

Batch and time are dynamic dimensions. The output layer runs only for the last token of each text. The graphs are
written by hand because ``torch.export`` would fix the time dimension of an LSTM; each cell adds its own nodes.

The int8 graph quantizes weights statically per output channel and activations dynamically per row. The result of a text
is therefore bitwise independent of the batch it is in and of how its words are split into windows. onnxruntime's own
dynamic quantization uses one scale for a whole batch and window and does not have this property.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lstm_lm.nn.cells import cell_class, cell_options
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.graph_builder import FLOAT, INT64, GraphBuilder

Weights = Mapping[str, NDArray[np.float32]]
Properties = Mapping[str, str]


def float_graph(config: ModelConfig, weights: Weights, properties: Properties | None = None) -> bytes:
    """Build ``model.onnx``; a tied embedding is stored once.

    Args:
        config: Config of the network, whose cell has ONNX nodes.
        weights: Its ``state_dict``, float32.
        properties: ``metadata_props`` of the file.
    """
    graph = GraphBuilder("lstm_lm")
    input_ids = graph.input("input_ids", INT64, ["batch", "time"])
    embedding = graph.constant("embedding", weights["embedding.weight"])
    features = graph.op("Gather", embedding, graph.op("Transpose", input_ids, perm=[1, 0]))  # (T, B, E)
    last = _layers(graph, config, weights, features)
    output = embedding if config.tie_weights else graph.constant("output", weights["untied_output_weight"])
    bias = graph.constant("output_bias", weights["output_bias"])
    logits = graph.op("Gemm", last, output, bias, transB=1)
    graph.output(_adaptive_logits(graph, config, weights, last, logits), "logits", FLOAT, ["batch", "vocabulary"])
    return graph.model(properties)


def int8_graph(config: ModelConfig, weights: Weights, properties: Properties | None = None) -> bytes:
    """Build ``model.int8.onnx``: every matrix in int8; a tied embedding is stored once.

    Args:
        config: Config of the network, whose cell has ONNX nodes.
        weights: Its ``state_dict``, float32.
        properties: ``metadata_props`` of the file.
    """
    graph = GraphBuilder("lstm_lm", int8=True)
    input_ids = graph.input("input_ids", INT64, ["batch", "time"])
    embedding, scales = graph.quantize("embedding", weights["embedding.weight"])
    # (E, V) instead of (V, E), the layout of the output layer, so that both can share one constant
    columns = graph.op("Transpose", graph.op("Gather", embedding, input_ids, axis=1), perm=[2, 1, 0])  # (T, B, E)
    factors = graph.op("Gather", scales, graph.op("Transpose", input_ids, perm=[1, 0]))
    features = graph.op(
        "Mul",
        graph.op("Cast", columns, to=FLOAT),
        graph.op("Unsqueeze", factors, graph.constant("last_axis", np.array([-1]))),
    )
    last = _layers(graph, config, weights, features)
    output = (embedding, scales)
    if not config.tie_weights:
        output = graph.quantize("output", weights["untied_output_weight"])
    bias = graph.constant("output_bias", weights["output_bias"])
    logits = graph.op("Add", graph.int8_product(last, *output), bias)
    graph.output(_adaptive_logits(graph, config, weights, last, logits), "logits", FLOAT, ["batch", "vocabulary"])
    return graph.model(properties)


def _layers(graph: GraphBuilder, config: ModelConfig, weights: Weights, features: str) -> str:
    """Add the layers, with their states as inputs and outputs of the graph and their features as an output.

    Args:
        graph: The graph.
        config: Config of the network.
        weights: Its ``state_dict``.
        features: Embedded words (T, B, E).

    Returns:
        Features of the last layer after the last token (B, H).
    """
    cell, options = cell_class(config.cell), cell_options(config.cell, config.cell_options)
    after: dict[str, tuple[str, int]] = {}
    for depth, dim in enumerate(config.hidden_dims):
        names = [f"{name}_{depth}" for name in cell.state_names]
        state = [graph.input(name, FLOAT, ["batch", dim]) for name in names]
        prefix = f"layers.{depth}."
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        with graph.scope(f"layers.{depth}"):
            features, state_after = cell.onnx_nodes(graph, own, features, state, options)
        after |= {name: (value, dim) for name, value in zip(names, state_after, strict=True)}
    by_text = graph.op("Transpose", features, perm=[1, 0, 2])
    graph.output(by_text, "features", FLOAT, ["batch", "time", config.hidden_dims[-1]])
    for name, (value, dim) in after.items():
        graph.output(value, f"{name}_after", FLOAT, ["batch", dim])
    return graph.op("Gather", features, graph.constant("last_step", np.array(-1)), axis=0)


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
    head, *tails = graph.split(logits, *map(int, np.diff([0, *bounds])))
    shifted = [
        graph.op("Add", tail, graph.op("Sub", cluster, graph.op("ReduceLogSumExp", tail, last, keepdims=1)))
        for tail, cluster in zip(tails, clusters, strict=True)
    ]
    return graph.op("Concat", head, *shifted, axis=-1)
