"""Optimisers: against the formulas written out in NumPy, and against PyTorch over 20 steps."""

import json

import numpy as np
import pytest

import tinyconv as tc
from tinyconv import optim

STEPS = 20
# 20 steps of a few float64 operations on numbers of size 1; Adam divides by sqrt(v) + 1e-8, which can magnify early ones
BOUND = 1e-12


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch (extra `bench`) is not installed")


def params(*shapes, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [tc.nn.Parameter(rng.standard_normal(s).astype(dtype)) for s in shapes]


def set_grads(ps, rng):
    for p in ps:
        p.grad = tc.Tensor(rng.standard_normal(p.shape).astype(p.dtype))


CASES = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "weight_decay": 0.2}), ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1}), ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("RMSprop", {"lr": 0.1}), ("RMSprop", {"lr": 0.1, "momentum": 0.9, "centered": True, "weight_decay": 0.1, "alpha": 0.8}),
    ("Adam", {"lr": 0.1}), ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.1, "amsgrad": True, "eps": 1e-3}),
    ("AdamW", {"lr": 0.1}), ("AdamW", {"lr": 0.1, "weight_decay": 0.5, "amsgrad": True}),
]


@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_trajectories_are_pytorchs(torch, name, options):
    ours = params((3, 4), (5,))
    theirs = [torch.nn.Parameter(torch.tensor(p.numpy())) for p in ours]
    a, b = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        set_grads(ours, rng)
        for p, t in zip(ours, theirs):
            t.grad = torch.tensor(p.grad.numpy())
        a.step()
        b.step()
        for p, t in zip(ours, theirs):
            assert np.allclose(p.numpy(), t.detach().numpy(), rtol=0, atol=BOUND)


# -- the formulas, written out -----------------------------------------------------------------------------------------------


def sgd(p, grads, lr, mu, damp, wd, nesterov):
    buf = None
    for g in grads:
        d = g + wd * p
        buf = d if buf is None else mu * buf + (1 - damp) * d
        p = p - lr * (d + mu * buf if nesterov else buf)
    return p


def adagrad(p, grads, lr, lr_decay, wd, start, eps):
    total = start
    for t, g in enumerate(grads):
        d = g + wd * p
        total = total + d**2
        p = p - lr / (1 + t * lr_decay) * d / (np.sqrt(total) + eps)
    return p


def rmsprop(p, grads, lr, alpha, eps, wd, mu, centered):
    square = mean = buf = 0.0
    for g in grads:
        d = g + wd * p
        square, mean = alpha * square + (1 - alpha) * d**2, alpha * mean + (1 - alpha) * d
        buf = mu * buf + d / (np.sqrt(square - mean**2 if centered else square) + eps)
        p = p - lr * buf
    return p


def adam(p, grads, lr, b1, b2, eps, wd, decoupled, amsgrad):
    m = v = top = 0.0
    for t, g in enumerate(grads, 1):
        if decoupled:
            p, d = p - lr * wd * p, g
        else:
            d = g + wd * p
        m, v = b1 * m + (1 - b1) * d, b2 * v + (1 - b2) * d**2
        top = np.maximum(top, v)
        p = p - lr * (m / (1 - b1**t)) / (np.sqrt((top if amsgrad else v) / (1 - b2**t)) + eps)
    return p


@pytest.mark.parametrize("opt, formula", [
    (lambda ps: optim.SGD(ps, 0.1, 0.9, 0.3, 0.2), lambda p, g: sgd(p, g, 0.1, 0.9, 0.3, 0.2, False)),
    (lambda ps: optim.SGD(ps, 0.1, 0.9, weight_decay=0.2, nesterov=True), lambda p, g: sgd(p, g, 0.1, 0.9, 0, 0.2, True)),
    (lambda ps: optim.SGD(ps, 0.1, weight_decay=0.2), lambda p, g: sgd(p, g, 0.1, 0, 0, 0.2, False)),
    (lambda ps: optim.Adagrad(ps, 0.1, 0.2, 0.3, 0.4, 0.5), lambda p, g: adagrad(p, g, 0.1, 0.2, 0.3, 0.4, 0.5)),
    (lambda ps: optim.RMSprop(ps, 0.1, 0.8, 0.01, 0.2, 0.9), lambda p, g: rmsprop(p, g, 0.1, 0.8, 0.01, 0.2, 0.9, False)),
    (lambda ps: optim.RMSprop(ps, 0.1, 0.8, 0.01, 0.2, 0, True), lambda p, g: rmsprop(p, g, 0.1, 0.8, 0.01, 0.2, 0, True)),
    (lambda ps: optim.Adam(ps, 0.1, (0.8, 0.9), 0.01, 0.2), lambda p, g: adam(p, g, 0.1, 0.8, 0.9, 0.01, 0.2, False, False)),
    (lambda ps: optim.Adam(ps, 0.1, (0.8, 0.9), 0.01, 0.2, True),
     lambda p, g: adam(p, g, 0.1, 0.8, 0.9, 0.01, 0.2, False, True)),
    (lambda ps: optim.AdamW(ps, 0.1, (0.8, 0.9), 0.01, 0.2), lambda p, g: adam(p, g, 0.1, 0.8, 0.9, 0.01, 0.2, True, False)),
])
@pytest.mark.parametrize("dtype, bound", [("float64", BOUND), ("float32", 2e-5)])  # 20 steps of 16 roundings by 6e-8
def test_trajectories_follow_the_formulas(opt, formula, dtype, bound):
    (p,) = params((3, 5), dtype=dtype)
    start = p.numpy().astype("f8")
    rng, grads = np.random.default_rng(2), []
    o = opt([p])
    for _ in range(STEPS):
        set_grads([p], rng)
        grads.append(p.grad.numpy().astype("f8"))
        o.step()
    assert p.dtype == dtype
    assert np.allclose(p.numpy(), formula(start, grads), rtol=0, atol=bound)


