"""Every operation: its value against NumPy, its first and second derivatives against differences, its dtype.

Values are compared in float64 to 1e-12 (a few roundings of sums of at most 60 terms). Derivatives: `gradcheck` and
`gradgradcheck` in random directions, at points away from kinks, which are in test_ops_edges.py. test_ops_torch.py holds
them against PyTorch.
"""

import numpy as np
import pytest
import scipy.special

import tinyconv as tc
from tinyconv.autograd import grad, gradcheck, gradgradcheck
from tinyconv.ops import pointwise

rng = np.random.default_rng(0)


def normal(*size):
    return rng.standard_normal(size)


def positive(*size):
    return rng.uniform(0.3, 2.0, size)


def apart(*size):
    """Numbers at least 0.1 apart from each other and from 0: no ties, no kinks."""
    n = int(np.prod(size))
    return ((rng.permutation(n) - n / 2 + 0.25) * 0.2).reshape(size)


CONDITION = np.array([[True, False, True], [False, False, True]])
KEY = np.array([2, 0, 2, 1])
X5 = normal(5)
X34 = normal(3, 4)
X234 = normal(2, 3, 4)

# name: (function of tensors, the same of arrays, operands)
CASES = {
    # arithmetic, and every way to broadcast
    "add": (lambda a, b: a + b, np.add, (normal(2, 3), normal(2, 3))),
    "add row": (lambda a, b: a + b, np.add, (normal(2, 3), normal(3))),
    "add column": (lambda a, b: a + b, np.add, (normal(2, 1), normal(2, 3))),
    "add outer": (lambda a, b: a + b, np.add, (normal(2, 1, 1), normal(3, 1))),
    "add 0-d": (lambda a, b: a + b, np.add, (normal(), normal(2, 2))),
    "add number": (lambda a: a + 2.5, lambda a: a + 2.5, (normal(3),)),
    "add itself": (lambda a: a + a, lambda a: a + a, (normal(3),)),
    "radd": (lambda a: 2.5 + a, lambda a: a + 2.5, (normal(3),)),
    "sub": (lambda a, b: a - b, np.subtract, (normal(2, 3), normal(2, 3))),
    "sub broadcast": (lambda a, b: a - b, np.subtract, (normal(3), normal(2, 1))),
    "sub number": (lambda a: a - 2.5, lambda a: a - 2.5, (normal(3),)),
    "rsub": (lambda a: 2.5 - a, lambda a: 2.5 - a, (normal(3),)),
    "mul": (lambda a, b: a * b, np.multiply, (normal(2, 3), normal(2, 3))),
    "mul broadcast": (lambda a, b: a * b, np.multiply, (normal(2, 1, 3), normal(4, 1))),
    "mul number": (lambda a: a * 2.5, lambda a: a * 2.5, (normal(3),)),
    "mul itself": (lambda a: a * a, lambda a: a * a, (normal(3),)),
    "rmul array": (lambda a: X5 * a, lambda a: X5 * a, (normal(5),)),
    "div": (lambda a, b: a / b, np.divide, (normal(2, 3), positive(2, 3))),
    "div broadcast": (lambda a, b: a / b, np.divide, (normal(3), positive(2, 1))),
    "div number": (lambda a: a / 3.0, lambda a: a / 3.0, (normal(3),)),
    "rdiv": (lambda a: 3.0 / a, lambda a: 3.0 / a, (positive(3),)),
    "neg": (lambda a: -a, np.negative, (normal(3),)),
    "pow 2": (lambda a: a**2, lambda a: a**2, (normal(4),)),
    "pow 3": (lambda a: a**3, lambda a: a**3, (normal(4),)),
    "pow 1": (lambda a: a**1, lambda a: a, (normal(4),)),
    "pow 0": (lambda a: a**0 * a, lambda a: a, (normal(4),)),
    "pow -1.5": (lambda a: a**-1.5, lambda a: a**-1.5, (positive(4),)),
    "pow tensor": (lambda a, b: a**b, np.power, (positive(2, 3), normal(2, 3))),
    "pow broadcast": (lambda a, b: a**b, np.power, (positive(3), normal(2, 1))),
    "rpow": (lambda a: 2.5**a, lambda a: 2.5**a, (normal(3),)),
    # functions of one variable
    "exp": (tc.exp, np.exp, (normal(3, 2),)),
    "log": (tc.log, np.log, (positive(3, 2),)),
    "log1p": (tc.log1p, np.log1p, (positive(3),)),
    "sqrt": (tc.sqrt, np.sqrt, (positive(3),)),
    "rsqrt": (tc.rsqrt, lambda a: a**-0.5, (positive(3),)),
    "sin": (tc.sin, np.sin, (normal(3),)),
    "cos": (tc.cos, np.cos, (normal(3),)),
    "tanh": (tc.tanh, np.tanh, (normal(3),)),
    "sigmoid": (tc.sigmoid, scipy.special.expit, (normal(5) * 4,)),
    "softplus": (tc.softplus, lambda a: np.logaddexp(a, 0), (normal(5) * 4,)),
    "abs": (tc.abs, np.abs, (apart(6),)),
    "relu": (tc.relu, lambda a: np.maximum(a, 0), (apart(6),)),
    "leaky_relu": (pointwise.leaky_relu, lambda a: np.where(a > 0, a, 0.01 * a), (apart(6),)),
    "silu": (pointwise.silu, lambda a: a * scipy.special.expit(a), (normal(5),)),
    "clip": (lambda a: a.clip(-0.3, 0.3), lambda a: np.clip(a, -0.3, 0.3), (apart(6),)),
    "clip below": (lambda a: a.clamp(min=0.0), lambda a: np.clip(a, 0.0, None), (apart(6),)),
    "clip above": (lambda a: a.clip(max=0.1), lambda a: np.clip(a, None, 0.1), (apart(6),)),
    "clone": (lambda a: a.clone(), np.copy, (normal(3),)),
    "cast": (lambda a: a.to("float64"), np.copy, (normal(3),)),
    # choosing
    "maximum": (tc.maximum, np.maximum, (apart(2, 3), apart(2, 3) + 0.05)),
    "maximum broadcast": (tc.maximum, np.maximum, (apart(3), apart(2, 1) + 0.05)),
    "minimum": (tc.minimum, np.minimum, (apart(2, 3), apart(2, 3) + 0.05)),
    "maximum number": (lambda a: tc.maximum(a, 0.0), lambda a: np.maximum(a, 0), (apart(5),)),
    "where": (lambda a, b: tc.where(CONDITION, a, b), lambda a, b: np.where(CONDITION, a, b), (normal(2, 3), normal(2, 3))),
    "where broadcast": (lambda a, b: tc.where(tc.tensor(CONDITION), a, b), lambda a, b: np.where(CONDITION, a, b),
                        (normal(3), normal())),
    "where wider": (lambda a: tc.where(CONDITION, a, 1.0), lambda a: np.where(CONDITION, a, 1.0), (normal(2, 1),)),
    # reductions
    "sum": (lambda a: a.sum(), np.sum, (X234,)),
    "sum 1": (lambda a: a.sum(1), lambda a: a.sum(1), (X234,)),
    "sum -1 keepdim": (lambda a: a.sum(-1, keepdim=True), lambda a: a.sum(-1, keepdims=True), (X234,)),
    "sum 0, 2": (lambda a: a.sum((0, -1)), lambda a: a.sum((0, 2)), (X234,)),
    "sum of nothing": (lambda a: a.sum(()), np.copy, (X34,)),
    "sum 0-d": (lambda a: a.sum() * a, lambda a: a * a, (normal(),)),
    "mean": (lambda a: a.mean(), np.mean, (X234,)),
    "mean 0, 1": (lambda a: a.mean([0, 1], keepdim=True), lambda a: a.mean((0, 1), keepdims=True), (X234,)),
    "var": (lambda a: a.var(), lambda a: a.var(ddof=1), (X34,)),
    "var 0 population": (lambda a: a.var(0, correction=0), lambda a: a.var(0), (X34,)),
    "std": (lambda a: a.std(1, keepdim=True), lambda a: a.std(1, ddof=1, keepdims=True), (X34,)),
    "max": (lambda a: a.max(), np.max, (apart(3, 4),)),
    "max 1": (lambda a: a.max(1).values, lambda a: a.max(1), (apart(3, 4),)),
    "max 0 keepdim": (lambda a: a.max(0, keepdim=True)[0], lambda a: a.max(0, keepdims=True), (apart(3, 4),)),
    "min": (lambda a: tc.min(a), np.min, (apart(3, 4),)),
    "min -1": (lambda a: a.min(-1).values, lambda a: a.min(-1), (apart(3, 4),)),
    "amax 0, 2": (lambda a: a.amax((0, 2)), lambda a: a.max((0, 2)), (apart(2, 3, 4),)),
    "amin keepdim": (lambda a: a.amin(1, keepdim=True), lambda a: a.min(1, keepdims=True), (apart(3, 4),)),
    "softmax": (lambda a: a.softmax(1), lambda a: scipy.special.softmax(a, 1), (X34,)),
    "softmax temperature": (lambda a: tc.softmax(a, 0, 2.5), lambda a: scipy.special.softmax(a / 2.5, 0), (X34,)),
    "log_softmax": (lambda a: a.log_softmax(-1), lambda a: scipy.special.log_softmax(a, -1), (X34,)),
    "logsumexp": (lambda a: a.logsumexp(), scipy.special.logsumexp, (X34,)),
    "logsumexp 0": (lambda a: a.logsumexp(0, True), lambda a: scipy.special.logsumexp(a, 0, keepdims=True), (X34,)),
    # shape
    "reshape": (lambda a: a.reshape(4, -1), lambda a: a.reshape(4, -1), (X34,)),
    "reshape of a transposed": (lambda a: a.T.reshape((2, 6)), lambda a: a.T.reshape(2, 6), (X34,)),
    "view": (lambda a: a.view(12), np.ravel, (X34,)),
    "flatten": (lambda a: a.flatten(1), lambda a: a.reshape(2, 12), (X234,)),
    "flatten inner": (lambda a: tc.flatten(a, 0, 1), lambda a: a.reshape(6, 4), (X234,)),
    "permute": (lambda a: a.permute(2, 0, -2), lambda a: a.transpose(2, 0, 1), (X234,)),
    "transpose": (lambda a: a.transpose(0, -1), lambda a: a.transpose(2, 1, 0), (X234,)),
    "T": (lambda a: a.T, np.transpose, (X234,)),
    "squeeze": (lambda a: a.squeeze(), np.squeeze, (normal(1, 3, 1),)),
    "squeeze one": (lambda a: a.squeeze(-1), lambda a: a.squeeze(-1), (normal(1, 3, 1),)),
    "squeeze none": (lambda a: a.squeeze(1), np.copy, (normal(1, 3, 1),)),
    "unsqueeze": (lambda a: a.unsqueeze(-1).unsqueeze(0), lambda a: a[None, ..., None], (normal(3),)),
    "expand": (lambda a: a.expand(2, -1, 4), lambda a: np.broadcast_to(a, (2, 3, 4)), (normal(3, 1),)),
    "flip": (lambda a: a.flip(0, -1), lambda a: np.flip(a, (0, 1)), (X34,)),
    "cat": (lambda a, b: tc.cat([a, b, a], 1), lambda a, b: np.concatenate([a, b, a], 1), (normal(2, 3), normal(2, 1))),
    "cat -2": (lambda a, b: tc.cat((a, b), -2), lambda a, b: np.concatenate([a, b], 0), (normal(2, 3), normal(0, 3))),
    "stack": (lambda a, b: tc.stack([a, b], 1), lambda a, b: np.stack([a, b], 1), (normal(2, 3), normal(2, 3))),
    "stack -1": (lambda a, b: tc.stack([a, b], -1), lambda a, b: np.stack([a, b], -1), (normal(2), normal(2))),
    "split": (lambda a: a.split(3)[1] * a.split([1, 4])[0], lambda a: a[3:] * a[:1], (normal(5),)),
    "split -1": (lambda a: tc.split(a, [1, 0, 3], -1)[2], lambda a: a[:, 1:], (X34,)),
    "chunk": (lambda a: a.chunk(2, 1)[1], lambda a: a[:, 2:], (X34,)),
    # indexing
    "index int": (lambda a: a[-1], lambda a: a[-1], (X34,)),
    "index element": (lambda a: a[1, 2], lambda a: a[1, 2], (X34,)),
    "index slices": (lambda a: a[1:, ::2], lambda a: a[1:, ::2], (X34,)),
    "index backwards": (lambda a: a[::-1, 3:0:-2], lambda a: a[::-1, 3:0:-2], (X34,)),
    "index new axes": (lambda a: a[None, ..., 0, None], lambda a: a[None, ..., 0, None], (X234,)),
    "index repeated": (lambda a: a[KEY], lambda a: a[KEY], (X34,)),
    "index list": (lambda a: a[[1, 1]], lambda a: a[[1, 1]], (X34,)),
    "index empty list": (lambda a: a[[]].sum() + a.sum(), np.sum, (X34,)),
    "index pairs": (lambda a: a[KEY, [3, 0, 3, 1]], lambda a: a[KEY, [3, 0, 3, 1]], (X34,)),
    "index mixed": (lambda a: a[:, tc.tensor(KEY), 1:3], lambda a: a[:, KEY, 1:3], (X234,)),
    "index split": (lambda a: a[[0, 1], :, [0, 0]], lambda a: a[[0, 1], :, [0, 0]], (X234,)),
    "index mask": (lambda a: a[tc.tensor(CONDITION)], lambda a: a[CONDITION], (normal(2, 3),)),
    "index mask of its own": (lambda a: a[a > 0.1], lambda a: a[a > 0.1], (apart(2, 3),)),
    "index mask of rows": (lambda a: a[np.array([True, False, True])], lambda a: a[[0, 2]], (X34,)),
    "index 0-d tensor": (lambda a: a[tc.tensor(1)], lambda a: a[1], (X34,)),
    "index nothing": (lambda a: a[()] * a[...], lambda a: a * a, (normal(),)),
    "gather": (lambda a: tc.gather(a, 1, tc.tensor([[0, 0], [3, 1], [2, 2]])),
               lambda a: np.take_along_axis(a, np.array([[0, 0], [3, 1], [2, 2]]), 1), (X34,)),
    "gather fewer rows": (lambda a: a.gather(-1, tc.tensor([[3, 3, 0]])), lambda a: a[:1, [3, 3, 0]], (X34,)),
    # padding
    "pad": (lambda a: tc.pad(a, (1, 2)), lambda a: np.pad(a, ((0, 0), (1, 2))), (X34,)),
    "pad value": (lambda a: tc.pad(a, (0, 1, 2, 0), value=1.5), lambda a: np.pad(a, ((2, 0), (0, 1)), constant_values=1.5),
                  (X34,)),
    "pad and crop": (lambda a: tc.pad(a, (-1, 2, 0, -2)), lambda a: np.pad(a[:1, 1:], ((0, 0), (0, 2))), (X34,)),
    "pad reflect": (lambda a: tc.pad(a, (3, 2, 1, 0), "reflect"), lambda a: np.pad(a, ((1, 0), (3, 2)), "reflect"), (X34,)),
    "pad replicate": (lambda a: tc.pad(a, (5, 1, 0, 2), "replicate"), lambda a: np.pad(a, ((0, 2), (5, 1)), "edge"), (X34,)),
    "pad circular": (lambda a: tc.pad(a, (4, 3, 1, 2), "circular"), lambda a: np.pad(a, ((1, 2), (4, 3)), "wrap"), (X34,)),
    "pad 3 dims": (lambda a: tc.pad(a, (1, 1, 2, 0, 0, 1), "reflect"), lambda a: np.pad(a, ((0, 1), (2, 0), (1, 1)), "reflect"),
                   (X234,)),
    # products
    "matmul": (lambda a, b: a @ b, np.matmul, (normal(2, 3), normal(3, 4))),
    "matmul vectors": (lambda a, b: a @ b, np.matmul, (normal(3), normal(3))),
    "matmul row": (lambda a, b: a @ b, np.matmul, (normal(3), normal(3, 4))),
    "matmul column": (lambda a, b: tc.matmul(a, b), np.matmul, (normal(2, 3), normal(3))),
    "matmul batches": (lambda a, b: a @ b, np.matmul, (normal(5, 2, 3), normal(5, 3, 4))),
    "matmul broadcast": (lambda a, b: a @ b, np.matmul, (normal(2, 1, 2, 3), normal(4, 3, 2))),
    "matmul one right": (lambda a, b: a @ b, np.matmul, (normal(2, 4, 2, 3), normal(3, 2))),
    "matmul one left": (lambda a, b: a @ b, np.matmul, (normal(2, 3), normal(4, 3, 2))),
    "matmul batch and row": (lambda a, b: a @ b, np.matmul, (normal(3), normal(4, 3, 2))),
    "matmul batch and column": (lambda a, b: a @ b, np.matmul, (normal(4, 2, 3), normal(3))),
    "matmul itself": (lambda a: a @ a, lambda a: a @ a, (normal(3, 3),)),
    "linear": (tc.linear, lambda x, w: x @ w.T, (normal(5, 3), normal(4, 3))),
    "linear bias": (tc.linear, lambda x, w, b: x @ w.T + b, (normal(5, 3), normal(4, 3), normal(4))),
    "linear wide": (tc.linear, lambda x, w, b: x @ w.T + b, (normal(2, 5, 3), normal(4, 3), normal(4))),
    "linear vector": (tc.linear, lambda x, w, b: x @ w.T + b, (normal(3), normal(4, 3), normal(4))),
}
EINSUMS = ["ij,jk->ik", "ij,jk", "ij->ji", "ij->", "ij->i", "ij,ij->", "i,j->ij", "bij,bjk->bik", "ij,kj,k->i", "ab,bc,cd,da->",
           "ij,k->", "ij,k->ik", "ij,jk->j", "ij,ik->kj", "i,i,i->i", "bi,bo,oi->b", " i j , j -> i "]


