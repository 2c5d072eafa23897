"""Resizing: worked answers, adjoints, derivatives, bilinear interpolation by convolution, pixel shuffling, PyTorch."""

from math import ceil

import numpy as np
import pytest
from like_torch import same

import tinyconv as tc
from tinyconv import nn
from tinyconv.autograd import grad, gradcheck, gradgradcheck
from tinyconv.nn import functional as F
from tinyconv.ops import resize


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")


def line(*values):
    return tc.tensor(np.array([[values]], float), requires_grad=True)


def noise(*shape):
    return tc.tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)


# -- worked answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode, align_corners, size, want", [
    ("nearest", None, 6, [1, 1, 1, 5, 5, 5]), ("nearest", None, 3, [1, 1, 5]), ("nearest-exact", None, 3, [1, 5, 5]),
    ("linear", False, 4, [1, 2, 4, 5]), ("linear", True, 5, [1, 2, 3, 4, 5]), ("linear", True, 1, [1]),
    ("linear", False, 1, [3]), ("linear", None, 2, [1, 5]), ("area", None, 1, [3]), ("area", None, 3, [1, 3, 5]),
])
def test_a_line_of_two(mode, align_corners, size, want):
    assert F.interpolate(line(1, 5), size, mode=mode, align_corners=align_corners).tolist() == [[want]]


