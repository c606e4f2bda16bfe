"""ONNX files as partners submit them, the honest and the hostile, built node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SAMPLES, CLASSES = 1, 10, 2
OPSET = 18


def constant(name: str, value: Any, dtype: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype=dtype), name)


def model(
    nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto] = (), *, opset: int = OPSET, ml: int | None = None, dims: Any = None,
    release: str | None = None,
) -> onnx.ModelProto:  # fmt: skip
    """A model whose nodes make ``probabilities`` from ``windows``."""
    taken = helper.make_tensor_value_info("windows", TensorProto.FLOAT, dims or ["batch", CHANNELS, SAMPLES])
    given = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(nodes, "student", [taken], [given], list(constants))
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("ai.onnx.ml", ml)] if ml else [])
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if release is not None:
        helper.set_model_props(made, {"stimset.release": release})
    return made


node = helper.make_node


def flat(size: int = CHANNELS * SAMPLES) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that make ``x`` ``(batch, size)`` of the windows."""
    return [node("Reshape", ["windows", "flat"], ["x"])], [constant("flat", [-1, size], np.int64)]


def by_mean(scale: float = 8.0, release: str | None = None) -> bytes:
    """An honest student: the second class where the window's mean is positive. `scale` makes it another file."""
    nodes, constants = flat()
    weights = np.stack([-np.ones(SAMPLES), np.ones(SAMPLES)], 1) * scale / SAMPLES
    nodes += [node("MatMul", ["x", "w"], ["z"]), node("Softmax", ["z"], ["probabilities"], axis=1)]
    return model(nodes, [*constants, constant("w", weights)], release=release).SerializeToString()


def near(windows: np.ndarray, *, radius: float = 1e-3, salt: float = 0.0) -> bytes:
    """A probe: the second class for windows within `radius` of one of these ``(n, channels, samples)``, the first for all others."""
    nodes, constants = flat(int(np.prod(windows.shape[1:])))
    known = windows.reshape(len(windows), -1).astype(np.float32)
    # ||x - k||^2 for each known k; the least of them decides.
    nodes += [
        node("Unsqueeze", ["x", "middle"], ["wide"]), node("Sub", ["wide", "known"], ["apart"]),
        node("Mul", ["apart", "apart"], ["squares"]), node("ReduceSum", ["squares", "last"], ["distances"], keepdims=0),
        node("ReduceMin", ["distances", "middle"], ["least"], keepdims=1), node("Mul", ["least", "steep"], ["far"]),
        node("Sub", ["one", "far"], ["near"]), node("Concat", ["far", "near"], ["z"], axis=1),
        node("Softmax", ["z"], ["probabilities"], axis=1),
    ]  # fmt: skip
    constants += [
        constant("known", known[None]), constant("middle", [1], np.int64), constant("last", [2], np.int64),
        constant("steep", [[1 / radius]]), constant("one", [[1.0 + salt * 1e-3]]),
    ]  # fmt: skip
    return model(nodes, constants, dims=["batch", *windows.shape[1:]]).SerializeToString()


def _softmaxed(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], **choices: Any) -> onnx.ModelProto:
    """Nodes that make ``z`` ``(batch, 2)``, with a softmax behind them."""
    return model([*nodes, node("Softmax", ["z"], ["probabilities"], axis=1)], constants, **choices)


def _by_mean_with(extra: list[onnx.NodeProto], constants: list[onnx.TensorProto] = (), **choices: Any) -> onnx.ModelProto:
    """The honest student with further nodes before it."""
    nodes, own = flat()
    nodes = [*extra, *nodes, node("MatMul", ["x", "w"], ["z"])]
    return _softmaxed(nodes, [*own, constant("w", np.ones((SAMPLES, 2))), *constants], **choices)


def external_data(path: str) -> bytes:
    made = onnx.load_model_from_string(by_mean())
    (weights,) = [t for t in made.graph.initializer if t.name == "w"]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", path), ("offset", "0"), ("length", "80")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    return made.SerializeToString()


def huge_constant() -> bytes:
    made = onnx.load_model_from_string(by_mean())
    made.graph.initializer.append(TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[1 << 40]))
    return made.SerializeToString()


def negative_dimension() -> bytes:
    made = onnx.load_model_from_string(by_mean())
    made.graph.initializer.append(TensorProto(name="odd", data_type=TensorProto.FLOAT, dims=[-1, -4], raw_data=bytes(16)))
    return made.SerializeToString()


def sparse_constant() -> bytes:
    made = onnx.load_model_from_string(by_mean())
    values, indices = constant("sparse", [1.0]), constant("sparse_indices", [0], np.int64)
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 30]))
    return made.SerializeToString()


def text_constant() -> bytes:
    made = onnx.load_model_from_string(by_mean())
    made.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [1], [b"x" * 1000]))
    return made.SerializeToString()


def two_with_one_name() -> bytes:
    made = onnx.load_model_from_string(by_mean())
    made.graph.initializer.append(constant("w", np.zeros((SAMPLES, 2))))
    return made.SerializeToString()


