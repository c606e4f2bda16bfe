"""A trained student as an ONNX graph: windows in, probabilities out, every step between as standard operators.

Features and everything that compares or divides is computed in float64, as in NumPy: a forest's thresholds lie between
values of its training windows, and a difference of 1e-7 on the way to them would send windows down the other branch.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsRegressor

from consumer.students.adjusting import LEAST, Adjustment
from stimset.errors import StimsetError
from stimset.learning import sklearn_families as families
from stimset.learning.features import FLOOR, Spectral
from stimset.learning.rocket import TAPS, Bank, Rocket

OPSET = 18
ML_OPSET = 3
IR_VERSION = 10
INPUT, OUTPUT = "windows", "probabilities"


class Graph:
    """Collects nodes; each call returns the name of the new node's output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node."""
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        """A constant tensor."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def whole(self, *values: int) -> str:
        """A constant vector of int64."""
        return self.constant(values, np.int64)

    def absorb(self, model: onnx.ModelProto, source: str, prefix: str) -> list[str]:
        """Add another model's nodes, fed from `source`; returns the names of its outputs."""
        own = onnx.compose.add_prefix(model, prefix)
        taken = own.graph.input[0].name
        for node in own.graph.node:
            node.input[:] = [source if name == taken else name for name in node.input]
            self.nodes.append(node)
        self.constants.extend(own.graph.initializer)
        return [o.name for o in own.graph.output]

    def model(self, channels: int, samples: int, classes: int) -> onnx.ModelProto:
        """The finished model."""
        taken = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", channels, samples])
        given = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", classes])
        graph = helper.make_graph(self.nodes, "student", [taken], [given], self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def of_features(student: families.FeatureEstimator) -> onnx.ModelProto:
    """The ONNX graph of a fitted scikit-learn student: description, standardisation, model, probabilities."""
    channels, samples = student.shape_
    classes = len(student.classes_)
    g = Graph()
    windows = g("Cast", INPUT, to=TensorProto.DOUBLE)
    described = windows
    if student.features == "spectral":
        described = _spectral(g, windows, Spectral.of(samples))
    elif isinstance(student, Rocket):
        described = g("Cast", g("Concat", *(_bank(g, bank) for bank in student.banks_), axis=1), to=TensorProto.DOUBLE)
    described = g("Reshape", described, g.whole(-1, len(student.mean_)))
    described = g("Div", g("Sub", described, g.constant(student.mean_)), g.constant(student.scale_))
    if student.limit_ is not None:
        described = g("Clip", described, g.constant(-student.limit_), g.constant(student.limit_))
    if student.axes_ is not None:
        described = g("MatMul", described, g.constant(student.axes_))
    narrow = g("Cast", described, to=TensorProto.FLOAT)
    outputs = [_model(g, model, narrow, student, f"m{i}_") for i, model in enumerate(student.models_)]
    joined = outputs[0] if len(outputs) == 1 else g("Concat", *outputs, axis=1)
    if student.answers == "logits":
        joined = g("Softmax", joined, axis=1)
    elif student.answers == "shares":
        limits = (g.constant(families.LEAST_SHARE), g.constant(1.0))
        clipped = g("Clip", g("Cast", joined, to=TensorProto.DOUBLE), *limits)
        joined = g("Div", clipped, g("ReduceSum", clipped, g.whole(1), keepdims=1))
    g("Cast", joined, to=TensorProto.FLOAT, output=OUTPUT)
    return g.model(channels, samples, classes)


def _spectral(g: Graph, windows: str, constants: Spectral) -> str:
    """`stimset.learning.features` as operators: ``(batch, channels, features)``."""
    samples = len(constants.taper)
    over_time, floor = g.whole(2), g.constant(FLOOR)
    mean = g("ReduceMean", windows, over_time, keepdims=1)
    centred = g("Sub", windows, mean)
    tapered = g("Mul", centred, g.constant(constants.taper))
    bands = g("MatMul", _power(g, tapered, constants.length), g.constant(constants.bands))
    covariance = g("MatMul", _power(g, centred, constants.length), g.constant(constants.lags))
    power = g("Add", _along(g, covariance, 0, 1), floor)
    correlation = g("Div", _along(g, covariance, 1, constants.lags.shape[1]), power)
    steps = g("Sub", _along(g, windows, 1, samples), _along(g, windows, 0, samples - 1))
    rough = g("ReduceMean", g("Mul", steps, steps), over_time, keepdims=1)
    scaled = g("Div", centred, g("Sqrt", power))
    cube = g("Mul", g("Mul", scaled, scaled), scaled)
    return g(
        "Concat",
        g("Log", g("Add", bands, floor)),
        g("Log", power),
        correlation,
        mean,
        g("Log", g("Add", rough, floor)),
        g("ReduceMean", cube, over_time, keepdims=1),
        g("ReduceMean", g("Mul", cube, scaled), over_time, keepdims=1),
        axis=2,
    )


def _bank(g: Graph, bank: Bank) -> str:
    """One bank of `stimset.learning.rocket`: ``(batch, biases * kernels)``, in float32 as there."""
    reach = bank.dilation * (TAPS // 2)
    weights = g.constant(bank.weights, np.float32)
    found = g("Conv", INPUT, weights, dilations=[bank.dilation], kernel_shape=[TAPS], pads=[reach, reach])
    slope = bank.slope[:, None]
    sloped = g("Mul", found, g.constant(slope, np.float32))
    limits = g.constant(0.0, np.float32), g.constant(1.0, np.float32)
    shares = []
    for thresholds in bank.thresholds:
        ramp = g("Sub", sloped, g.constant(slope * thresholds[:, None] - np.float32(0.5), np.float32))
        shares.append(g("ReduceMean", g("Clip", ramp, *limits), g.whole(2), keepdims=0))
    return g("Concat", *shares, axis=1)


def _power(g: Graph, signal: str, length: int) -> str:
    """Squared magnitude of the one-sided transform over time; its last axis has ``length // 2 + 1`` entries."""
    complex_signal = g("Unsqueeze", signal, g.whole(3))
    transformed = g("DFT", complex_signal, g.constant(length, np.int64), axis=2, onesided=1)
    return g("ReduceSum", g("Mul", transformed, transformed), g.whole(3), keepdims=0)


def _along(g: Graph, tensor: str, start: int, end: int) -> str:
    return g("Slice", tensor, g.whole(start), g.whole(end), g.whole(2))


def _model(g: Graph, model: Any, features: str, student: families.FeatureEstimator, prefix: str) -> str:
    """One scikit-learn model; gives ``(batch, its outputs)``."""
    if isinstance(model, KNeighborsRegressor):
        return _neighbours(g, model, features)
    if isinstance(model, LinearDiscriminantAnalysis):
        return _discriminant(g, model, features)
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    seen = len(student.mean_) if student.axes_ is None else student.axes_.shape[1]
    options = {id(model): {"zipmap": False}} if student.answers == "chances" else None
    with _PlainAttributes():
        try:
            converted = to_onnx(
                model,
                initial_types=[("features", FloatTensorType([None, seen]))],
                target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
                options=options,
            )
        except (RuntimeError, ValueError, NameError, TypeError) as error:  # skl2onnx's own are RuntimeErrors
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise StimsetError(f"{type(model).__name__} can't be turned into ONNX by skl2onnx: {reason[:200]}") from None
    return g.absorb(converted, features, prefix)[-1]


def _discriminant(g: Graph, model: LinearDiscriminantAnalysis, features: str) -> str:
    """Linear discriminants, of which skl2onnx 1.20 doubles the logit when there are two classes."""
    wide = g("Cast", features, to=TensorProto.DOUBLE)
    scores = g("Add", g("MatMul", wide, g.constant(model.coef_.T)), g.constant(model.intercept_))
    if len(model.classes_) == 2:
        scores = g("Concat", g("Mul", scores, g.constant(0.0)), scores, axis=1)
    return g("Softmax", scores, axis=1)


def _neighbours(g: Graph, model: KNeighborsRegressor, features: str) -> str:
    """Weighted mean over the nearest neighbours with `stimset.learning.sklearn_families.fading` weights."""
    known = np.asarray(model._fit_X, dtype=np.float64)
    wide = g("Cast", features, to=TensorProto.DOUBLE)
    own = g("ReduceSum", g("Mul", wide, wide), g.whole(1), keepdims=1)
    cross = g("MatMul", wide, g.constant(-2 * known.T))
    squared = g("Add", g("Add", own, cross), g.constant(np.square(known).sum(axis=1)))
    squared = g("Max", squared, g.constant(0.0))
    nearest, rows = f"nearest_{len(g.nodes)}", f"rows_{len(g.nodes)}"
    g.nodes.append(
        helper.make_node("TopK", [squared, g.whole(model.n_neighbors)], [nearest, rows], axis=1, largest=0, sorted=1)
    )
    farthest = g("ReduceMax", nearest, g.whole(1), keepdims=1)
    share = g("Div", nearest, g("Add", farthest, g.constant(1e-9)))
    weights = g("Add", g("Max", g("Sub", g.constant(1.0), share), g.constant(0.0)), g.constant(1e-9))
    beliefs = g("Gather", g.constant(model._y), rows, axis=0)
    total = g("ReduceSum", g("Mul", beliefs, g("Unsqueeze", weights, g.whole(2))), g.whole(1), keepdims=0)
    return g("Div", total, g("ReduceSum", weights, g.whole(1), keepdims=1))


class _PlainAttributes:
    """While it is entered, NumPy scalars become Python numbers on their way into ONNX attributes.

    skl2onnx passes the nodes of histogram gradient boosting as NumPy scalars, which onnx refuses ("Expected an int, got
    a boolean"). The function is replaced for the whole process, so one export at a time (a lock sees to it).
    """

    _one_at_a_time = threading.Lock()

    def __enter__(self) -> None:
        self._one_at_a_time.acquire()
        self._original = helper.make_attribute

        def make_attribute(key: str, value: Any, *args: Any, **kwargs: Any) -> onnx.AttributeProto:
            if isinstance(value, np.generic):
                value = value.item()
            elif isinstance(value, (list, tuple)) and any(isinstance(v, (np.generic, bool)) for v in value):
                items = [v.item() if isinstance(v, np.generic) else v for v in value]
                value = [int(v) if isinstance(v, bool) else v for v in items]
            return self._original(key, value, *args, **kwargs)

        helper.make_attribute = make_attribute

    def __exit__(self, *_: object) -> None:
        helper.make_attribute = self._original
        self._one_at_a_time.release()


def of_network(network: Any, channels: int, samples: int) -> onnx.ModelProto:
    """The ONNX graph of a torch module that maps windows to logits, with a softmax behind it."""
    import torch

    class Answering(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.network(windows), dim=1)

    exporters = logging.getLogger("torch.onnx")
    level = exporters.level
    exporters.setLevel(logging.ERROR)  # it reports every optional library that is not installed
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                Answering().eval(),
                (torch.zeros(2, channels, samples),),
                dynamo=True,
                dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        exporters.setLevel(level)
    if program is None:
        raise StimsetError("torch's ONNX exporter returned nothing; check that torch and onnxscript fit each other")
    model: onnx.ModelProto = program.model_proto
    return stripped(model)


def adjusted(model: onnx.ModelProto, adjustment: Adjustment) -> onnx.ModelProto:
    """The model with the adjustment of its probabilities behind it, in place."""
    g = Graph()
    for node in model.graph.node:
        node.output[:] = ["plain_probabilities" if name == OUTPUT else name for name in node.output]
        node.input[:] = ["plain_probabilities" if name == OUTPUT else name for name in node.input]
    limits = g.constant(LEAST, np.float32), g.constant(1.0, np.float32)
    logs = g("Log", g("Clip", "plain_probabilities", *limits))
    warmed = g("Mul", logs, g.constant(1 / adjustment.temperature, np.float32))
    g("Softmax", g("Add", warmed, g.constant(np.log(adjustment.weights), np.float32)), axis=1, output=OUTPUT)
    renamed = {name: f"adjusting_{name}" for name in (*(n.output[0] for n in g.nodes), *(c.name for c in g.constants)) if name != OUTPUT}
    for node in g.nodes:
        node.name = f"adjusting_{node.name}"
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for constant in g.constants:
        constant.name = renamed[constant.name]
    model.graph.node.extend(g.nodes)
    model.graph.initializer.extend(g.constants)
    return model


def stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the notes of the exporter, which hold source lines and paths of the machine it ran on."""
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        values: Sequence[Any] = [*graph.input, *graph.output, *graph.value_info, *graph.initializer, *graph.node, graph]
        for part in values:
            part.ClearField("doc_string")
            if hasattr(part, "metadata_props"):
                del part.metadata_props[:]
        for node in graph.node:
            graphs.extend(a.g for a in node.attribute if a.HasField("g"))
            for attribute in node.attribute:
                graphs.extend(attribute.graphs)
    for function in model.functions:
        function.ClearField("doc_string")
        for node in function.node:
            node.ClearField("doc_string")
            del node.metadata_props[:]
    model.ClearField("doc_string")
    return model


def with_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bytes:
    """The finished file: checked, with `metadata` in its properties.

    Raises:
        StimsetError: onnx's checker refuses the graph.
    """
    del model.metadata_props[:]
    helper.set_model_props(model, dict(metadata))
    model.producer_name, model.producer_version = "stimset-consumer", ""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StimsetError(f"the exported graph is not valid ONNX: {str(error).splitlines()[0]}") from None
    return model.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