def test_a_square_of_four():
    x = tc.tensor(np.array([[[[0.0, 4.0], [8.0, 12.0]]]]))
    up = F.interpolate(x, 4, mode="bilinear").numpy()[0, 0]
    assert up.tolist() == [[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]
    assert (F.interpolate(x, scale_factor=2, mode="linear").numpy() == up).all()
    assert (nn.Upsample(scale_factor=2, mode="bilinear")(x).numpy() == up).all()
    corners = F.interpolate(x, 3, mode="bilinear", align_corners=True).numpy()[0, 0]
    assert corners.tolist() == [[0, 2, 4], [4, 6, 8], [8, 10, 12]]
    assert (nn.UpsamplingBilinear2d(3)(x).numpy() == corners).all()
    assert nn.UpsamplingNearest2d(scale_factor=2)(x).numpy()[0, 0].tolist() == [[0, 0, 4, 4]] * 2 + [[8, 8, 12, 12]] * 2


def test_planes_stay_planes():
    """What is linear in the place is reproduced exactly, corners on corners, in three dimensions."""
    def plane(*size):
        grid = np.meshgrid(*(np.linspace(0, 1, n) for n in size), indexing="ij")
        return tc.tensor((3 * grid[0] - 2 * grid[1] + grid[2])[None, None])

    up = F.interpolate(plane(3, 4, 2), (5, 9, 6), mode="trilinear", align_corners=True)
    np.testing.assert_allclose(up.numpy(), plane(5, 9, 6).numpy(), rtol=0, atol=1e-15 * 8)


def test_the_same_size_is_the_same():
    x = noise(2, 3, 5, 4)
    for mode in ("nearest", "nearest-exact", "bilinear", "area"):
        assert (F.interpolate(x, (5, 4), mode=mode).numpy() == x.numpy()).all()


def test_whole_places_are_not_rounded():
    """Nearest cells are floor(o * I / O) in whole numbers, for any sizes."""
    for i, o in ((49, 7), (3, 41), (41, 82), (97, 1000), (1000, 97)):
        x = line(*range(i))
        assert F.interpolate(x, o).numpy()[0, 0].tolist() == [k * i // o for k in range(o)]


def test_a_scale_says_where_cells_lie():
    x = line(0, 1, 2, 3, 4)
    assert F.interpolate(x, scale_factor=1.7).shape == (1, 1, 8)
    given = F.interpolate(x, scale_factor=1.7, mode="linear").numpy()[0, 0]
    assert np.allclose(given, np.clip((np.arange(8) + 0.5) / 1.7 - 0.5, 0, 4), rtol=0, atol=1e-14)
    ratio = F.interpolate(x, scale_factor=1.7, mode="linear", recompute_scale_factor=True).numpy()
    assert (ratio == F.interpolate(x, 8, mode="linear").numpy()).all() and (ratio != given).any()


def test_nan_and_infinity_reach_only_what_weighs_them():
    for bad in (np.nan, np.inf):
        x = line(1, bad, 1, 1)
        y = F.interpolate(x, 7, mode="linear", align_corners=True).numpy()[0, 0]
        assert np.isfinite(y).tolist() == [True, False, False, False, True, True, True]
        g = grad(F.interpolate(x, 7, mode="linear", align_corners=True), x, line(1, 1, 1, 1, bad, 1, 1))[0].numpy()[0, 0]
        assert np.isfinite(g).tolist() == [True, True, False, True]
        assert np.isfinite(F.interpolate(x, 8).numpy()[0, 0]).tolist() == [True] * 2 + [False] * 2 + [True] * 4


def test_dtypes_and_an_empty_batch():
    for mode in ("nearest", "bilinear", "area"):
        x = tc.tensor(np.ones((0, 2, 3, 4), np.float32), requires_grad=True)
        y = F.interpolate(x, (5, 6), mode=mode)
        assert y.shape == (0, 2, 5, 6) and y.dtype == np.float32
        assert grad(y.sum(), x)[0].shape == x.shape


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("s", [2, 3, 4])
def test_a_transposed_convolution_started_bilinear_is_bilinear_interpolation(rank, s):
    """Equal everywhere: a border repeated by one cell, as interpolation does it, gives s cells to cut off on each side."""
    C, size = 3, (4, 5, 2)[:rank]
    k, p = 2 * s - s % 2, ceil((s - 1) / 2)
    x = noise(2, C, *size)
    up = getattr(nn, f"ConvTranspose{rank}d")(C, C, k, s, p + s, bias=False, groups=C, dtype="float64")
    nn.init.bilinear_(up.weight)
    y = up(F.pad(x, (1, 1) * rank, mode="replicate")).numpy()
    want = F.interpolate(x, scale_factor=s, mode="linear").numpy()
    assert y.shape == want.shape
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-14)  # 2^rank products of numbers below 4
    plain = getattr(nn, f"ConvTranspose{rank}d")(C, C, k, s, p, bias=False, dtype="float64")  # every channel with every other
    nn.init.bilinear_(plain.weight)
    inner = (..., *(slice(s, -s),) * rank)
    if min(size) > 2:
        np.testing.assert_allclose(plain(x).numpy()[inner], want[inner], rtol=0, atol=1e-14)


# -- pixel shuffling ---------------------------------------------------------------------------------------------------


def test_pixel_shuffle_by_hand():
    x = tc.tensor(np.arange(8.0).reshape(1, 4, 1, 2))
    assert F.pixel_shuffle(x, 2).tolist() == [[[[0, 2, 1, 3], [4, 6, 5, 7]]]]
    assert nn.PixelShuffle(2)(x).tolist() == F.pixel_shuffle(x, 2).tolist()
    assert resize.pixel_shuffle(tc.tensor(np.arange(4.0).reshape(1, 2, 2)), 2).tolist() == [[[0, 2, 1, 3]]]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_pixel_unshuffle_undoes_it(rank, r):
    x = noise(2, 2 * r**rank, *(2, 3, 1)[:rank])
    y = resize.pixel_shuffle(x, r)
    assert y.shape == (2, 2, *(n * r for n in (2, 3, 1)[:rank]))
    for at in np.ndindex(y.shape[2:]):  # y[c, h*r + i, ...] = x[(c*r + i)*r + ..., h, ...]
        channel = 0
        for i in at:
            channel = channel * r + i % r
        cell = tuple(i // r for i in at)
        assert (y.numpy()[(slice(None), 1, *at)] == x.numpy()[(slice(None), r**rank + channel, *cell)]).all()
    assert (resize.pixel_unshuffle(y, r).numpy() == x.numpy()).all()
    gradcheck(lambda x: resize.pixel_shuffle(x, r), x)
    gradgradcheck(lambda x: resize.pixel_shuffle(x * x, r), x)
    gradgradcheck(lambda y: resize.pixel_unshuffle(y * y, r), tc.tensor(y, requires_grad=True))


# -- derivatives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode, align_corners", [
    ("nearest", None), ("nearest-exact", None), ("linear", False), ("linear", True), ("area", None)])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_derivatives(rank, mode, align_corners):
    x = noise(2, 2, *(4, 3, 2)[:rank])
    for size in ((7, 2, 5)[:rank], (2, 1, 2)[:rank]):
        def fn(x, size=size):
            return F.interpolate(x, size, mode=mode, align_corners=align_corners)

        gradcheck(fn, x)
        gradgradcheck(lambda x, fn=fn: fn(x * x), x)
        y = fn(x)
        c = np.random.default_rng(1).standard_normal(y.shape)
        (g,) = grad(y, x, tc.tensor(c))
        assert np.isclose((g.data * x.data).sum(), (y.data * c).sum(), rtol=1e-12)  # the adjoint


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, words", [
    (lambda x: F.interpolate(x), "a size or a scale_factor, and not both; got None and None"),
    (lambda x: F.interpolate(x, 4, 2), "not both; got 4 and 2"),
    (lambda x: F.interpolate(x, 0), "size must be at least 1, got 0"),
    (lambda x: F.interpolate(x, (1, 2, 3)), "gives 3 numbers for 2 spatial"),
    (lambda x: F.interpolate(x, scale_factor=0.2), "from (4, 4) to (0, 0) by a scale_factor of (0.2, 0.2): each size"),
    (lambda x: F.interpolate(x, scale_factor=-1), "scale_factor must be positive and finite, got -1"),
    (lambda x: F.interpolate(x, scale_factor=(1, 2, 3)), "gives 3 numbers for 2 spatial dimension(s)"),
    (lambda x: F.interpolate(x, 4, mode="bicubic"), "nearest-exact, linear, bilinear, trilinear, area; got 'bicubic'"),
    (lambda x: F.interpolate(x, 4, mode="trilinear"), "trilinear is for 3 spatial dimensions, an input of shape (1, 4, 4, 4)"),
    (lambda x: F.interpolate(x, 4, align_corners=False), "align_corners is an option of the linear modes, not of 'nearest'"),
    (lambda x: F.interpolate(x, 4, recompute_scale_factor=True), "recompute_scale_factor is for a scale_factor"),
    (lambda x: F.interpolate(x[0, 0], 4), "floats (N, C, *spatial) with 1 to 3 spatial dimensions, got float64"),
    (lambda x: F.interpolate(x[:, :, :0], 4), "from (0, 4) to (4, 4): each size must be at least 1"),
    (lambda x: F.pixel_shuffle(x, 3), "a multiple of 3^2 = 9 channels, got 4, shape (1, 4, 4, 4)"),
    (lambda x: F.pixel_shuffle(x, 0), "upscale_factor as an int of at least 1, got 0"),
    (lambda x: F.pixel_unshuffle(x, 3), "multiples of 3, got (4, 4)"),
    (lambda x: F.pixel_shuffle(x[0], 2), "pixel_shuffle wants an input of 4 dimensions"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError) as caught:
        call(tc.tensor(np.ones((1, 4, 4, 4))))
    assert words in str(caught.value)


