"""What a partner's model may consist of: an allow-list, held against the parsed file before anything of it runs.

A model that passes reads windows and answers probabilities by operators whose work depends on shapes alone: no loops, no branches, no
random numbers, no functions, no operators of others, no files beside the file. So the time that it takes tells hardly anything of what it
sees.

The first breach ends the check. Messages name the cause; what the model itself wrote is shown cut and without control characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NoReturn

import onnx
from onnx import AttributeProto, TensorProto

from custodian.evaluation.limits import BATCH, ModelRefused
from custodian.evaluation.trees import check_trees

OPSETS = {"": (13, 23), "ai.onnx.ml": (1, 4)}
IR_VERSIONS = (4, 12)
MAX_NODES = 5000
MAX_ATTRIBUTE_ENTRIES = 8_000_000
MAX_NUMBERS = 16 << 20
"""Numbers in all constants together."""

MAX_TENSOR = 16 << 20
"""Numbers in any one tensor between two operators, for a batch of `BATCH` windows."""

MAX_RANK = 8


def _words(text: str) -> list[str]:
    return text.split()


OPERATORS = frozenset(_words("""
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos CumSum
    DFT Div Elu Equal Erf Exp Expand Flatten Floor GRU Gather GatherElements Gelu Gemm GlobalAveragePool GlobalMaxPool Greater
    GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LSTM LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mish Mul Neg Not Or PRelu Pad Pow RNN Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Selu Shape Sigmoid Sign Sin
    Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
"""))  # fmt: skip
ML_OPERATORS = frozenset(_words("""
    ArrayFeatureExtractor LinearClassifier LinearRegressor Normalizer SVMClassifier SVMRegressor Scaler TreeEnsembleClassifier
    TreeEnsembleRegressor
"""))  # fmt: skip
# Operator -> the inputs whose values set shapes, and with them the work.
SHAPING = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Slice": (1, 2, 3, 4), "Pad": (1, 3), "TopK": (1,),
    "Unsqueeze": (1,), "Squeeze": (1,), "Split": (1,), "CumSum": (1,), "DFT": (1, 2), "LSTM": (4,), "GRU": (4,), "RNN": (4,), "Trilu": (1,),
    **{name: (1,) for name in OPERATORS if name.startswith("Reduce")},
}  # fmt: skip

_PLAIN = {
    AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING, AttributeProto.FLOATS, AttributeProto.INTS, AttributeProto.STRINGS,
    AttributeProto.TENSOR,
}  # fmt: skip
_BYTES = {
    TensorProto.FLOAT: 4, TensorProto.DOUBLE: 8, TensorProto.FLOAT16: 2, TensorProto.INT64: 8, TensorProto.INT32: 4, TensorProto.UINT8: 1,
    TensorProto.INT8: 1, TensorProto.BOOL: 1,
}  # fmt: skip
_FIELDS = {
    TensorProto.FLOAT: "float_data", TensorProto.DOUBLE: "double_data", TensorProto.INT64: "int64_data",
}  # fmt: skip


def check_model(model: Any, channels: int, samples: int, classes: int) -> None:
    """Return when a parsed model (``onnx.ModelProto``) may run on windows ``(batch, channels, samples)``.

    Raises:
        ModelRefused: it may not.
    """
    _check_versions(model)
    graph = model.graph
    if model.functions or model.training_info or graph.sparse_initializer or graph.quantization_annotation:
        _refuse("it holds functions, training graphs, sparse constants or quantisation notes; export a plain graph")
    if not 1 <= len(graph.node) <= MAX_NODES:
        _refuse(f"it has {len(graph.node)} operators; 1 to {MAX_NODES} are allowed")
    _check_constants(model)
    for node in graph.node:
        _check_node(node)
    _check_flow(graph)
    _check_ends(graph, channels, samples, classes)
    _check_sizes(model, graph)


def shown(text: str, most: int = 40) -> str:
    """Words of the model's own: printable, on one line, cut."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text.strip().split("\n")[0])[:most]


def _refuse(reason: str) -> NoReturn:
    raise ModelRefused(f"the model is refused: {reason}")


def _check_versions(model: Any) -> None:
    if not IR_VERSIONS[0] <= model.ir_version <= IR_VERSIONS[1]:
        _refuse(f"ONNX IR version {model.ir_version} is not supported; {IR_VERSIONS[0]} to {IR_VERSIONS[1]} are")
    domains = [entry.domain for entry in model.opset_import]
    if len(set(domains)) != len(domains) or "" not in domains:
        _refuse("it must name the operator set of the standard domain, and each domain once")
    for entry in model.opset_import:
        if entry.domain not in OPSETS:
            _refuse(f"it uses operators of the domain '{shown(entry.domain)}'; only the standard ones are allowed")
        low, high = OPSETS[entry.domain]
        if not low <= entry.version <= high:
            _refuse(f"version {entry.version} of the operator set '{entry.domain}' is not supported; {low} to {high} are")


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.TENSORS:
                yield from attribute.tensors


