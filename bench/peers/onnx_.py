"""ONNX Runtime: graphs of a few nodes with weights as initializers, inputs and results bound ahead.

The fastest of its settings for each: threads that spin between runs or not, blocked layouts or not.
"""

from functools import partial
from itertools import product

import numpy as np
import onnxruntime
from harness import THREADS, Prepared, quickest
from onnx import helper, numpy_helper

from . import narrow, windows

LEVELS = onnxruntime.GraphOptimizationLevel
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]


def prepare(case):
    works = {"conv": _conv, "narrow": _narrow}
    return works[case["work"]](case)


def _model(nodes, x, y, constants):
    described = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in (("x", x), ("y", y))
    ]
    kept = [numpy_helper.from_array(a, name) for name, a in constants.items()]
    graph = helper.make_graph(nodes, "graph", described[:1], described[1:], kept)
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=10).SerializeToString()


def _runs(models, x, y):
    """Calls, one for each model and setting, which write into y."""
    for model, spin, level in product(models, "10", (LEVELS.ORT_ENABLE_ALL, LEVELS.ORT_ENABLE_EXTENDED)):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.graph_optimization_level = THREADS, level
        options.add_session_config_entry("session.intra_op.allow_spinning", spin)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        bound = session.io_binding()
        bound.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
        bound.bind_ortvalue_output("y", y)
        yield partial(session.run_with_iobinding, bound)


def _prepared(models, x, y, part, units):
    y = onnxruntime.OrtValue.ortvalue_from_numpy(y)
    return Prepared(quickest(_runs(models, x, y)), lambda: {"y": part(y.numpy())}, units)


def _conv(case):
    x, w, b = windows.inputs(case)
    y = np.empty((1, case["outputs"], *[windows.out_size(case)] * 2), "f4")
    names = iter(("h", "r", "y") if case["pooled"] else ("h", "y") if case["fused"] else ("y",))
    name = next(names)
    nodes = [
        helper.make_node(
            "ConvTranspose" if case["kind"] == "transposed" else "Conv",
            ["x", "w", "b"] if case["fused"] else ["x", "w"],
            [name],
            strides=[case["stride"]] * 2,
            pads=[windows.padding(case)] * 4,
            group=windows.groups(case),
            kernel_shape=[case["taps"]] * 2,
        )
    ]
    if case["fused"]:
        nodes.append(helper.make_node("Relu", [name], [name := next(names)]))
    if case["pooled"]:
        pooling = {"strides": [2, 2], "pads": [1] * 4, "kernel_shape": [3, 3]}
        nodes.append(helper.make_node("MaxPool", [name], [next(names)], **pooling))
    constants = {"w": w, "b": b} if case["fused"] else {"w": w}
    part = lambda y: y[:, : windows.CHECKED]
    return _prepared([_model(nodes, x, y, constants)], x, y, part, windows.flops(case))


def _narrow(case):
    """QLinearMatMul, or a product with f32 results that is then quantised."""
    x, w, scale = narrow.inputs(case)
    y = np.empty((len(x), w.shape[1]), x.dtype)
    point = lambda value: np.array(value, x.dtype)
    constants = {"one": np.array(1, "f4"), "scale": scale, "w": w, "w point": np.zeros(w.shape[1], "i1"),
                 "x point": point(narrow.POINT[case["dtype"]]),
                 "y point": point(narrow.RESULT_POINT[case["dtype"]])}  # fmt: skip
    whole = ["x", "one", "x point", "w", "scale", "w point", "one", "y point"]
    parts = ["x", "w", "one", "scale", "x point", "w point"]
    nodes = (
        [helper.make_node("QLinearMatMul", whole, ["y"])],
        [
            helper.make_node("MatMulIntegerToFloat", parts, ["h"], domain="com.microsoft"),
            helper.make_node("QuantizeLinear", ["h", "one", "y point"], ["y"]),
        ],
    )
    models = [_model(n, x, y, constants) for n in nodes]
    return _prepared(models, x, y, np.asarray, narrow.flops(case))