# -- what a step touches -----------------------------------------------------------------------------------------------------


def test_a_step_leaves_gradients_alone_and_skips_what_has_none():
    a, b = params((2,), (3,))
    a.grad = tc.Tensor(np.array([1.0, 2.0]))
    before = b.numpy().copy()
    o = optim.SGD([a, b], lr=0.1, weight_decay=0.5)
    o.step()
    assert a.grad.tolist() == [1, 2] and (b.numpy() == before).all() and b not in o.state


def test_a_step_writes_through_views_and_replaced_data():
    (p,) = params((3, 4))
    held = p.detach()
    o = optim.SGD([p], lr=1.0)
    p.grad = tc.Tensor(np.ones((3, 4)))
    before = held.numpy().copy()
    o.step()
    assert np.allclose(held.numpy(), before - 1)
    p.data = np.asfortranarray(np.zeros((3, 4)))  # its flat view is a copy
    o.step()
    assert (p.numpy() == -1).all()
    p.grad = tc.Tensor.wrap(np.broadcast_to(np.ones(4), (3, 4)))
    o.step()
    assert (p.numpy() == -2).all()
    o = optim.SGD([p], momentum=0.9)
    o.step()
    p.data = np.zeros(5)
    for words in (r"a gradient of shape \(3, 4\) for .* of shape \(5,\)", r"buffer of .* \(3, 4\), the parameter \(5,\)"):
        with pytest.raises(ValueError, match=words):
            o.step()
        p.grad = tc.Tensor(np.ones(5))


def test_a_backward_pass_across_a_step_is_refused():
    (p,) = params((3,))
    y = (p * p).sum()
    o = optim.SGD([p], lr=0.1)
    p.grad = tc.Tensor(np.ones(3))
    o.step()
    with pytest.raises(RuntimeError, match="written"):
        y.backward()


def test_groups_have_options_of_their_own():
    a, b = params((1,), (1,))
    o = optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.1)
    start = a.item(), b.item()
    for p in (a, b):
        p.grad = tc.Tensor(np.ones(1))
    o.step()
    assert (start[0] - a.item(), start[1] - b.item()) == pytest.approx((0.1, 1.0))
    o.add_param_group({"params": params((2,), seed=5), "momentum": 0.5})
    assert [g["momentum"] for g in o.param_groups] == [0, 0, 0.5]


def test_zero_grad_and_closure():
    (p,) = params((2,))
    o = optim.SGD([p], lr=0.5)

    def closure():
        o.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    before = (p.numpy() ** 2).sum()
    with tc.no_grad():
        assert o.step(closure).item() == pytest.approx(before)
    assert (p.numpy() == 0).all()
    o.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    o.zero_grad()
    assert p.grad is None


# -- saving ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_a_saved_optimiser_goes_on_as_if_never_stopped(name, options):
    whole, parts = params((3, 4), (5,)), params((3, 4), (5,))
    a, b = getattr(optim, name)(whole, **options), getattr(optim, name)(parts, **options)
    rng_a, rng_b = np.random.default_rng(1), np.random.default_rng(1)
    for _ in range(3):
        set_grads(whole, rng_a)
        set_grads(parts, rng_b)
        a.step()
        b.step()
    saved = b.state_dict()
    arrays = {(n, k): v for n, s in saved["state"].items() for k, v in s.items() if isinstance(v, np.ndarray)}
    plain = json.loads(json.dumps(saved, default=lambda array: None))  # numbers, strings and lists only, but for the arrays
    for (n, k), v in arrays.items():
        plain["state"][str(n)][k] = v.copy()
    c = getattr(optim, name)(parts, lr=123.0)
    c.load_state_dict(plain)
    assert all(c.state_dict()["state"][n][k] is not v for (n, k), v in arrays.items())
    for _ in range(3):
        set_grads(whole, rng_a)
        set_grads(parts, rng_b)
        a.step()
        c.step()
    assert all((p.numpy() == q.numpy()).all() for p, q in zip(whole, parts))
    assert c.param_groups[0]["lr"] == 0.1