def of(case):
    fn, like, operands = case
    return fn, like, [tc.tensor(a, requires_grad=True) for a in map(np.asarray, operands)]


@pytest.mark.parametrize("name", CASES)
def test_value(name):
    fn, like, operands = of(CASES[name])
    got, want = fn(*operands), like(*[t.data for t in operands])
    assert got.shape == np.shape(want) and got.dtype == np.float64 and got.requires_grad
    np.testing.assert_allclose(got.data, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name):
    fn, _, operands = of(CASES[name])
    assert gradcheck(fn, operands) and gradgradcheck(fn, operands)


@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum(equation):
    draw = np.random.default_rng(1)
    size = dict(zip("abcdijko", (2, 3, 4, 2, 3, 2, 4, 3)))
    terms = equation.replace(" ", "").split("->")[0].split(",")
    operands = [tc.tensor(draw.standard_normal([size[c] for c in term]), requires_grad=True) for term in terms]
    got = tc.einsum(equation, *operands)
    want = np.einsum(equation, *[t.data for t in operands])
    assert got.shape == want.shape
    np.testing.assert_allclose(got.data, want, rtol=1e-12, atol=1e-13)
    assert gradcheck(lambda *t: tc.einsum(equation, *t), operands)
    assert gradgradcheck(lambda *t: tc.einsum(equation, *t), operands)


