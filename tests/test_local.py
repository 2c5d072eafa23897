"""Tiled and locally connected layers: against their definition in loops, against convolution, and in the summary."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn
from tinyconv.autograd import gradcheck


def by_definition(x, weight, bias, kernel, tile, stride, padding):
    """y[n, o, i, j] = sum x[n, c, i*s + kh - p, j*s + kw - p] * w[i mod th, j mod tw][c, kh, kw, o] + b, one at a time."""
    N, C, H, W = x.shape
    (KH, KW), (th, tw), s, p = kernel, tile, stride, padding
    OH, OW = (H + 2 * p - KH) // s + 1, (W + 2 * p - KW) // s + 1
    y = np.zeros((N, weight.shape[2], OH, OW))
    for n, o, i, j in np.ndindex(*y.shape):
        place = (i % th) * tw + j % tw
        w = weight[place, :, o].reshape(C, KH, KW)
        y[n, o, i, j] = bias[place, o]
        for c, kh, kw in np.ndindex(C, KH, KW):
            ih, iw = i * s + kh - p, j * s + kw - p
            if 0 <= ih < H and 0 <= iw < W:
                y[n, o, i, j] += x[n, c, ih, iw] * w[c, kh, kw]
    return y


@pytest.mark.parametrize("tile, stride, padding", [((2, 2), 1, 0), ((2, 3), 1, 1), ((1, 1), 2, 0), ((3, 2), 2, 1)])
def test_tiled_is_its_definition(tile, stride, padding):
    """Integers: exact. Sizes of 6x7, that tiles of 2 and 3 do not divide."""
    rng = np.random.default_rng(0)
    layer = nn.TiledConv2d(2, 3, (3, 2), tile, stride, padding)
    layer.weight.data[...] = rng.integers(-3, 4, layer.weight.shape)
    layer.bias.data[...] = rng.integers(-3, 4, layer.bias.shape)
    x = rng.integers(-3, 4, (2, 2, 6, 7)).astype(np.float32)
    want = by_definition(x, layer.weight.numpy(), layer.bias.numpy(), (3, 2), tile, stride, padding)
    np.testing.assert_array_equal(layer(tc.tensor(x)).numpy(), want)


def test_locally_connected_is_its_definition():
    rng = np.random.default_rng(0)
    layer = nn.LocallyConnected2d(2, 3, (5, 6), 3, stride=2, padding=1)
    assert layer.weight.shape == (9, 18, 3) and layer.bias.shape == (9, 3)
    layer.weight.data[...] = rng.integers(-3, 4, layer.weight.shape)
    layer.bias.data[...] = rng.integers(-3, 4, layer.bias.shape)
    x = rng.integers(-3, 4, (2, 2, 5, 6)).astype(np.float32)
    want = by_definition(x, layer.weight.numpy(), layer.bias.numpy(), (3, 3), (3, 3), 2, 1)
    np.testing.assert_array_equal(layer(tc.tensor(x)).numpy(), want)


def test_a_tile_of_one_is_a_convolution():
    layer, conv = nn.TiledConv2d(2, 3, 3, tile=1, padding=1, dilation=2), nn.Conv2d(2, 3, 3, padding=1, dilation=2)
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 4, (3, 2, 3, 3)).astype(np.float32)
    conv.weight.data[...] = weight
    layer.weight.data[0] = weight.reshape(3, 18).T
    layer.bias.data[0] = conv.bias.numpy()
    x = tc.tensor(rng.integers(-3, 4, (2, 2, 8, 9)).astype(np.float32))
    with tc.use(avoid="winograd"):
        np.testing.assert_allclose(layer(x).numpy(), conv(x).numpy(), rtol=0, atol=1e-5)  # the bias is no integer


def test_gradients():
    rng = np.random.default_rng(0)
    layer = nn.TiledConv2d(2, 2, 2, tile=2).double()
    x = tc.tensor(rng.standard_normal((2, 2, 4, 4)), requires_grad=True)

    def run(x, weight, bias):
        layer.weight, layer.bias = (nn.Parameter.wrap(t.data, t.node) for t in (weight, bias))
        return layer(x)

    assert gradcheck(run, (x, layer.weight, layer.bias))


def test_the_summary_sees_windows_and_counts_products():
    s = nn.Sequential(nn.TiledConv2d(2, 3, 3, tile=2, stride=2), nn.LocallyConnected2d(3, 4, (7, 7), 3)).summary((2, 16, 16))
    assert [(row.sees, row.jump) for row in s.rows] == [((3, 3), (2, 2)), ((7, 7), (2, 2))]
    assert [row.parameters for row in s.rows] == [4 * (18 + 1) * 3, 25 * (27 + 1) * 4]
    assert [row.macs for row in s.rows] == [64 * 18 * 3, 25 * 27 * 4]  # 7 x 7 outputs in 4 x 4 tiles of 2 x 2


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"images of \(5, 5\), got shape \(1, 1, 6, 5\)"):
        nn.LocallyConnected2d(1, 1, 5, 3)(tc.zeros(1, 1, 6, 5))
    with pytest.raises(ValueError, match=r"\(N, 2, H, W\), got shape \(1, 1, 6, 5\)"):
        nn.TiledConv2d(2, 1, 3, 2)(tc.zeros(1, 1, 6, 5))
