"""Build an ONNX graph node by node, in float32 or with its matrices in int8."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# supported by onnxruntime 1.20 and later
OPSET, CONTRIB_OPSET, IR_VERSION = 21, 1, 10
CONTRIB = "com.microsoft"
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64

Weight = NDArray[np.float32]
Step = Callable[["GraphBuilder", Sequence[str], str], Sequence[str]]


class GraphBuilder:
    """Collects nodes and constants in execution order.

    Args:
        name: Name of the graph, and prefix of its values, so that names in a subgraph are unique.
        int8: Whether :meth:`linear` multiplies in int8.
    """

    def __init__(self, name: str, int8: bool = False) -> None:
        self.name = name
        self.int8 = int8
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Extend the prefix of names inside the block."""
        outer, self.name = self.name, f"{self.name}.{name}"
        yield
        self.name = outer

    def input(self, name: str, dtype: int, shape: Sequence[int | str] | None) -> str:
        """Declare a graph input; a string in ``shape`` is a dynamic dimension."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, value: str, name: str, dtype: int, shape: Sequence[int | str] | None) -> None:
        """Declare ``value`` as a graph output called ``name``."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant, once per name."""
        name = f"{self.name}.{name}"
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def op(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator with one output and return its name."""
        return self.op_many(operator, *inputs, count=1, domain=domain, **attributes)[0]

    def op_many(self, operator: str, *inputs: str, count: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add an operator with ``count`` outputs and return their names."""
        outputs = [f"{self.name}.{len(self._nodes)}.{operator}.{index}" for index in range(count)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, domain=domain, **attributes))
        return outputs

    def split(self, value: str, *sizes: int) -> list[str]:
        """Split the last dimension."""
        parts = self.constant(f"sizes.{'.'.join(map(str, sizes))}", np.array(sizes))
        return self.op_many("Split", value, parts, count=len(sizes), axis=-1)

    def linear(self, name: str, rows: str, weight: Weight, bias: Weight | None = None) -> str:
        """``rows`` (..., K) times the transpose of ``weight`` (N, K), plus ``bias`` (N,)."""
        if self.int8:
            product = self.int8_product(rows, *self.quantize(name, weight))
        else:
            product = self.op("MatMul", rows, self.constant(name, weight.T))
        return product if bias is None else self.op("Add", product, self.constant(f"{name}.bias", bias))

    def lstm(
        self, features: str, state: Sequence[str], weights: Sequence[Weight], **attributes: Any
    ) -> tuple[str, list[str]]:
        """The LSTM operator of ONNX, in float32.

        Args:
            features: (T, B, E).
            state: Hidden and cell state, (B, H).
            weights: Input weights, recurrent weights and both biases, with the gates in ONNX's order i, o, f, c.
            attributes: Of the operator.

        Returns:
            Features (T, B, H) and the state after the last step.
        """
        first, second = self.constant("axis_0", np.array([0])), self.constant("axis_1", np.array([1]))
        all_hidden, *after = self.op_many(
            "LSTM",
            features,
            self.constant("input", weights[0][None]),
            self.constant("recurrent", weights[1][None]),
            self.constant("bias", np.concatenate(weights[2:])[None]),
            "",
            *(self.op("Unsqueeze", tensor, first) for tensor in state),
            count=3,
            hidden_size=weights[1].shape[1],
            **attributes,
        )
        return self.op("Squeeze", all_hidden, second), [self.op("Squeeze", tensor, first) for tensor in after]

    def scan(self, step: Step, state: Sequence[str], features: str) -> tuple[str, list[str]]:
        """Run one step of a cell over a window.

        Args:
            step: Adds the step to the graph of the loop. Called with that graph, the state before the step, (B, H)
                each, and the features of the step (B, E); returns the state after it, of which the first is the output.
            state: State before the window.
            features: (T, B, E).

        Returns:
            Features (T, B, H) and the state after the last step.
        """
        body = GraphBuilder(f"{self.name}.step", self.int8)
        before = [body.input(f"{body.name}.before_{index}", FLOAT, None) for index in range(len(state))]
        after = step(body, before, body.input(f"{body.name}.features", FLOAT, None))
        for index, value in enumerate([*after, after[0]]):
            body.output(value, f"{body.name}.after_{index}", FLOAT, None)
        *last, outputs = self.op_many(
            "Scan", *state, features, count=len(state) + 1, body=body.graph(), num_scan_inputs=1
        )
        return outputs, last

    def quantize(self, name: str, weight: Weight) -> tuple[str, str]:
        """A matrix (N, K) as two constants: int8 (K, N), and one scale per column (N,)."""
        scales = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny * 127) / np.float32(127)
        rounded = np.rint(weight / scales[:, None]).astype(np.int8)
        return self.constant(f"{name}.int8", rounded.T), self.constant(f"{name}.scales", scales.astype(np.float32))

    def int8_product(self, rows: str, matrix: str, scales: str) -> str:
        """``rows`` (..., K) times an int8 matrix (K, N); each row is quantized symmetrically to 255 levels."""
        one = self.constant("one", np.array(1.0, np.float32))
        zero_point = self.constant("zero_point", np.array(128, np.uint8))
        last = self.constant("last_axis", np.array([-1]))
        largest = self.op("ReduceMax", self.op("Abs", rows), last, keepdims=1)
        # the initial state is all zeros
        largest = self.op("Max", largest, self.constant("tiny", np.array(1e-30, np.float32)))
        step = self.op("Mul", largest, self.constant("step", np.array(1.0 / 127.0, np.float32)))
        rounded = self.op("QuantizeLinear", self.op("Div", rows, step), one, zero_point)
        product = self.op("MatMulIntegerToFloat", rounded, matrix, one, scales, zero_point, domain=CONTRIB)
        return self.op("Mul", product, step)

    def graph(self) -> onnx.GraphProto:
        """The graph, for use as a subgraph."""
        return helper.make_graph(
            self._nodes, self.name, self.inputs, self.outputs, initializer=list(self._constants.values())
        )

    def model(self, properties: Mapping[str, str] | None = None) -> bytes:
        """The graph as the content of an ONNX file; in float32 it has standard operators only.

        Args:
            properties: Its ``metadata_props``.
        """
        opsets = [helper.make_opsetid("", OPSET)]
        if self.int8:
            opsets.append(helper.make_opsetid(CONTRIB, CONTRIB_OPSET))
        model = helper.make_model(self.graph(), opset_imports=opsets, ir_version=IR_VERSION)
        helper.set_model_props(model, dict(properties or {}))
        model.producer_name, model.producer_version = "lstm_lm", version("lstm-lm")
        content: bytes = model.SerializeToString()
        return content
