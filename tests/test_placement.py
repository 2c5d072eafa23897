"""The same bits wherever arrays lie: compiled loops choose between vectors and single numbers by how far apart arrays are.

The references are left out: their loops are NumPy's.
"""

import sys

import numpy as np
import pytest
from placed import differing
from pooled import CASES as POOLS
from pooled import OPS as POOLINGS
from pooled import calls

import tinyconv as tc
from tinyconv import cases, optim
from tinyconv.dims import NormDims, conv_dims
from tinyconv.kernels.jit import config
from tinyconv.kernels.scratch import release
from tinyconv.registry import kernels

F32 = np.dtype("f4")
SLOTS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}
CONVS = {name: cases.small[name]
         for name in ("half", "leftover", "dilated_stride", "grouped", "depthwise", "depthwise_twice", "pointwise", "line")}
CONVS |= {"mnist": conv_dims((3, 1, 12, 12), (7, 1, 5, 5)),
          "deep": conv_dims((2, 19, 8, 9), (21, 19, 3, 3), padding=1),
          "sevens": conv_dims((2, 3, 9, 20), (3, 1, 7, 7), padding=3, groups=3),
          "deeper": conv_dims((4, 48, 12, 12), (48, 48, 3, 3), padding=1)}
NORMS = {"batch": NormDims(3, 5, 1, 77, 5), "batch of rows": NormDims(9, 5, 1, 1, 5), "layer": NormDims(1, 13, 9, 1, 1),
         "long layer": NormDims(1, 5, 50, 1, 1), "group": NormDims(1, 6, 3, 11, 2)}
SHAPES = [(5, 10), (3, 7, 1, 9), (2, 33), (9, 200, 11)]
LINEAR = [(3, 90, 100), (10, 100, 90), (17, 10, 12)]  # N, I, O
RULES = [("SGD", {}), ("SGD", {"momentum": 0.9, "weight_decay": 0.1}), ("SGD", {"momentum": 0.9, "nesterov": True}),
         ("Adagrad", {"weight_decay": 0.1}), ("RMSprop", {"momentum": 0.9, "centered": True}), ("Adam", {}),
         ("Adam", {"weight_decay": 0.1, "amsgrad": True}), ("AdamW", {})]
LONG = [("conv_weight_grad", "winograd")]  # all of its arrays are long

pytestmark = [
    pytest.mark.skipif(config.DISABLE_JIT, reason="without the JIT there is one loop, and NumPy's own"),
    pytest.mark.skipif(sys.platform != "linux", reason="arrays are placed in a stretch of address space, as Linux gives it"),
]


def rungs(*ops):
    return [pytest.param(k, id=f"{k.op}-{k.algorithm}") for op in ops for k in kernels(op)
            if k.device == "cpu" and k.algorithm != "reference" and (k.op, k.algorithm) not in LONG]


def draw(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(F32) for shape in shapes]


class Neighbours:
    """One function after another is tried with its arrays beside each other: all must agree, and some must have been tried."""

    def __enter__(self):
        self.tried, self.found = 0, []
        return self

    def agree(self, what, operands, function, *rest, **keywords):
        def fresh(*copies):
            release()  # buffers are kept from call to call, and would stay where they are
            result = function(*copies, *rest, **keywords)
            return result if isinstance(result, tuple) else (result,)

        tried, found = differing(fresh, *operands)
        self.tried += tried
        self.found += [f"{what}: {pair}" for pair in found]

    def __exit__(self, *error):
        release()
        if not any(error):
            assert not self.found, f"other bits where these arrays, numbered as they are made, are neighbours: {self.found}"
            assert self.tried, "no two arrays to bring together"