def test_repr():
    assert repr(nn.Upsample(scale_factor=2)) == "Upsample(scale_factor=2, mode='nearest')"
    assert repr(nn.PixelShuffle(2)) == "PixelShuffle(upscale_factor=2)"


# -- PyTorch -----------------------------------------------------------------------------------------------------------


def rounds_off(i, o, step, shift):
    """Whether the nearest cells of PyTorch, worked out in float32, are others: then its forward and its backward disagree."""
    place = np.arange(o) + shift
    exact = place * i / o if step == i / o else place * step
    return (np.floor(place.astype(np.float32) * np.float32(step)) != np.floor(exact)).any()


def against_torch(torch, seed):
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    linear = ("linear", "bilinear", "trilinear")[rank - 1]
    mode = str(rng.choice(["nearest", "nearest-exact", linear, "area"], p=[0.25, 0.1, 0.55, 0.1]))
    options = {"mode": mode}
    if mode.endswith("linear"):
        options["align_corners"] = bool(rng.random() < 0.5)
    most = (30, 16, 7)[rank - 1]
    size = tuple(int(n) for n in rng.integers(1, most, rank))
    if rng.random() < 0.6 or mode == "area":
        options["size"] = tuple(int(n) for n in rng.integers(1, 2 * most, rank))
    else:
        scale = tuple(float(s) for s in (rng.choice([0.5, 1, 1.5, 2, 3, 1.3, 0.7], rank) if rng.random() < 0.5
                                         else rng.uniform(0.3, 3, rank)))
        options["scale_factor"] = scale
        options["recompute_scale_factor"] = bool(rng.random() < 0.3) or None
        if min(int(i * s) for i, s in zip(size, scale)) < 1:
            return False
        if mode.startswith("nearest") and any(int(i * s) in (i, 2 * i) and i * s != int(i * s) for i, s in zip(size, scale)):
            return False  # here PyTorch takes a short cut through some of its paths, and disagrees with itself
    if mode.startswith("nearest"):
        after = options.get("size") or tuple(int(i * s) for i, s in zip(size, options["scale_factor"]))
        given = "size" not in options and not options["recompute_scale_factor"]
        steps = [1 / s for s in options["scale_factor"]] if given else [i / o for i, o in zip(size, after)]
        if any(rounds_off(*axis, 0.5 if mode == "nearest-exact" else 0.0) for axis in zip(size, after, steps)):
            return False
    x = rng.standard_normal((int(rng.integers(1, 3)), 2, *size))
    what = f"{seed}: {x.shape} {options}"
    same(torch, lambda t: F.interpolate(t, **options), lambda t: torch.nn.functional.interpolate(t, **options), x, rng, what)
    return True


def shuffled_like_torch(torch, seed):
    rng = np.random.default_rng(seed)
    r, (n, c, h, w) = int(rng.integers(1, 4)), (int(v) for v in rng.integers(1, 4, 4))
    torch_f = torch.nn.functional
    same(torch, lambda t: F.pixel_shuffle(t, r), lambda t: torch_f.pixel_shuffle(t, r),
         rng.standard_normal((n, c * r * r, h, w)), rng, f"{seed}: by {r}", bound=0)
    same(torch, lambda t: F.pixel_unshuffle(t, r), lambda t: torch_f.pixel_unshuffle(t, r),
         rng.standard_normal((n, c, h * r, w * r)), rng, f"{seed}: back by {r}", bound=0)


def test_torch_agrees_over_random_geometries(torch):
    assert sum(against_torch(torch, seed) for seed in range(200)) > 180
    for seed in range(10):
        shuffled_like_torch(torch, seed)


@pytest.mark.sweep
def test_torch_agrees_over_thousands_of_geometries(torch):
    assert sum(against_torch(torch, seed) for seed in range(1000, 5000)) > 3500
    for seed in range(200):
        shuffled_like_torch(torch, seed)