def _check_constants(model: Any) -> None:
    total = 0
    for tensor in _tensors(model):
        name = shown(tensor.name)
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            _refuse(f"the constant '{name}' lies in another file; everything must be in the one file")
        size = _BYTES.get(tensor.data_type)
        if size is None or tensor.HasField("segment"):
            _refuse(f"the constant '{name}' has the type {tensor.data_type}; numbers and truth values are allowed")
        if len(tensor.dims) > MAX_RANK or any(not 0 <= d <= MAX_NUMBERS for d in tensor.dims):
            _refuse(f"the constant '{name}' has negative, too large or too many dimensions")
        numbers = prod(tensor.dims)
        total += numbers
        if total > MAX_NUMBERS:
            _refuse(f"its constants hold more than {MAX_NUMBERS} numbers")
        # Smaller types may stand in the field of 32-bit whole numbers.
        stored = len(tensor.raw_data) // size if tensor.raw_data else len(getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data")))
        if stored != numbers or len(tensor.raw_data) % size:
            _refuse(f"the constant '{name}' states {numbers} numbers and holds {stored}")


def _check_node(node: Any) -> None:
    allowed = {"": OPERATORS, "ai.onnx.ml": ML_OPERATORS}.get(node.domain)
    if allowed is None or node.op_type not in allowed:
        whole = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        _refuse(f"the operator '{shown(whole, 60)}' is not on the list of those allowed")
    if getattr(node, "overload", ""):
        _refuse(f"the operator '{node.op_type}' is overloaded; export a plain graph")
    for attribute in node.attribute:
        where = f"'{shown(attribute.name)}' of '{node.op_type}'"
        if attribute.ref_attr_name or attribute.type not in _PLAIN:
            _refuse(f"the attribute {where} is a graph, a reference or of another kind that is not allowed")
        if max(len(attribute.ints), len(attribute.floats), len(attribute.strings)) > MAX_ATTRIBUTE_ENTRIES:
            _refuse(f"the attribute {where} has more than {MAX_ATTRIBUTE_ENTRIES} entries")
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i not in _BYTES:
            _refuse(f"'Cast' to the type {attribute.i} is not allowed")
    if node.op_type.startswith("TreeEnsemble"):
        check_trees(node)


def _check_flow(graph: Any) -> None:
    """Each name is made once, before it is used; what sets a shape depends on shapes and constants alone."""
    initial = [tensor.name for tensor in graph.initializer]
    known = {*initial, *(value.name for value in graph.input)}
    if len(known) != len(initial) + len(graph.input) or "" in known:
        _refuse("a name is given twice, or to nothing, among its inputs and constants")
    seen = {value.name for value in graph.input}  # names whose values come from the windows
    for node in graph.node:
        if missing := [name for name in node.input if name and name not in known]:
            _refuse(f"'{node.op_type}' reads '{shown(missing[0])}', which nothing before it makes")
        for place in SHAPING.get(node.op_type, ()):
            if place < len(node.input) and node.input[place] in seen:
                _refuse(f"a shape of '{node.op_type}' depends on what the model sees; shapes must be fixed")
        made = [name for name in node.output if name]
        if len(set(made)) != len(made) or known & set(made):
            _refuse(f"'{node.op_type}' makes a name that is given already")
        known.update(made)
        if node.op_type != "Shape" and any(name in seen for name in node.input):
            seen.update(made)


def _check_ends(graph: Any, channels: int, samples: int, classes: int) -> None:
    if len(graph.input) != 1 or len(graph.output) != 1:
        _refuse(f"it has {len(graph.input)} inputs and {len(graph.output)} outputs; one of each is expected")
    for value, expected in ((graph.input[0], (channels, samples)), (graph.output[0], (classes,))):
        kind = value.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
        if not value.type.HasField("tensor_type") or kind.elem_type != TensorProto.FLOAT or dims != [None, *expected]:
            text = ", ".join("any" if d is None else str(d) for d in dims)
            wanted = ", ".join(str(d) for d in expected)
            _refuse(f"'{shown(value.name)}' is ({text}); float32 of (any, {wanted}) is expected: windows in, probabilities out")


def _check_sizes(model: Any, graph: Any) -> None:
    """Hold every tensor between two operators, as onnx infers it for a batch, against `MAX_TENSOR`."""
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = BATCH
    try:
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        _refuse(f"onnx finds it invalid ({shown(str(error), 160)})")
    for value in inferred.graph.value_info:
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
        if any(d < 0 for d in dims) or prod(dims) > MAX_TENSOR:
            _refuse(f"'{shown(value.name)}' would hold {prod(dims)} numbers for {BATCH} windows; {MAX_TENSOR} are allowed")
