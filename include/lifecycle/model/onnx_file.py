"""Writes the trees of XGBoost as an ONNX graph, the same trees always as the same bytes.

onnxmltools (1.16) was tried first: a text of a hundred categories took it minutes, since it knows no
`BRANCH_MEMBER` of ai.onnx.ml 5 and writes each set of categories as a chain of comparisons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from xgboost import Booster

_LESS_THAN, _MEMBER = 1, 6
"""`BRANCH_LT` and `BRANCH_MEMBER` of nodes_modes."""
_SUM, _PLAIN = 1, 0
"""aggregate_function and post_transform."""
_LOGISTIC = ("binary:logistic", "reg:logistic")
_FEATURES, _SCORE = "features", "score"

Tree = Mapping[str, Any]
"""A tree as XGBoost writes it to JSON."""


class NotCompiled(ValueError):
    """Trees of a kind that is not written as ONNX; the message says which."""


def onnx_of(booster: Booster) -> bytes:
    """A graph from `features` (float32, rows x features) to `score` (rows x 1); raises NotCompiled."""
    learner = json.loads(booster.save_raw("json"))["learner"]
    kind, objective = learner["gradient_booster"]["name"], learner["objective"]["name"]
    if kind != "gbtree" or objective not in _LOGISTIC:
        raise NotCompiled(
            f"only trees (gbtree) of binary:logistic are compiled, these are {kind} of {objective}"
        )
    forest = _Forest()
    for tree in learner["gradient_booster"]["model"]["trees"]:
        forest.add(tree if tree["left_children"][0] >= 0 else _with_a_split(tree))
    about = learner["learner_model_param"]
    (base,) = json.loads(about["base_score"])
    return _graph(forest.attributes(), float(base), int(about["num_feature"]))


class _Forest:
    """The nodes of all trees one after the other, and their leaves likewise."""

    def __init__(self) -> None:
        self._nodes: dict[str, list[npt.NDArray[Any]]] = {}
        self._roots: list[int] = []
        self._leaves: list[npt.NDArray[np.float32]] = []
        self._members: list[float] = []
        self._node_count = self._leaf_count = 0

    def add(self, tree: Tree) -> None:
        """Add a tree whose root is a split. XGBoost goes right where a category is in the set."""
        left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
        values = np.array(tree["split_conditions"], dtype=np.float32)
        is_leaf, is_set = left < 0, np.array(tree["split_type"]) == 1
        place = np.where(
            is_leaf,
            self._leaf_count + np.cumsum(is_leaf) - 1,
            self._node_count + np.cumsum(~is_leaf) - 1,
        )
        when_true, when_false = np.where(is_set, right, left), np.where(is_set, left, right)
        columns = {
            "featureids": np.array(tree["split_indices"]),
            "modes": np.where(is_set, _MEMBER, _LESS_THAN),
            "splits": np.where(is_set, np.float32(0), values),
            "truenodeids": place[when_true],
            "trueleafs": is_leaf[when_true],
            "falsenodeids": place[when_false],
            "falseleafs": is_leaf[when_false],
            "missing_value_tracks_true": (np.array(tree["default_left"]) == 1) != is_set,
        }
        for name, column in columns.items():
            self._nodes.setdefault(name, []).append(column[~is_leaf])
        self._members += _members_of(tree)
        self._roots.append(self._node_count)
        self._leaves.append(values[is_leaf])
        self._node_count += int((~is_leaf).sum())
        self._leaf_count += int(is_leaf.sum())

    def attributes(self) -> dict[str, Any]:
        """As the operator TreeEnsemble names them."""
        nodes = {f"nodes_{name}": np.concatenate(parts) for name, parts in self._nodes.items()}
        return {
            **{name: values.astype(np.int64) for name, values in nodes.items()},
            "nodes_splits": _tensor("nodes_splits", nodes["nodes_splits"], np.float32),
            "nodes_modes": _tensor("nodes_modes", nodes["nodes_modes"], np.uint8),
            "tree_roots": self._roots,
            "leaf_targetids": np.zeros(self._leaf_count, dtype=np.int64),
            "leaf_weights": _tensor("leaf_weights", np.concatenate(self._leaves), np.float32),
            **({"membership_values": self._membership()} if self._members else {}),
        }

    def _membership(self) -> Any:
        return _tensor("membership_values", self._members, np.float32)


def _members_of(tree: Tree) -> list[float]:
    """The categories of each set, NaN after each; XGBoost has the sets in the order of the nodes."""
    found: list[float] = []
    for start, size in zip(tree["categories_segments"], tree["categories_sizes"], strict=True):
        found += [*tree["categories"][start : start + size], np.nan]
    return found


def _with_a_split(tree: Tree) -> Tree:
    """The same tree of one leaf with two: the operator knows none without a split."""
    (leaf,) = tree["split_conditions"][:1]
    nothing = {"split_type": [0] * 3, "split_indices": [0] * 3, "default_left": [0] * 3}
    sides = {"left_children": [1, -1, -1], "right_children": [2, -1, -1]}
    return {**tree, **nothing, **sides, "split_conditions": [0.0, leaf, leaf]}


def _graph(trees: Mapping[str, Any], base: float, features: int) -> bytes:
    from onnx import TensorProto, helper  # half a second, which no other step need wait for

    values = {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in trees.items()
    }
    # Fixed versions: bytes that change with what is installed would make every training another one.
    opsets = [helper.make_opsetid("ai.onnx.ml", 5), helper.make_opsetid("", 18)]
    nodes = [
        helper.make_node(
            "TreeEnsemble",
            [_FEATURES],
            ["trees"],
            domain="ai.onnx.ml",
            n_targets=1,
            aggregate_function=_SUM,
            post_transform=_PLAIN,
            **values,
        ),
        helper.make_node("Add", ["trees", "base"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], [_SCORE]),
    ]
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info(_FEATURES, TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info(_SCORE, TensorProto.FLOAT, [None, 1])],
        [_tensor("base", [np.log(base / (1 - base))], np.float32)],
    )
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="")
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _tensor(name: str, values: Any, kind: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(values, dtype=kind), name)