@pytest.mark.parametrize("kernel", rungs(*SLOTS))
def test_convolution(kernel):
    def biased(x, w, b, dims):
        return kernel.fn(x, w, dims, bias=b)

    if all(reasons := [kernel.refuse(dims, F32) for dims in CONVS.values()]):
        pytest.skip(reasons[0])
    with Neighbours() as neighbours:
        for name, dims in CONVS.items():
            if not kernel.refuse(dims, F32):
                operands = draw(*(getattr(dims, f"{slot}_shape") for slot in SLOTS[kernel.op]))
                neighbours.agree(name, operands, kernel.fn, dims)
                if "bias" in kernel.fuses:
                    b = draw(dims.C if kernel.op == "conv_input_grad" else dims.O)
                    neighbours.agree(f"{name}, bias", operands + b, biased, dims)


@pytest.mark.parametrize("kernel", rungs(*POOLINGS))
def test_pooling(kernel):
    with Neighbours() as neighbours:
        for name, dims in POOLS.items():
            if kernel.refuse(dims, F32):
                continue
            for arrays, keywords in calls(kernel.op, dims, F32, np.random.default_rng(0)):
                if kernel.op not in ("lp_pool_grad", "stochastic_pool"):  # integers hide how they are added up
                    arrays = [a / F32.type(3) if a.dtype == F32 else a for a in arrays]
                neighbours.agree(f"{name}, {keywords}", arrays, kernel.fn, dims, **keywords)


@pytest.mark.parametrize("kernel", rungs("norm", "norm_grad"))
def test_normalisation(kernel):
    def behind_relu(g, x, w, mean, var, y, dims):
        return kernel.fn(g, x, w, mean, var, dims, 1e-5, False, y)

    with Neighbours() as neighbours:
        for name, dims in NORMS.items():
            x, g, y, w, b, mean, var = draw(*[dims.N * dims.S * dims.K * dims.L] * 3, *[dims.P * dims.K] * 2, *[dims.S] * 2)
            if kernel.op == "norm":
                neighbours.agree(name, (x, w, b), kernel.fn, dims, 1e-5)
            else:
                neighbours.agree(name, (g, x, w, mean, var**2), kernel.fn, dims, 1e-5, False)
                neighbours.agree(f"{name}, relu", (g, x, w, mean, var**2, y), behind_relu, dims)


@pytest.mark.parametrize("kernel", rungs("sigmoid", "sigmoid_grad", "channel_sum", "bias_relu_grad"))
def test_pointwise(kernel):
    count = 1 if kernel.op in ("sigmoid", "channel_sum") else 2
    with Neighbours() as neighbours:
        for shape in SHAPES:
            if not kernel.refuse(shape, F32):
                neighbours.agree(shape, draw(*[shape] * count), kernel.fn, shape)


@pytest.mark.parametrize("kernel", rungs("softmax_nll"))
def test_softmax(kernel):
    def of(x, n, t):
        return kernel.fn(x, (n, t), x.shape)

    with Neighbours() as neighbours:
        neighbours.agree("", (*draw((5, 10)), np.arange(5), np.arange(5)), of)


@pytest.mark.parametrize("kernel", rungs("linear", "linear_input_grad", "linear_weight_grad"))
def test_linear(kernel):
    with Neighbours() as neighbours:
        for N, I, O in LINEAR:
            shapes = {"linear": ((N, I), (O, I)), "linear_input_grad": ((N, O), (O, I)), "linear_weight_grad": ((N, I), (N, O))}
            if not kernel.refuse((N, I, O), F32):
                neighbours.agree((N, I, O), draw(*shapes[kernel.op]), kernel.fn, (N, I, O))


@pytest.mark.parametrize("rule, options", RULES, ids=str)
def test_optimisers(rule, options):
    def steps(p, g):
        p = tc.nn.Parameter(p)
        optimiser = getattr(optim, rule)([p], lr=0.1, **options)
        for _ in range(3):
            p.grad = tc.Tensor(g)
            optimiser.step()
        return p.numpy(), g

    with Neighbours() as neighbours:
        for shape in (10, (3, 11), (5, 41)):
            neighbours.agree(shape, draw(shape, shape), steps)
