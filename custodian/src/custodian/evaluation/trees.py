"""Decision trees inside a model: each must end, and soon."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodian.evaluation.limits import ModelRefused

MAX_DEPTH = 256
_NAMES = ("nodes_treeids", "nodes_nodeids", "nodes_truenodeids", "nodes_falsenodeids")


def check_trees(node: Any) -> None:
    """Return when every path from every root of a ``TreeEnsemble`` operator ends within `MAX_DEPTH` steps.

    Raises:
        ModelRefused: a child is missing, two nodes have one id, or a path is longer or never ends.
    """
    attributes = {attribute.name: attribute for attribute in node.attribute}
    missing = [name for name in (*_NAMES, "nodes_modes") if name not in attributes]
    if missing:
        raise ModelRefused(f"the model is refused: '{node.op_type}' lacks '{missing[0]}'")
    trees, ids, yes, no = (np.array(attributes[name].ints, dtype=np.int64) for name in _NAMES)
    leaf = np.array([mode == b"LEAF" for mode in attributes["nodes_modes"].strings], dtype=bool)
    if not len(trees) == len(ids) == len(yes) == len(no) == len(leaf) > 0 or min(trees.min(), ids.min()) < 0:
        raise ModelRefused(f"the model is refused: the trees of '{node.op_type}' are malformed")
    span = int(max(ids.max(), yes.max(), no.max())) + 1
    if span > 1 << 30 or int(trees.max()) > 1 << 30:
        raise ModelRefused(f"the model is refused: the trees of '{node.op_type}' are numbered too high")
    keys = trees * span + ids
    order = np.argsort(keys)
    if (np.diff(keys[order]) == 0).any():
        raise ModelRefused(f"the model is refused: two nodes of a tree of '{node.op_type}' have one number")
    children = [_places(keys, order, trees * span + child, leaf) for child in (yes, no)]
    if any((found < 0).any() for found in children):
        raise ModelRefused(f"the model is refused: a tree of '{node.op_type}' lacks a node")
    _check_depth(node.op_type, trees, children, leaf)


def _places(
    keys: NDArray[np.int64], order: NDArray[np.int64], wanted: NDArray[np.int64], leaf: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Where each node's child stands, -1 where there is none; a leaf is its own."""
    found = order[np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)]
    return np.where(leaf, np.arange(len(keys)), np.where(keys[found] == wanted, found, -1))


def _check_depth(
    operator: str, trees: NDArray[np.int64], children: list[NDArray[np.int64]], leaf: NDArray[np.bool_]
) -> None:
    # onnxruntime begins each tree at the first of its nodes in the list.
    here = np.unique(trees, return_index=True)[1]
    for _ in range(MAX_DEPTH):
        here = here[~leaf[here]]
        if not len(here):
            return
        here = np.unique(np.concatenate([child[here] for child in children]))
    raise ModelRefused(f"the model is refused: a tree of '{operator}' is deeper than {MAX_DEPTH}, or never ends")
