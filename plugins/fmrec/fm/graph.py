"""The MXNet graph that the built-in algorithm stores beside its parameters as symbol.json.

Nothing here executes it: it lets people load an artifact with MXNet, as they do with AWS's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_LOSS = {"regressor": "LinearRegressionOutput", "binary_classifier": "LogisticRegressionOutput"}
_INIT_ARGUMENT = {"normal": "sigma", "uniform": "scale", "constant": "value"}
_MXNET_VERSION = 10301


def symbol(training_parameters: Mapping[str, str], feature_dim: int, num_factors: int) -> str:
    """Return symbol.json for a model trained with these parameters (all of them strings)."""
    get = training_parameters.__getitem__

    def argument(name: str, group: str, shape: str, *, sparse: bool) -> dict[str, Any]:
        method = get(f"{group}_init_method")
        number = float(get(f"{group}_init_{_INIT_ARGUMENT[method]}"))
        attrs = {
            "__init__": json.dumps([method, {_INIT_ARGUMENT[method]: number}]),
            "__lr_mult__": str(float(get(f"{group}_lr"))),
            "__shape__": shape,
        }
        if sparse:
            attrs["__storage_type__"] = "1"
        attrs["__wd_mult__"] = str(float(get(f"{group}_wd")))
        return _node("null", name, [], attrs)

    rows = {"axis": "1", "keepdims": "True"}
    nodes = [
        _node("null", "data", [], {"__storage_type__": "2"}),
        argument("w1_weight", "linear", f"({feature_dim}, 1)", sparse=True),
        _node("dot", "dot0", [0, 1]),
        argument("w0_weight", "bias", "(1,)", sparse=False),
        _node("broadcast_add", "broadcast_plus0", [2, 3]),
        argument("v", "factors", f"({feature_dim}, {num_factors})", sparse=True),
        _node("dot", "dot2", [0, 5]),
        _node("square", "Square", [6]),
        _node("_mul_scalar", "_mulscalar0", [7], {"scalar": "0.5"}),
        _node("Concat", "concat0", [4, 8], {"dim": "1", "num_args": "2"}),
        _node("sum", "sum0", [9], rows),
        _node("square", "x_square", [0]),
        _node("_square_sum", "_square_sum0", [5], rows),
        _node("dot", "dot1", [11, 12]),
        _node("negative", "negative0", [13]),
        _node("_mul_scalar", "_mulscalar1", [14], {"scalar": "0.5"}),
        _node("elemwise_add", "Final_Summation", [10, 15]),
        _node("null", "out_label", []),
        _node(_LOSS[get("predictor_type")], "out", [16, 17]),
    ]
    graph = {
        "nodes": nodes,
        "arg_nodes": [i for i, node in enumerate(nodes) if node["op"] == "null"],
        "node_row_ptr": list(range(len(nodes) + 1)),
        "heads": [[len(nodes) - 1, 0, 0]],
        "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
    }
    return json.dumps(graph, indent=2)


def _node(
    op: str, name: str, inputs: list[int], attrs: dict[str, str] | None = None
) -> dict[str, Any]:
    node: dict[str, Any] = {"op": op, "name": name}
    if attrs:
        node["attrs"] = attrs
    node["inputs"] = [[i, 0, 0] for i in inputs]
    return node
