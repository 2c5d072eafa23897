"""A relu done in the pass of what comes before it: the same values and gradients as the two one after the other."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import nn
from tinyconv.ops.pool import max_pool
from tinyconv.registry import kernels


def on_cpu(op):
    """The ladder of the CPU; test_cuda_tensor.py has the other."""
    return [k for k in kernels(op) if k.device == "cpu"]



def small(rng, *shape):
    """Small integers, whose sums are exact in any order; a good part of them below 0."""
    return rng.integers(-3, 4, shape).astype(np.float32)


LAYERS = {
    "conv": (lambda: nn.Conv2d(3, 5, 3, padding=1), (2, 3, 9, 8)),
    "conv without bias": (lambda: nn.Conv2d(3, 5, 3, bias=False), (2, 3, 9, 8)),
    "conv 1d": (lambda: nn.Conv1d(3, 17, 4, stride=2), (3, 3, 20)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 5, 3, stride=2, padding=1, output_padding=1), (2, 3, 5, 6)),
    "transposed with holes": (lambda: nn.ConvTranspose2d(3, 4, 2, stride=3, output_padding=1), (2, 3, 5, 6)),
    "max pooling": (lambda: nn.MaxPool2d(2), (2, 3, 8, 9)),
    "overlapping": (lambda: nn.MaxPool2d(3, 2, 1), (2, 3, 9, 8)),
    "even ties": (lambda: nn.MaxPool2d(2, ties="even"), (2, 3, 8, 8)),
}


def run(model, x, g):
    x = tc.tensor(x, requires_grad=True)
    model.zero_grad()
    y = model(x)
    y.backward(tc.tensor(g))
    return [y.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in model.parameters())]


@pytest.mark.parametrize(("name", "algorithm"), [
    (name, algorithm) for name, (make, _) in LAYERS.items() for algorithm in ("", "im2col", "reference")
    if algorithm != "im2col" or not make().takes_maximum])  # pooling has no im2col
def test_equals_layer_and_relu_apart(name, algorithm):
    make, shape = LAYERS[name]
    rng = np.random.default_rng(1)
    layer = make()
    for p in layer.parameters():
        p.data[...] = small(rng, *p.shape)
    x = small(rng, *shape)
    x.reshape(-1)[0] = np.nan if layer.takes_maximum else 0
    g = small(rng, *layer(tc.tensor(x)).shape)
    with tc.use(*[algorithm] * bool(algorithm)):
        got = run(nn.Sequential(layer, nn.ReLU()), x, g)

        class Apart(nn.Module):
            def __init__(self):
                self.layer = layer

            def forward(self, x):
                return tc.relu(self.layer(x))

        want = run(Apart(), x, g)
    assert (got[0] == 0).any() and (got[0] > 0).any()
    for a, b in zip(got, want, strict=True):
        assert np.array_equal(a, b, equal_nan=True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (16, 6, 70, 10), (8, 6)])
def test_batch_norm(shape, training):
    rng = np.random.default_rng(2)
    layer = nn.BatchNorm1d(6) if len(shape) == 2 else nn.BatchNorm2d(6)
    for p in layer.parameters():
        p.data[...] = rng.standard_normal(p.shape)
    layer.train(training)
    x, g = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(shape).astype(np.float32)
    fused = nn.Sequential(layer, nn.ReLU())
    before = {k: v.numpy().copy() for k, v in layer.state_dict().items()}
    got = run(fused, x, g)
    after = {k: v.numpy().copy() for k, v in layer.state_dict().items()}
    layer.load_state_dict({k: tc.tensor(v) for k, v in before.items()})
    y = tc.relu(layer(a := tc.tensor(x, requires_grad=True)))
    layer.zero_grad()
    y.backward(tc.tensor(g))
    # the same sums of the same numbers: what relu lets through is made in another pass
    for u, v in zip(got, [y.numpy(), a.grad.numpy(), layer.weight.grad.numpy(), layer.bias.grad.numpy()], strict=True):
        np.testing.assert_allclose(u, v, rtol=0, atol=1e-6 * np.abs(v).max())
    for k, v in layer.state_dict().items():
        assert np.array_equal(after[k], v.numpy())


def test_higher_derivatives():
    rng = np.random.default_rng(3)
    shapes = (2, 2, 5, 4), (3, 2, 2, 2), (2, 3, 2, 2), (3,)
    x, w, v, b = (tc.Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes)
    for f, operands in ((lambda x, w, b: tc.conv(x, w, b, relu=True), (x, w, b)),
                        (lambda x, v, b: tc.conv_transpose(x, v, b, 2, relu=True), (x, v, b)),
                        (lambda x: max_pool(x, 2, relu=True), (x,))):
        assert tc.autograd.gradcheck(f, operands)
        assert tc.autograd.gradgradcheck(f, operands)


class Own(nn.Conv2d):
    """A forward of one's own knows nothing of relu."""

    def forward(self, x):
        return super().forward(x) - 1.0


def test_a_layer_of_ones_own_is_called_as_it_is():
    own, seen = Own(1, 1, 1), []
    x = tc.tensor(np.ones((1, 1, 2, 2), np.float32))
    assert np.array_equal(nn.Sequential(own, nn.ReLU())(x).numpy(), tc.relu(own(x)).numpy())
    relu, conv = nn.ReLU(), nn.Conv2d(1, 1, 1)
    vars(relu)["forward"] = lambda x: seen.append(x) or tc.relu(x)  # what summary does to see every layer
    nn.Sequential(conv, relu)(x)
    assert len(seen) == 1


SHAPES = [(3, 5, 40, 41), (64, 6, 28, 28), (2, 300, 8, 9), (1, 1, 200, 200), (400, 3, 16), (10, 100), (7, 5, 1)]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_channel_sums(shape, dtype):
    rng = np.random.default_rng(4)
    g, y = small(rng, *shape).astype(dtype), small(rng, *shape).astype(dtype)
    through = np.where(y > 0, g, 0)
    for op, args, want in (("channel_sum", (g,), (g.sum((0, *range(2, g.ndim))),)),
                           ("bias_relu_grad", (g, y), (through, through.sum((0, *range(2, g.ndim)))))):
        for kernel in on_cpu(op):
            got = kernel.fn(*args, shape)
            for a, b in zip(got if isinstance(got, tuple) else (got,), want, strict=True):
                assert a.dtype == g.dtype and np.array_equal(a, b), (op, kernel.algorithm)
            assert kernel.algorithm == "reference" or not kernel.refuse(shape, np.dtype(dtype))


def test_sums_do_not_depend_on_the_number_of_threads():
    import numba

    rng = np.random.default_rng(5)
    g, y = rng.standard_normal((2, 33, 7, 30, 31)).astype(np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in range(1, threads + 1):
            numba.set_num_threads(n)
            results.append([on_cpu("channel_sum")[-1].fn(g, g.shape), *on_cpu("bias_relu_grad")[-1].fn(g, y, g.shape)])
    finally:
        numba.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            assert np.array_equal(a, b)