def test_loading_refuses_what_does_not_fit():
    a, b = params((3,), (4,))
    o = optim.SGD([a], lr=0.1, momentum=0.9)
    a.grad = tc.Tensor(np.ones(3))
    o.step()
    with pytest.raises(ValueError, match=r"momentum_buffer of parameter 0 has shape \(3,\), the parameter \(4,\)"):
        optim.SGD([b], lr=0.1).load_state_dict(o.state_dict())
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, the optimiser of \[2\]"):
        optim.SGD([a, b], lr=0.1).load_state_dict(o.state_dict())


@pytest.mark.parametrize("spoil, words", [
    (lambda s: s["param_groups"][1].update(lr=-1.0), "lr must be at least 0, got -1.0"),
    (lambda s: s["state"][1].update(exp_avg=np.zeros(7)), "exp_avg of parameter 1 has shape (7,), the parameter (3,)"),
    (lambda s: s["state"].update({5: {"step": 1}}), "the state is of parameter 5"),
])
def test_loading_is_all_or_nothing(spoil, words):
    ps = params((3,), (3,))
    o = optim.Adam([{"params": ps[:1]}, {"params": ps[1:]}])
    set_grads(ps, np.random.default_rng(0))
    o.step()
    other = optim.Adam([{"params": p} for p in params((3,), (3,))], lr=0.5)
    state = json.loads(json.dumps(o.state_dict(), default=lambda a: a.tolist()))
    state["state"] = {int(n): {k: np.array(v) if isinstance(v, list) else v for k, v in s.items()}
                      for n, s in state["state"].items()}
    spoil(state)
    with pytest.raises(ValueError) as caught:
        other.load_state_dict(state)
    assert words in str(caught.value) and not other.state and [g["lr"] for g in other.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize("call, error, words", [
    (lambda p: optim.SGD([], lr=0.1), ValueError, "SGD got no parameters"),
    (lambda p: optim.SGD([p], lr=-1), ValueError, "lr must be at least 0, got -1"),
    (lambda p: optim.SGD([p], lr=float("nan")), ValueError, "lr must be at least 0, got nan"),
    (lambda p: optim.SGD([p], nesterov=True), ValueError, "momentum=0.0 and dampening=0.0"),
    (lambda p: optim.SGD([p, p]), ValueError, "given to the optimiser twice"),
    (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError, "given to the optimiser twice"),
    (lambda p: optim.SGD([{"params": [p], "beta": 1}]), ValueError, "SGD has no option beta; there are: lr, momentum"),
    (lambda p: optim.SGD([p * 2]), TypeError, "an optimiser takes leaf tensors"),
    (lambda p: optim.SGD([np.zeros(3)]), TypeError, "got ndarray"),
    (lambda p: optim.Adam(tc.nn.Linear(2, 2)), TypeError, "Adam wants parameters, such as model.parameters(), got Linear"),
    (lambda p: optim.Adam(tc.nn.Sequential(tc.nn.Linear(2, 2))), TypeError, "got Linear: a module's are its .parameters()"),
    (lambda p: optim.SGD([tc.tensor([1, 2])]), TypeError, "of dtype int64"),
    (lambda p: optim.Adam([p], betas=(0.9, 1.0)), ValueError, "below 1, got (0.9, 1.0)"),
    (lambda p: optim.Adam([p], eps=-1), ValueError, "eps must be at least 0, got -1"),
    (lambda p: optim.RMSprop([p], alpha=float("nan")), ValueError, "alpha must be at least 0, got nan"),
    (lambda p: optim.Adagrad([p], lr_decay=-1), ValueError, "lr_decay must be at least 0, got -1"),
    (lambda p: optim.Adagrad([p], initial_accumulator_value=-1), ValueError, "initial_accumulator_value must be at least 0"),
])
def test_refusals(call, error, words):
    with pytest.raises(error) as caught:
        call(params((3,))[0])
    assert words in str(caught.value)


def test_repr_lists_the_options():
    assert repr(optim.SGD(params((2,)), lr=0.5)).splitlines()[:3] == ["SGD (", "Parameter Group 0", "    lr: 0.5"]
