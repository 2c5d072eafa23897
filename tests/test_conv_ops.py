"""Convolution on the tape: derivatives to order 3 by differences, and values and gradients against PyTorch.

Everything runs on the reference kernel, the definition: what is tested is the operation around it, its geometry and its
rules. The kernels are held against the reference elsewhere.
"""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import cases
from tinyconv.autograd import grad, gradcheck, gradgradcheck
from tinyconv.ops.conv import conv_bias_op, conv_input_grad_op, conv_op, conv_weight_grad_op
from tinyconv.ops.rectify import channel_sum

REFERENCE = "reference"
SMALL = [name for name, d in cases.small.items() if d.macs <= 6000]
THIRD = ["hand", "one_sided", "dilated_stride", "depthwise_twice", "line", "volume_stride", "output_padding", "full"]


def operands(dims, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [tc.tensor(rng.standard_normal(s).astype(dtype), requires_grad=True)
            for s in (dims.x_shape, dims.w_shape, dims.y_shape, (dims.O,))]


@pytest.mark.parametrize("name", SMALL)
def test_the_three_maps_and_their_derivatives(name):
    dims = cases.small[name]
    x, w, y, b = operands(dims)
    for op, pair in ((conv_op, (x, w)), (conv_input_grad_op, (y, w)), (conv_weight_grad_op, (x, y)), (conv_bias_op, (x, w, b))):
        def fn(*t, op=op):
            return op(*t, dims=dims, algorithm=REFERENCE)

        assert gradcheck(fn, pair, directions=1)
        if name in THIRD:
            assert gradgradcheck(fn, pair, directions=1)


@pytest.mark.parametrize("name", THIRD)
def test_third_order(name):
    """The gradient of a function of the gradient is itself checked against differences, twice."""
    dims = cases.small[name]
    x, w, y, _ = operands(dims)

    def curved(x, w):  # not linear in the output, so that every order is alive
        out = conv_op(x, w, dims=dims, algorithm=REFERENCE)
        (gx,) = grad((out * out * y).sum(), x, create_graph=True)
        return gx

    assert gradgradcheck(curved, [x, w], directions=1, rtol=1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_adjoints(name):
    """<conv(x, w), y> == <x, input_grad(y, w)> == <w, weight_grad(x, y)>: exactly, on small integers."""
    dims = cases.small[name]
    rng = np.random.default_rng(1)
    x, w, y = (tc.tensor(rng.integers(-3, 4, s).astype(np.float64)) for s in (dims.x_shape, dims.w_shape, dims.y_shape))
    products = [(op(a, b, dims=dims, algorithm=REFERENCE) * c).sum().item()
                for op, a, b, c in ((conv_op, x, w, y), (conv_input_grad_op, y, w, x), (conv_weight_grad_op, x, y, w))]
    assert products[0] == products[1] == products[2]


def test_the_first_layer_asks_for_no_input_gradient():
    called = []

    def spy(map_):
        def fn(a, b, dims):
            called.append(map_)
            return tc.registry.kernels(map_)[0].fn(a, b, dims)
        return fn

    maps = ("conv", "conv_input_grad", "conv_weight_grad")
    for m in maps:
        tc.kernel(m, "spy")(spy(m))
    try:
        x, w = tc.ones(1, 1, 3, 3), tc.ones(1, 1, 2, 2, requires_grad=True)
        tc.conv(x, w, algorithm="spy").sum().backward()
        assert called == ["conv", "conv_weight_grad"]
        called.clear()
        x.requires_grad_()
        grad(tc.conv(x, w, algorithm="spy").sum(), x)
        assert called == ["conv", "conv_input_grad"]
    finally:
        tc.registry.unregister("spy")


def test_bias():
    rng = np.random.default_rng(2)
    x, w, b = (tc.tensor(rng.standard_normal(s), requires_grad=True) for s in ((2, 2, 4, 5), (3, 2, 2, 3), (3,)))
    y = tc.conv(x, w, b, padding=1, algorithm=REFERENCE)
    plain = tc.conv(x, w, padding=1, algorithm=REFERENCE)
    np.testing.assert_array_equal(y.data, (plain + b.reshape(-1, 1, 1)).data)
    seed = rng.standard_normal(y.shape)
    for a, c in zip(grad(y, [x, w, b], seed), grad(plain + b.reshape(-1, 1, 1), [x, w, b], seed)):
        np.testing.assert_allclose(a.data, c.data, rtol=1e-13)
    assert channel_sum(y).shape == (3,)
    assert gradcheck(lambda *t: tc.conv_transpose(t[0], t[1], t[2], stride=2, algorithm=REFERENCE),
                     [x, tc.tensor(rng.standard_normal((2, 4, 2, 2)), requires_grad=True),
                      tc.tensor(rng.standard_normal(4), requires_grad=True)])
    for call in (lambda: tc.conv(x, w, tc.ones(2)), lambda: tc.conv_transpose(y, w, tc.ones(3))):
        with pytest.raises(ValueError, match="the bias has shape"):
            call()


def test_dtypes():
    x, w = tc.ones(1, 1, 3, 3, requires_grad=True), tc.ones(1, 1, 2, 2, dtype="float64", requires_grad=True)
    y = tc.conv(x, w, tc.ones(1), algorithm=REFERENCE)
    assert y.dtype == np.float64 and tc.conv(x, w.float(), algorithm=REFERENCE).dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype == np.float32 and w.grad.dtype == np.float64
    assert x.grad.tolist() == [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]
    for bad in (tc.ones(1, 1, 3, 3, dtype="int64"), tc.ones(1, 1, 3, 3, dtype="float16"), np.ones((1, 1, 3, 3))):
        with pytest.raises(TypeError, match=r"conv wants .*input"):
            tc.conv(bad, w)
        with pytest.raises(TypeError, match=r"conv wants .*weight"):
            tc.conv(x, bad)


def test_transposed_convolution_is_the_input_gradient():
    rng = np.random.default_rng(3)
    x, w = tc.tensor(rng.standard_normal((2, 3, 7, 8)), requires_grad=True), tc.tensor(rng.standard_normal((4, 3, 3, 2)))
    y = tc.conv(x, w, stride=(2, 3), padding=1, algorithm=REFERENCE)
    g = tc.tensor(rng.standard_normal(y.shape))
    up = tc.conv_transpose(g, w, stride=(2, 3), padding=1, output_size=(7, 8), algorithm=REFERENCE)
    np.testing.assert_array_equal(up.data, grad(y, x, g)[0].data)


@pytest.mark.parametrize("call, says", [
    (lambda: tc.conv(tc.ones(1, 1, 2, 2), tc.ones(1, 1, 3, 3)), r"input 2 \+ padding 0\+0 = 2 is smaller than"),
    (lambda: tc.conv(tc.ones(1, 2, 4, 4), tc.ones(1, 3, 3, 3)), "2 channels.*wants 3"),
    (lambda: tc.conv(tc.ones(1, 4, 4), tc.ones(1, 1, 3, 3)), "same number of spatial"),
    (lambda: tc.conv(tc.ones(4, 4), tc.ones(3, 3)), "batch axis"),
    (lambda: tc.conv(tc.ones(1, 1, 4, 4), tc.ones(1, 1, 3, 3), stride=0), "stride must be at least 1"),
    (lambda: tc.conv(tc.ones(1, 1, 4, 4), tc.ones(1, 1, 3, 3), padding=-1), "padding must be at least 0"),
    (lambda: tc.conv(tc.ones(1, 1, 4, 4), tc.ones(1, 1, 3, 3), algorithm="none such"), "no algorithm 'none such'"),
    (lambda: tc.conv_transpose(tc.ones(1, 1, 4), tc.ones(1, 1, 3), stride=2, output_size=12), "output_size=.*9 to 10"),
])
def test_errors(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# -- PyTorch -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def draw(rng):
    """A random geometry that is possible: (transposed, shapes, the keywords of PyTorch's function)."""
    while True:
        rank = int(rng.integers(1, 4))
        groups = int(rng.choice([1, 1, 2, 3]))
        N, Cg, Og = (int(n) for n in rng.integers(1, 4, 3))
        kernel, stride, dilation = (tuple(int(n) for n in rng.integers(1, 4, rank)) for _ in range(3))
        padding = tuple(int(n) for n in rng.integers(0, 4, rank))
        size = tuple(int(n) for n in rng.integers(1, 9 if rank < 3 else 6, rank))
        geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        if rng.random() < 0.5:
            out = tuple((i + 2 * p - d * (k - 1) - 1) // s + 1
                        for i, k, s, p, d in zip(size, kernel, stride, padding, dilation))
            shapes = (N, Cg * groups, *size), (Og * groups, Cg, *kernel), (Og * groups,)
            if min(out) > 0:
                return False, shapes, geometry
        else:
            extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation))
            out = tuple((i - 1) * s - 2 * p + d * (k - 1) + a + 1
                        for i, k, s, p, d, a in zip(size, kernel, stride, padding, dilation, extra))
            shapes = (N, Cg * groups, *size), (Cg * groups, Og, *kernel), (Og * groups,)
            if min(out) > 0:
                return True, shapes, geometry | {"output_padding": extra}


def against_torch(torch, seed):
    """Value, gradients and gradients of the gradients, in float64: 1e-10 of the largest entry, for sums of < 3000 terms."""
    rng = np.random.default_rng(seed)
    transposed, shapes, geometry = draw(rng)
    arrays = [rng.standard_normal(s) for s in shapes]
    ours = [tc.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    if rng.random() < 0.3:
        ours[2] = theirs[2] = None
    rank = len(shapes[0]) - 2
    y = (tc.conv_transpose if transposed else tc.conv)(*ours, **geometry, algorithm=REFERENCE)
    want = getattr(torch.nn.functional, f"conv{'_transpose' * transposed}{rank}d")(*theirs, **geometry)
    close(y, want, f"{transposed=} {shapes} {geometry}")
    ours, theirs = [t for t in ours if t is not None], [t for t in theirs if t is not None]
    seeds = [rng.standard_normal(s) for s in (y.shape, *(t.shape for t in ours))]
    g, g_theirs = tc.tensor(seeds[0], requires_grad=True), torch.tensor(seeds[0], requires_grad=True)
    first = grad(y, ours, g, create_graph=True)
    first_want = torch.autograd.grad(want, theirs, g_theirs, create_graph=True)
    for a, b in zip(first, first_want, strict=True):
        close(a, b, f"gradient: {transposed=} {shapes} {geometry}")
    # the bias's gradient is only of g; the others of each other and of g
    second = grad(first, [*ours[:2], g], [tc.tensor(s) for s in seeds[1:]])
    second_want = torch.autograd.grad(first_want, [*theirs[:2], g_theirs], [torch.tensor(s) for s in seeds[1:]])
    for a, b in zip(second, second_want, strict=True):
        close(a, b, f"second gradient: {transposed=} {shapes} {geometry}")


def close(ours, theirs, what):
    want = theirs.detach().numpy()
    assert ours.shape == want.shape, what
    np.testing.assert_allclose(ours.data, want, rtol=0, atol=1e-10 * max(1.0, np.abs(want).max(initial=0.0)), err_msg=what)


def test_torch_agrees_over_random_geometries(torch):
    for seed in range(150):
        against_torch(torch, seed)


@pytest.mark.sweep
def test_torch_agrees_over_thousands_of_geometries(torch):
    for seed in range(1000, 4000):
        against_torch(torch, seed)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch's, of even kernels
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_torch_agrees_on_padding_words(torch, padding):
    rng = np.random.default_rng(4)
    for k, d in ((1, 1), (2, 1), (3, 2), (4, 1), (2, 3)):
        x, w = rng.standard_normal((2, 3, 8, 9)), rng.standard_normal((4, 3, k, 3))
        y = tc.conv(tc.tensor(x), tc.tensor(w), padding=padding, dilation=(d, 1), algorithm=REFERENCE)
        close(y, torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w), padding=padding, dilation=(d, 1)), f"{k=} {d=}")
