"""Operations against PyTorch: special points, dtypes, padding, and random programs."""

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.autograd import grad


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


POINTS = np.array([-np.inf, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 30.0])
SAME_IN_TORCH = {
    "abs": lambda x, lib: x.abs(),
    "relu": lambda x, lib: lib.relu(x),
    "clip": lambda x, lib: x.clip(-0.5, 1.0),
    "clip float to one side": lambda x, lib: x.clamp(max=0.0),
    "sqrt": lambda x, lib: x.abs().sqrt(),
    "x**0": lambda x, lib: x**0,
    "x**1": lambda x, lib: x**1,
    "x**2": lambda x, lib: x**2,
    "x**-1": lambda x, lib: x**-1,
    "x**0.5": lambda x, lib: x.abs() ** 0.5,
    "0**x": lambda x, lib: lib.zeros(9, dtype=getattr(lib, "float64", "float64")) ** x[1:].abs(),
    "maximum": lambda x, lib: lib.maximum(x, lib.tensor(np.zeros(10))),
    "minimum": lambda x, lib: lib.minimum(x, x),
    "where": lambda x, lib: lib.where(x > 0, x, x * x),
    "softmax": lambda x, lib: lib.softmax(x[1:], 0) * x[1:],
    "log_softmax": lambda x, lib: lib.log_softmax(x[1:], 0) * x[1:],
    "logsumexp": lambda x, lib: lib.logsumexp(x, 0),
    "amax of ties": lambda x, lib: lib.amax(x[4:6], 0),
    "max of ties": lambda x, lib: x[4:6].max(),
    "max(dim) of ties": lambda x, lib: x[4:6].max(0)[0],
    "min(dim) of ties": lambda x, lib: x[4:6].min(0)[0],
    "var": lambda x, lib: x[1:].var(),
    "var correction": lambda x, lib: lib.var(x[1:], 0, correction=0, keepdim=True),
    "std": lambda x, lib: x[1:].std(),
    "std of equals": lambda x, lib: x[4:6].std(),
    "tanh": lambda x, lib: x.tanh(),
    "sigmoid": lambda x, lib: x.sigmoid(),
    "log1p": lambda x, lib: lib.log1p(x[3:]),
    "rsqrt": lambda x, lib: lib.rsqrt(x[6:]),
    "pow": lambda x, lib: x[4:] ** x[4:],
    "gather": lambda x, lib: lib.gather(x[1:], 0, lib.tensor([0, 3, 3])),
    "unused": lambda x, lib: x[:0].sum() + x[2],
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of divisions by 0
@pytest.mark.parametrize("name", SAME_IN_TORCH)
def test_torch_agrees_at_special_points(torch, name):
    """Value, gradient and gradient of the gradient, at zeros, ties, bounds and infinities: 4 eps of the largest term."""
    fn = SAME_IN_TORCH[name]
    ours, theirs = tc.tensor(POINTS, requires_grad=True), torch.tensor(POINTS, requires_grad=True)
    y, want = fn(ours, tc), fn(theirs, torch)
    np.testing.assert_allclose(y.data, want.detach().numpy(), rtol=1e-14, atol=1e-15)
    (g,) = grad(y, ours, np.ones(y.shape), create_graph=True)
    (g_want,) = torch.autograd.grad(want, theirs, torch.ones_like(want), create_graph=True)
    np.testing.assert_allclose(g.data, g_want.detach().numpy(), rtol=1e-13, atol=1e-14)
    if g.requires_grad and g_want.requires_grad:
        (h,) = grad(g, ours, np.ones(g.shape), allow_unused=True)
        (h_want,) = torch.autograd.grad(g_want, theirs, torch.ones_like(g_want), allow_unused=True)
        h, h_want = (np.zeros(10) if t is None else np.asarray(t) for t in (h, h_want))
        # at infinities and 0 the two differ in what 0 * infinity is; for 0**x PyTorch has no second derivative but NaN
        finite = np.isfinite(POINTS) & (POINTS != 0) & np.isfinite(h_want)
        np.testing.assert_allclose(h[finite], h_want[finite], rtol=1e-12, atol=1e-13)


def test_torch_agrees_on_pad(torch):
    draw = np.random.default_rng(3)
    for _ in range(60):
        x = draw.standard_normal((2, 3, *draw.integers(3, 6, 2)))
        mode = str(draw.choice(["constant", "reflect", "replicate", "circular"]))
        low = -1 if mode == "constant" else 0
        widths = tuple(int(n) for n in draw.integers(low, 3, 4))
        ours, theirs = tc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, want = tc.pad(ours, widths, mode), torch.nn.functional.pad(theirs, widths, mode)
        np.testing.assert_array_equal(y.data, want.detach().numpy())
        seed = draw.standard_normal(y.shape)
        y.backward(seed)
        want.backward(torch.tensor(seed))
        np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=1e-13, atol=1e-14)