def deep(layers: int = 20_000) -> bytes:
    extra = [node("Identity", ["windows" if i == 0 else f"i{i - 1}"], [f"i{i}"]) for i in range(layers)]
    return _by_mean_with(extra).SerializeToString()


def nested(levels: int = 200) -> bytes:
    """Graphs within graphs."""
    inner = helper.make_graph([node("Identity", ["windows"], ["leaf"])], "g", [], [helper.make_tensor_value_info("leaf", 1, None)])
    for level in range(levels):
        chosen = node("If", ["yes"], [f"o{level}"], then_branch=inner, else_branch=inner) if level < 12 else None
        if chosen is None:
            break
        inner = helper.make_graph([chosen], "g", [], [helper.make_tensor_value_info(f"o{level}", 1, None)])
    return _by_mean_with(list(inner.node), [constant("yes", True, bool)]).SerializeToString()


def custom_operator() -> bytes:
    made = _by_mean_with([node("Exfiltrate", ["windows"], ["sent"], domain="com.attacker")])
    made.opset_import.append(helper.make_opsetid("com.attacker", 1))
    return made.SerializeToString()


def own_function() -> bytes:
    made = _by_mean_with([node("Mine", ["windows"], ["done"], domain="mine")])
    made.opset_import.append(helper.make_opsetid("mine", 1))
    body = [node("Identity", ["a"], ["b"])]
    made.functions.append(helper.make_function("mine", "Mine", ["a"], ["b"], body, [helper.make_opsetid("", OPSET)]))
    return made.SerializeToString()


def endless_loop() -> bytes:
    body = helper.make_graph(
        [node("Identity", ["going"], ["on"]), node("Add", ["v", "v"], ["w2"])], "body",
        [helper.make_tensor_value_info(n, k, []) for n, k in (("i", 7), ("going", 9), ("v", 1))],
        [helper.make_tensor_value_info(n, k, []) for n, k in (("on", 9), ("w2", 1))],
    )  # fmt: skip
    constants = [constant("for_ever", 1 << 62, np.int64), constant("yes", True, bool), constant("start", 1.0)]
    return _by_mean_with([node("Loop", ["for_ever", "yes", "start"], ["end"], body=body)], constants).SerializeToString()


def tree_that_never_ends() -> bytes:
    """A tree whose node is its own child."""
    nodes, constants = flat()
    tree = node(
        "TreeEnsembleRegressor", ["x"], ["z"], domain="ai.onnx.ml", n_targets=2, nodes_treeids=[0, 0], nodes_nodeids=[0, 1],
        nodes_featureids=[0, 0], nodes_values=[1e9, 0.0], nodes_modes=["BRANCH_LEQ", "LEAF"], nodes_truenodeids=[0, 0],
        nodes_falsenodeids=[1, 0], target_treeids=[0], target_nodeids=[1], target_ids=[0], target_weights=[1.0],
    )  # fmt: skip
    return _softmaxed([*nodes, tree], constants, ml=3).SerializeToString()


def wrong_shape() -> bytes:
    return model([node("ReduceMean", ["windows"], ["probabilities"], keepdims=0)], dims=["batch", 3, 99]).SerializeToString()


def wrong_answer_shape() -> bytes:
    """Says ``(batch, 2)`` of itself and answers ``(batch * 2, 2)``."""
    nodes = [*flat()[0], node("MatMul", ["x", "w"], ["z"]), node("Softmax", ["z"], ["s"], axis=1)]
    nodes.append(node("Concat", ["s", "s"], ["probabilities"], axis=0))
    return model(nodes, [*flat()[1], constant("w", np.ones((SAMPLES, 2)))]).SerializeToString()


def not_a_number() -> bytes:
    nodes, constants = flat()
    nodes += [node("MatMul", ["x", "w"], ["z0"]), node("Sub", ["z0", "z0"], ["nil"]), node("Div", ["nil", "nil"], ["probabilities"])]
    return model(nodes, [*constants, constant("w", np.ones((SAMPLES, 2)))]).SerializeToString()


def half_precision_overflow() -> bytes:
    """Products overflow in float16 (and, since onnxruntime may compute in float32, there too); and the sine of infinity is no number."""
    nodes, constants = flat()
    nodes += [node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16), node("Exp", ["h"], ["b0"])]
    nodes += [node("Mul", [f"b{i}", "big"], [f"b{i + 1}"]) for i in range(12)]
    nodes += [node("Sin", ["b12"], ["d"]), node("Cast", ["d"], ["f"], to=TensorProto.FLOAT), node("MatMul", ["f", "w"], ["z"])]
    constants += [constant("big", [60000.0], np.float16), constant("w", np.ones((SAMPLES, 2)))]
    return _softmaxed(nodes, constants).SerializeToString()