def test_float32_stays_float32():
    """In the value, and in every gradient, of every operation."""
    for name, (fn, _, operands) in CASES.items():
        if name in ("cast", "rmul array"):
            continue
        ts = [tc.tensor(np.asarray(a, np.float32), requires_grad=True) for a in operands]
        y = fn(*ts)
        assert y.dtype == np.float32, name
        first = grad(y, ts, np.ones(y.shape), create_graph=True)
        live = [g for g in first if g.requires_grad]
        second = grad(live, ts, [np.ones(g.shape) for g in live], allow_unused=True)
        assert all(g is None or g.dtype == np.float32 for g in first + second), name


def test_nothing_is_recorded_that_needs_no_gradient():
    for name, (fn, _, operands) in CASES.items():
        if name == "cast":  # to its own dtype: the leaf itself
            continue
        assert not fn(*[tc.tensor(a) for a in operands]).requires_grad, name
        with tc.no_grad():
            assert not fn(*[tc.tensor(a, requires_grad=True) for a in operands]).requires_grad, name


def test_one_operand_that_needs_a_gradient():
    """The gradient of each operand is the same whether or not the others need one."""
    for name, (fn, _, operands) in CASES.items():
        if len(operands) > 1:
            every = [tc.tensor(a, requires_grad=True) for a in operands]
            y = fn(*every)
            seed = np.random.default_rng(2).standard_normal(y.shape)
            want = grad(y, every, seed)
            for i in range(len(operands)):
                ts = [tc.tensor(a, requires_grad=i == j) for j, a in enumerate(operands)]
                fn(*ts).backward(seed)
                np.testing.assert_array_equal(ts[i].grad.data, want[i].data, err_msg=name)