def test_torch_agrees_on_dtypes(torch):
    """Of two operands of every pair of dtypes, tensors with and without dimensions and bare numbers."""
    kinds = ["bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64"]
    fns = {"+": lambda a, b: a + b, "*": lambda a, b: a * b, "/": lambda a, b: a / b, "r/": lambda a, b: b / a,
           "-": lambda a, b: a - b, "r-": lambda a, b: b - a, "**": lambda a, b: a**b, "<": lambda a, b: a < b}
    for symbol, fn in fns.items():
        for a in kinds:
            for b in [(k, n) for k in kinds for n in ((2,), ())] + [(True, None), (2, None), (2.5, None)]:
                bools = "bool" in (a, b[0]) or b[0] is True
                if bools and symbol in ("-", "r-", "**"):
                    continue  # PyTorch refuses these
                ours, theirs = (lib.ones(2, dtype=dtype) for lib, dtype in ((tc, a), (torch, getattr(torch, a))))
                if b[1] is None:
                    other = other_theirs = b[0]
                else:
                    other, other_theirs = tc.ones(b[1], dtype=b[0]), torch.ones(b[1], dtype=getattr(torch, b[0]))
                assert f"torch.{fn(ours, other).dtype}" == str(fn(theirs, other_theirs).dtype), (symbol, a, b)


# -- random programs -----------------------------------------------------------------------------------------------

ONE = {  # functions of one tensor and the library
    "exp": lambda x, lib: (x * 0.3).exp(), "tanh": lambda x, lib: x.tanh(), "square": lambda x, lib: x**2,
    "cube": lambda x, lib: x**3, "abs": lambda x, lib: x.abs(), "relu": lambda x, lib: lib.relu(x), "neg": lambda x, lib: -x,
    "clip": lambda x, lib: x.clip(-0.5, 0.7), "sigmoid": lambda x, lib: x.sigmoid(), "affine": lambda x, lib: x / 3.0 - 1.5,
    "rsub": lambda x, lib: 1.0 - 2.0 * x, "half detached": lambda x, lib: x.detach() * x, "flatten": lambda x, lib: x.flatten(),
    "unsqueeze": lambda x, lib: x.unsqueeze(0), "turn": lambda x, lib: x.transpose(0, -1),
    "sum": lambda x, lib: x.sum(0), "mean": lambda x, lib: x.mean(-1, keepdim=True), "var": lambda x, lib: x.var(-1),
    "softmax": lambda x, lib: x.softmax(-1), "max": lambda x, lib: x.max(-1)[0], "amax": lambda x, lib: lib.amax(x, 0),
    "logsumexp": lambda x, lib: lib.logsumexp(x, -1), "flip": lambda x, lib: x.flip(0), "rows": lambda x, lib: x[[0, -1, 0]],
    "slice": lambda x, lib: x[..., :2],
}
TWO = {
    "add": lambda a, b, lib: a + b, "mul": lambda a, b, lib: a * b, "sub": lambda a, b, lib: a - b,
    "div": lambda a, b, lib: a / (b * b + 1.0), "matmul": lambda a, b, lib: a @ b,
    "maximum": lambda a, b, lib: lib.maximum(a, b), "minimum": lambda a, b, lib: lib.minimum(a, b),
    "where": lambda a, b, lib: lib.where(a > 0, a, b),
    "stack": lambda a, b, lib: lib.stack([a, b], -1), "cat": lambda a, b, lib: lib.cat([a, b], -1),
}