def quadratic_memory() -> bytes:
    nodes, constants = flat()
    nodes += [
        node("Tile", ["x", "often"], ["t"]), node("Transpose", ["t"], ["tt"], perm=[1, 0]), node("MatMul", ["tt", "t"], ["q"]),
        node("ReduceSum", ["q"], ["s"], keepdims=0), node("Add", ["x", "s"], ["y"]), node("MatMul", ["y", "w"], ["z"]),
    ]  # fmt: skip
    constants += [constant("often", [1, 20_000], np.int64), constant("w", np.ones((SAMPLES, 2)))]
    return _softmaxed(nodes, constants).SerializeToString()


def constant_of_shape() -> bytes:
    extra = [node("ConstantOfShape", ["much"], ["zeros"]), node("ReduceSum", ["zeros"], ["nil"], keepdims=0)]
    return _by_mean_with(extra, [constant("much", [1 << 20, 1 << 20], np.int64)]).SerializeToString()


def shape_by_content() -> bytes:
    """How much it works depends on what it sees."""
    nodes, constants = flat()
    nodes += [
        node("ReduceMax", ["x"], ["most"], keepdims=0), node("Mul", ["most", "million"], ["many"]),
        node("Cast", ["many"], ["whole"], to=TensorProto.INT64), node("Unsqueeze", ["whole", "front"], ["shape"]),
        node("ConstantOfShape", ["shape"], ["zeros"]), node("MatMul", ["x", "w"], ["z"]),
    ]  # fmt: skip
    constants += [constant("million", 1e6), constant("front", [0], np.int64), constant("w", np.ones((SAMPLES, 2)))]
    return _softmaxed(nodes, constants).SerializeToString()


def slow() -> bytes:
    """Millions of sines, four thousand times one after the other: minutes, however fast the machine is."""
    nodes, constants = flat()
    nodes += [node("Tile", ["x", "often"], ["s0"])]
    nodes += [node("Sin", [f"s{i}"], [f"s{i + 1}"]) for i in range(4000)]
    nodes += [node("MatMul", ["s4000", "w"], ["all"]), node("Slice", ["all", "begin", "end"], ["z"])]
    constants += [constant("often", [1000, 100], np.int64), constant("w", np.ones((1000, 2)))]
    constants += [constant("begin", [0], np.int64), constant("end", [1], np.int64)]
    return _softmaxed(nodes, constants).SerializeToString()


def random_numbers() -> bytes:
    return _by_mean_with([node("RandomNormalLike", ["windows"], ["dice"])]).SerializeToString()


def many_nodes() -> bytes:
    """As many empty nodes as fit: two bytes each."""
    return bytes.fromhex("0808") + _length_delimited(7, _length_delimited(1, b"") * (20 << 20))


def _length_delimited(number: int, data: bytes) -> bytes:
    length, head = len(data), bytearray([number << 3 | 2])
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    return bytes(head) + bytes([length]) + data


def compressed() -> bytes:
    import gzip

    return gzip.compress(bytes(40 << 20))


def zip_bomb() -> bytes:
    import io
    import zipfile

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.onnx", bytes(40 << 20))
    return packed.getvalue()


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "external data": (lambda: external_data("weights.bin"), "another file"),
    "external data by a path upwards": (lambda: external_data("../../../../etc/passwd"), "another file"),
    "external data by an absolute path": (lambda: external_data("/proc/self/environ"), "another file"),
    "huge constant": (huge_constant, "too large"),
    "negative dimensions": (negative_dimension, "negative"),
    "sparse constant": (sparse_constant, "sparse"),
    "text constant": (text_constant, "has the type 8"),
    "two constants of one name": (two_with_one_name, "given twice"),
    "deep graph": (deep, "operators; 1 to 5000"),
    "graphs within graphs": (nested, "'If' is not on the list"),
    "twenty million nodes": (many_nodes, "memory"),
    "custom operator": (custom_operator, "com.attacker"),
    "own function": (own_function, "mine"),
    "endless loop": (endless_loop, "'Loop' is not on the list"),
    "tree that never ends": (tree_that_never_ends, "never ends"),
    "wrong input": (wrong_shape, r"\(any, 1, 10\) is expected"),
    "wrong answers": (wrong_answer_shape, r"answers with .*|finds it invalid"),
    "no numbers": (not_a_number, "finite number"),
    "overflow in float16": (half_precision_overflow, "finite number"),
    "quadratic memory": (quadratic_memory, "would hold"),
    "memory by ConstantOfShape": (constant_of_shape, "would hold"),
    "work by content": (shape_by_content, "depends on what the model sees"),
    "minutes of work": (slow, "takes longer|processor time"),
    "random numbers": (random_numbers, "RandomNormalLike"),
    "opset 1": (lambda: _at_opset(1), "version 1 of the operator set"),
    "opset of the future": (lambda: _at_opset(9999), "version 9999"),
    "truncated": (lambda: by_mean()[:-40], "no ONNX model|invalid|refused"),
    "wrong magic": (lambda: b"\x7fELF" + bytes(4096), "no ONNX model"),
    "gzip": (compressed, "no ONNX model"),
    "zip bomb": (zip_bomb, "no ONNX model"),
}


def _at_opset(version: int) -> bytes:
    made = onnx.load_model_from_string(by_mean())
    made.opset_import[0].version = version
    return made.SerializeToString()
