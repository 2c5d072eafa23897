"""Initial weights: their bounds and moments, bilinear upsampling, and where the randomness comes from."""

import json
import math

import numpy as np
import pytest

import tinyconv as tc
from tinyconv.nn import init

SHAPE = (64, 32, 5, 5)  # fan_in 800, fan_out 1600
FAN_IN, FAN_OUT = 800, 1600
# 51,200 draws: their variance is off by 1 % (uniform 0.4 %, normal 0.63 % of standard error) less than once in 1,000 seeds
MOMENT_BOUND = 0.02


def weight():
    return tc.nn.Parameter(np.empty(SHAPE, np.float32))


@pytest.mark.parametrize("fill, variance", [
    (lambda w, g: init.uniform_(w, -2.0, 2.0, generator=g), 4 / 3),
    (lambda w, g: init.normal_(w, 0.0, 0.5, generator=g), 0.25),
    (lambda w, g: init.xavier_uniform_(w, 2.0, generator=g), 4 * 2 / (FAN_IN + FAN_OUT)),
    (lambda w, g: init.xavier_normal_(w, 2.0, generator=g), 4 * 2 / (FAN_IN + FAN_OUT)),
    (lambda w, g: init.kaiming_uniform_(w, nonlinearity="relu", generator=g), 2 / FAN_IN),
    (lambda w, g: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu", generator=g), 2 / FAN_OUT),
    (lambda w, g: init.kaiming_uniform_(w, a=math.sqrt(5), generator=g), 1 / (3 * FAN_IN)),
    (lambda w, g: init.lecun_uniform_(w, generator=g), 1 / FAN_IN),
    (lambda w, g: init.lecun_normal_(w, generator=g), 1 / FAN_IN),
])
def test_moments_and_the_generator(fill, variance):
    w = fill(weight(), np.random.default_rng(3))
    assert w.requires_grad and w.dtype == np.float32
    assert w.numpy().var() == pytest.approx(variance, rel=MOMENT_BOUND)
    assert abs(w.numpy().mean()) < 5 * math.sqrt(variance / w.numel())
    assert (fill(weight(), np.random.default_rng(3)).numpy() == w.numpy()).all()
    tc.manual_seed(3)
    drawn = fill(weight(), None).numpy()
    tc.manual_seed(3)
    assert (fill(weight(), None).numpy() == drawn).all() and (drawn == w.numpy()).all()


def test_uniform_bounds_are_pytorchs_default():
    bound = 1 / math.sqrt(25)
    w = tc.nn.Conv2d(1, 20, 5).weight.numpy()
    assert np.abs(w).max() <= bound and np.abs(w).max() > 0.95 * bound
    b = tc.nn.Linear(25, 2000).bias.numpy()
    assert np.abs(b).max() <= bound and np.abs(b).max() > 0.95 * bound


def test_constants():
    w = weight()
    assert (init.constant_(w, 1.5).numpy() == 1.5).all()
    assert (init.ones_(w).numpy() == 1).all() and (init.zeros_(w).numpy() == 0).all()


def test_gains_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch (extra `bench`) is not installed")
    for name, param in [("linear", None), ("sigmoid", None), ("tanh", None), ("relu", None), ("selu", None),
                        ("leaky_relu", None), ("leaky_relu", 0.2)]:
        assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("factor", [2, 3])
def test_bilinear_weights_interpolate(rank, factor):
    """Inside, an image x of slope (a, b, ..) enlarged by s is the same plane at s times the resolution."""
    kernel = 2 * factor - factor % 2
    padding = math.ceil((factor - 1) / 2)
    up = getattr(tc.nn, f"ConvTranspose{rank}d")(2, 2, kernel, factor, padding, bias=False, dtype="float64")
    init.bilinear_(up.weight)
    slopes = np.array([1.0, -2.0, 0.5])[:rank]
    where = np.indices((6,) * rank)
    plane = np.tensordot(slopes, where, 1)
    y = up(tc.Tensor(np.stack([plane, -plane])[None])).numpy()[0]
    assert y.shape[1:] == (6 * factor,) * rank
    fine = (np.indices(y.shape[1:]) + 0.5) / factor - 0.5  # the place of each fine cell among the coarse ones
    inner = (slice(factor, -factor),) * rank
    want = np.tensordot(slopes, fine, 1)
    assert np.allclose(y[0][inner], want[inner], rtol=0, atol=1e-12)
    assert np.allclose(y[1][inner], -want[inner], rtol=0, atol=1e-12)


def test_bilinear_by_groups():
    w = tc.Tensor(np.zeros((3, 1, 4, 4)))
    init.bilinear_(w)
    tent = np.array([0.25, 0.75, 0.75, 0.25])
    assert (w.numpy() == np.outer(tent, tent)).all()


@pytest.mark.parametrize("call, words", [
    (lambda: init.bilinear_(tc.Tensor(np.zeros((3, 2, 4, 4)))), "got (3, 2, 4, 4)"),
    (lambda: init.bilinear_(tc.Tensor(np.zeros((3, 3)))), "got (3, 3)"),
    (lambda: init.xavier_uniform_(tc.Tensor(np.zeros(3))), "at least two dimensions"),
    (lambda: init.kaiming_normal_(weight(), mode="fan"), "got 'fan'"),
    (lambda: init.calculate_gain("swish"), "no gain is known for 'swish'"),
    (lambda: init.dirac_(tc.zeros(3)), "the weight of a convolution, (O, C, *kernel), got shape (3,)"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)


def test_the_random_state_survives_json():
    tc.manual_seed(11)
    tc.default_generator().random(5)
    state = json.loads(json.dumps(tc.get_rng_state()))
    first = tc.default_generator().random(4)
    tc.set_rng_state(state)
    assert (tc.default_generator().random(4) == first).all()
    with pytest.raises(ValueError, match="PCG64 is wanted, got one of 'MT19937'"):
        tc.set_rng_state({"bit_generator": "MT19937"})


def test_seeding_does_not_replace_the_generator():
    held = tc.default_generator()
    assert tc.manual_seed(5) is held
    assert held.random() == np.random.Generator(np.random.PCG64(5)).random()