def random_program(torch, seed):
    """Some operations on three tensors and their results, chosen by lot; what PyTorch refuses is left out."""
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(rng.integers(1, 4, rng.integers(0, 4))) for _ in range(3)]
    needs = [True, *(rng.random(2) < 0.7)]
    ours = [tc.tensor(a, requires_grad=bool(n)) for a, n in zip(arrays, needs)]
    theirs = [torch.tensor(a, requires_grad=bool(n)) for a, n in zip(arrays, needs)]
    steps = []
    for _ in range(rng.integers(3, 13)):
        i, j = rng.integers(0, len(ours), 2)
        table, at = (ONE, (i,)) if rng.random() < 0.5 else (TWO, (i, j))
        name = str(rng.choice(list(table)))
        if table is ONE and theirs[i].ndim == 0:
            continue  # PyTorch lets pass dim 0 of a tensor that has none
        try:
            b = table[name](*[theirs[k] for k in at], torch)
        except (RuntimeError, IndexError):
            continue
        if b.numel() > 500 or b.ndim > 5 or not torch.isfinite(b).all():
            continue
        steps.append((name, *map(int, at)))
        ours.append(table[name](*[ours[k] for k in at], tc))
        theirs.append(b)
        close(ours[-1], b, steps)
    y, want = ours[-1], theirs[-1]
    assert y.requires_grad == want.requires_grad, steps
    if not steps or not want.requires_grad:
        return False
    leaves, their_leaves = ([t for t in ts[:3] if t.requires_grad] for ts in (ours, theirs))
    weight = rng.standard_normal(y.shape)
    first = grad(y, leaves, weight, create_graph=True, allow_unused=True)
    first_want = torch.autograd.grad(want, their_leaves, torch.tensor(weight), create_graph=True, allow_unused=True)
    pairs = [(a, b) for a, b in zip(first, first_want) if a is not None and b is not None]
    for a, b in zip(first, first_want):
        close(a, b, steps)
    curved = [(a, b) for a, b in pairs if a.requires_grad and b.requires_grad]
    if curved:
        weights = [rng.standard_normal(a.shape) for a, _ in curved]
        second = grad([a for a, _ in curved], leaves, weights, allow_unused=True)
        second_want = torch.autograd.grad([b for _, b in curved], their_leaves, [torch.tensor(w) for w in weights],
                                          allow_unused=True)
        for a, b in zip(second, second_want):
            close(a, b, steps)
    return True


def close(ours, theirs, steps):
    """To 1e-9 of the largest entry: at most a dozen operations, each with a condition number below 1e4 on such numbers.

    Where one side has no gradient (a constant) the other may hold zeros.
    """
    if ours is None and theirs is None:
        return
    b = np.zeros(ours.shape) if theirs is None else theirs.detach().numpy(force=True)
    a = np.zeros(b.shape) if ours is None else ours.data
    assert a.shape == b.shape, steps
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * max(1.0, np.abs(b).max(initial=0.0)), err_msg=str(steps))


@pytest.mark.filterwarnings("ignore")  # of both libraries, for variances of one number
def test_random_programs(torch):
    assert sum(random_program(torch, seed) for seed in range(150)) > 100


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore")
def test_thousands_of_random_programs(torch):
    for seed in range(1000, 6000):
        random_program(torch, seed)
