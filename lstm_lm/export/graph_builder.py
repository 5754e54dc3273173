"""Build an ONNX graph node by node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lstm_lm.version import __version__

# supported by onnxruntime 1.20 and later
OPSET, CONTRIB_OPSET, IR_VERSION = 21, 1, 10
CONTRIB = "com.microsoft"


class GraphBuilder:
    """Collects nodes and constants in execution order.

    Args:
        name: Name of the graph, and prefix of its values, so that names in a subgraph are unique.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

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
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def op(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator with one output and return its name."""
        return self.op_many(operator, *inputs, count=1, domain=domain, **attributes)[0]

    def op_many(self, operator: str, *inputs: str, count: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add an operator with ``count`` outputs and return their names."""
        outputs = [f"{self.name}.{len(self._nodes)}.{operator}.{index}" for index in range(count)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, domain=domain, **attributes))
        return outputs

    def graph(self) -> onnx.GraphProto:
        """The graph, for use as a subgraph."""
        return helper.make_graph(
            self._nodes, self.name, self.inputs, self.outputs, initializer=list(self._constants.values())
        )

    def model(self) -> bytes:
        """The graph as the content of an ONNX file."""
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, CONTRIB_OPSET)]
        model = helper.make_model(self.graph(), opset_imports=opsets, ir_version=IR_VERSION)
        model.producer_name, model.producer_version = "lstm_lm", __version__
        content: bytes = model.SerializeToString()
        return content
