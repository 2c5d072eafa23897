"""Kernels that compute nothing: the shapes and dtypes of those that do, zeros for values, and gone after the block."""

import subprocess
import sys

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn, registry
from tinyconv.nn import functional as F

X = np.random.default_rng(0).standard_normal((2, 4, 8, 9)).astype(np.float32)
PASSES = {
    "conv": lambda x: nn.Conv2d(4, 6, 3, stride=2)(x),
    "conv and relu": lambda x: nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())(x),
    "conv_transpose": lambda x: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2), nn.ReLU())(x),
    "batch norm": lambda x: nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())(x),
    "group norm": lambda x: nn.GroupNorm(2, 4)(x),
    "max pooling": lambda x: nn.Sequential(nn.MaxPool2d(3, 2, padding=1), nn.ReLU())(x),
    "with indices": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=(8, 9)),
    "average pooling": lambda x: F.avg_pool2d(x, 3, 2),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "lp pooling": lambda x: F.lp_pool2d(x, 2, 2),
    "unfold": lambda x: F.unfold(x, 3, stride=2),
    "fold": lambda x: F.fold(F.unfold(x, 2), (8, 9), 2),
    "sigmoid": lambda x: tc.sigmoid(x),
    "local": lambda x: nn.LocallyConnected2d(4, 2, (8, 9), 3, bias=False)(x),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PASSES)
def test_shapes_are_those_of_the_real_pass(name, dtype):
    x = tc.tensor(X.astype(dtype))
    with tc.no_grad():
        real = PASSES[name](x)
        with registry.hollow():
            hollow = PASSES[name](x)
        again = PASSES[name](x)
    assert hollow.shape == real.shape == again.shape and hollow.dtype == real.dtype
    assert not hollow.numpy().any() and again.numpy().any()


@pytest.mark.parametrize("name", ["cnn", "nielsen-v2"])  # by ReLU, and by the logistic function
def test_a_summary_loads_no_toolchain(name):
    code = (f"import sys, tinyconv.models as m; m.build({name!r}, (1, 28, 28), 10).summary((1, 28, 28)); "
            "print('numba' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stdout + done.stderr


def test_skipped_weights_are_not_drawn():
    tc.manual_seed(0)
    before = tc.get_rng_state()
    with nn.init.skipped():
        layer = nn.Conv2d(3, 5, 3)
        assert nn.init.ones_(layer.bias) is layer.bias
    assert str(tc.get_rng_state()) == str(before) and layer.weight.shape == (5, 3, 3, 3) and layer.weight.requires_grad
    assert nn.Conv2d(3, 5, 3).weight.numpy().any() and str(tc.get_rng_state()) != str(before)
