"""A model in memory: checked, loaded, asked. Runs inside the sandbox alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from custodian.evaluation.checks import check_model, shown
from custodian.evaluation.limits import ModelRefused

_QUIET = 4


class Runner:
    """A model that may be asked.

    Args:
        data: the ONNX file.
        channels, samples, classes: of the windows that it will meet, and of its answers.

    Raises:
        ModelRefused: it is no model that may run here, or onnxruntime can't load it.
    """

    def __init__(self, data: bytes, channels: int, samples: int, classes: int) -> None:
        self._shape, self._classes = (channels, samples), classes
        try:
            model = onnx.load_model_from_string(data)
        except (DecodeError, ValueError, TypeError) as error:
            if "alloc" in str(error):
                raise ModelRefused("the model is refused: it unfolds into more memory than it may have") from None
            raise ModelRefused(f"the file is no ONNX model ({shown(str(error), 120)})") from None
        check_model(model, channels, samples, classes)
        self._input = model.graph.input[0].name
        del model
        try:
            self._session = _session(data)
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise ModelRefused(f"onnxruntime can't load the model ({shown(str(error), 160)})") from None

    def answers(self, data: bytes) -> bytes:
        """Probabilities ``(n, classes)`` float32 of windows ``(n, channels, samples)`` float32, both as bytes.

        Raises:
            ModelRefused: the model failed, or answered in another shape.
        """
        windows = np.frombuffer(data, dtype="<f4").reshape(-1, *self._shape)
        try:
            (found,) = self._session.run(None, {self._input: windows})
        except MemoryError:
            raise
        except Exception as error:
            raise ModelRefused(f"the model fails as it runs ({shown(str(error), 160)})") from None
        if not isinstance(found, np.ndarray) or found.shape != (len(windows), self._classes) or found.dtype != np.float32:
            expected = f"float32 of shape ({len(windows)}, {self._classes})"
            raise ModelRefused(f"the model answers with {getattr(found, 'dtype', '?')} {np.shape(found)}; {expected} is expected")
        return bytes(found.astype("<f4").tobytes())


def _session(data: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    options.enable_cpu_mem_arena = False
    # Numbers near zero would take a hundred times as long, so a model's time could tell what it sees.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def warm_up() -> None:
    """Use every library once, a refusal and a failure too, so that nothing has to be read from a file afterwards."""
    onnxruntime.set_default_logger_severity(_QUIET)
    np.unique(np.zeros(2))  # loads more of NumPy when it is first called
    Runner(_tree(), 1, 4, 1).answers(np.zeros((2, 1, 4), "<f4").tobytes())
    for broken in (b"no model", _tree(targets=99)):
        try:
            Runner(broken, 1, 4, 1)
        except ModelRefused:
            continue


def _tree(targets: int = 1) -> bytes:
    """A tree of one leaf behind a reshape; with more targets than it answers, onnx finds it invalid."""
    taken = helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["batch", 1, 4])
    given = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 1])
    whole: Any = {f"nodes_{name}": [0] for name in ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")}
    nodes = [
        helper.make_node("Reshape", ["windows", "shape"], ["features"]),
        helper.make_node(
            "TreeEnsembleRegressor", ["features"], ["probabilities"], domain="ai.onnx.ml", n_targets=targets, nodes_modes=["LEAF"],
            nodes_values=[0.0], target_ids=[0], target_nodeids=[0], target_treeids=[0], target_weights=[1.0],
            **whole,
        ),
    ]  # fmt: skip
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 4])
    graph = helper.make_graph(nodes, "warm-up", [taken], [given], [shape])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
