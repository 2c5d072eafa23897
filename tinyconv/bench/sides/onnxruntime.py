"""ONNX Runtime's side of the bench: an inference engine, so the forward map and the transposed convolution, and no training."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...dims import ConvDims, output_size, transposed_size
from ..task import Task, dims_of, operands
from . import Refused

Call = Callable[[], Any]
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
OPSET = 17  # of the graphs that are built here


@cache
def library() -> Any:
    import onnxruntime

    return onnxruntime


def version() -> str:
    return library().__version__


def threads() -> int:
    return THREADS  # each session is told


def prepare(task: Task, algorithm: str) -> tuple[Call, dict]:
    """A call of the task: a session with one node, Conv or ConvTranspose, the weights held as a constant."""
    if find_spec("onnx") is None:
        raise Refused("its graphs are built with the package onnx, which is not installed")
    if task.op not in ("conv", "conv_input_grad"):
        raise Refused("an inference engine: it has no weight gradient, no pooling backward and no training step")
    dims = dims_of(task)
    assert isinstance(dims, ConvDims)
    a, w = operands(task)
    session = _session(task.op, dims, w)
    return lambda: session.run(None, {"a": a})[0], {}


def _session(op: str, dims: ConvDims, w: np.ndarray) -> Any:
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(w.dtype)
    axes = list(zip(dims.input, dims.output, dims.kernel, dims.stride, dims.padding, dims.dilation))
    meta: dict[str, Any] = {"kernel_shape": dims.kernel, "strides": dims.stride, "dilations": dims.dilation,
                            "pads": [lo for lo, _ in dims.padding] + [hi for _, hi in dims.padding], "group": dims.groups}
    if op == "conv":
        if tuple(output_size(i, k, s, lo, hi, d) for i, _, k, s, (lo, hi), d in axes) != dims.output:
            raise Refused("it works the output size out itself")
        node, shapes = helper.make_node("Conv", ["a", "w"], ["out"], **meta), (dims.x_shape, dims.y_shape)
    else:
        meta["output_padding"] = [i - transposed_size(o, k, s, lo, hi, d) for i, o, k, s, (lo, hi), d in axes]
        if any(extra >= s for extra, s in zip(meta["output_padding"], dims.stride)):
            raise Refused("its output padding must be below the stride")
        node, shapes = helper.make_node("ConvTranspose", ["a", "w"], ["out"], **meta), (dims.y_shape, dims.x_shape)
    graph = helper.make_graph([node], "bench", [helper.make_tensor_value_info("a", kind, shapes[0])],
                              [helper.make_tensor_value_info("out", kind, shapes[1])], [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    options = library().SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    options.log_severity_level = 4
    try:
        return library().InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds, by version: a geometry or dtype that it does not have
        raise Refused(" ".join(str(error).split())[:160]) from error


def result(task: Task, call: Call) -> np.ndarray:
    """The answer to be judged."""
    return call()
