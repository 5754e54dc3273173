"""An ONNX graph, node by node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lstm_lm import __version__

# what onnxruntime 1.20 and later read
OPSET, CONTRIB_OPSET, IR_VERSION = 21, 1, 10
CONTRIB = "com.microsoft"


class GraphBuilder:
    """Collects nodes and constants in the order in which they run.

    Args:
        name: Of the graph; its values carry it, so that a graph inside another one shares no name with it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def input(self, name: str, dtype: int, shape: Sequence[int | str] | None) -> str:
        """A value that the caller gives; words in ``shape`` are dimensions that the caller chooses."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, value: str, name: str, dtype: int, shape: Sequence[int | str] | None) -> None:
        """Hand ``value`` to the caller under ``name``."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant, stored once for each name."""
        name = f"{self.name}.{name}"
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def run(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The one output of an operator."""
        return self.run_many(operator, *inputs, count=1, domain=domain, **attributes)[0]

    def run_many(self, operator: str, *inputs: str, count: int, domain: str = "", **attributes: Any) -> list[str]:
        """The outputs of an operator that has several."""
        outputs = [f"{self.name}.{len(self._nodes)}.{operator}.{index}" for index in range(count)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, domain=domain, **attributes))
        return outputs

    def graph(self) -> onnx.GraphProto:
        """The finished graph."""
        return helper.make_graph(
            self._nodes, self.name, self.inputs, self.outputs, initializer=list(self._constants.values())
        )

    def model(self) -> bytes:
        """The finished graph as the content of a file."""
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, CONTRIB_OPSET)]
        model = helper.make_model(self.graph(), opset_imports=opsets, ir_version=IR_VERSION)
        model.producer_name, model.producer_version = "lstm_lm", __version__
        content: bytes = model.SerializeToString()
        return content
