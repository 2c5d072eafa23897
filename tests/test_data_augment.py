"""Augmentations against plain loops over samples: each result must be one of those that the definition allows."""

import numpy as np
import pytest

from tinyconv.data import compose, crop, expand_shifts, flip, mean_std, normalise, shift

DTYPES = [np.uint8, np.float32, np.float64]


def rng(seed=0):
    return np.random.default_rng(seed)


def images(n, c=2, h=5, w=7, dtype=np.uint8):
    """Random images; the chance that two of their windows agree by accident is nil."""
    return rng(99).integers(1, 256, (n, c, h, w)).astype(dtype)


def places(x, y, padding, fill=0):
    """Where each y[n] was cut out of the padded x[n]: its (top, left), found by trying all of them."""
    (_, C, H, W), (OH, OW) = x.shape, y.shape[2:]
    found = []
    for image, cut in zip(x, y):
        padded = np.full((C, H + 2 * padding, W + 2 * padding), fill, x.dtype)
        for c in range(C):
            for i in range(H):
                for j in range(W):
                    padded[c, i + padding, j + padding] = image[c, i, j]
        found.append([(i, j) for i in range(H + 2 * padding - OH + 1) for j in range(W + 2 * padding - OW + 1)
                      if (padded[:, i:i + OH, j:j + OW] == cut).all()])
    assert all(len(f) == 1 for f in found)
    return [f[0] for f in found]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size, padding, fill, rows, cols", [
    (None, 2, 0, 5, 5), (None, 1, 9, 3, 3), (3, 0, 0, 3, 5), ((4, 2), 1, 0, 4, 8), ((5, 7), 0, 0, 1, 1),
    ((7, 9), 1, 3, 1, 1)])
def test_crop_cuts_every_window_of_the_padded_image(size, padding, fill, rows, cols, dtype):
    """Each of the rows*cols places: 40 samples a place, so one is missed with a chance of e^-40 each."""
    n = 40 * rows * cols
    x = images(n, dtype=dtype)
    y = crop(size, padding, fill)(x, rng())
    assert y.dtype == dtype and y.flags.c_contiguous
    found = places(x, y, padding, fill)
    assert set(found) == {(i, j) for i in range(rows) for j in range(cols)}
    for axis, options in ((0, rows), (1, cols)):  # uniform along each axis, within six deviations of a binomial
        counts = np.bincount([f[axis] for f in found], minlength=options)
        p = 1 / options
        assert abs(counts - n * p).max() <= 6 * np.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("pixels", [1, 3])
def test_shift_moves_by_up_to_so_many_pixels(pixels):
    x = images(60 * (2 * pixels + 1) ** 2, c=1)
    found = places(x, shift(pixels)(x, rng(1)), pixels)
    assert set(found) == {(i, j) for i in range(2 * pixels + 1) for j in range(2 * pixels + 1)}


def test_rows_and_columns_are_drawn_apart():
    found = np.array(places(x := images(500), shift(2)(x, rng(2)), 2))
    assert abs(np.corrcoef(found.T)[0, 1]) < 6 / np.sqrt(500)


@pytest.mark.parametrize("dtype", DTYPES)
def test_flip_mirrors_half_of_them(dtype):
    x = images(1000, dtype=dtype)
    y = flip()(x, rng())
    mirrored = np.array([[[row[::-1] for row in channel] for channel in image] for image in x.tolist()])
    was = np.array([(b == m).all() for b, m in zip(y, mirrored)])
    kept = np.array([(b == a).all() for b, a in zip(y, x)])
    assert (was ^ kept).all() and y.dtype == dtype
    assert abs(was.sum() - 500) < 6 * np.sqrt(1000 * 0.25)


def test_flip_never_and_always():
    x = images(50)
    assert (flip(0.0)(x, rng()) == x).all() and (flip(1.0)(x, rng()) == x[..., ::-1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean, std, scale", [(0.0, 1.0, 255), (0.1307, 0.3081, 255), ([0.5, 0.2], [0.25, 0.1], 16),
                                              ([0.5, 0.2], 2.0, 1), (0.3, [1.0, 2.0], 10)])
def test_normalise_by_the_formula(mean, std, scale, dtype):
    x = images(20, dtype=dtype)
    y = normalise(mean, std, scale)(x, rng())
    assert y.dtype == (np.float32 if dtype == np.uint8 else dtype)
    m, s = (np.broadcast_to(v, 2) for v in (mean, std))
    exact = np.stack([(x[:, c].astype(float) / scale - m[c]) / s[c] for c in range(2)], axis=1)
    # half an eps each: of the centre c, of x - c, of the spread, of the quotient: (c + 3|x - c|)/2 <= 2 (x + c)
    size = np.stack([x[:, c] / (scale * s[c]) + abs(m[c] / s[c]) for c in range(2)], axis=1)
    assert (abs(y - exact) <= 2 * np.finfo(y.dtype).eps * size).all()


def test_mean_std_over_several_blocks():
    x = images(2345)
    mean, std = mean_std(x, scale=10)
    for c in range(2):
        np.testing.assert_allclose([mean[c], std[c]], [np.mean(x[:, c] / 10.0), np.std(x[:, c] / 10.0)], rtol=1e-12)
    y = normalise(mean, std, scale=10)(x, rng())
    np.testing.assert_allclose(mean_std(y, scale=1)[0], 0, atol=1e-5)
    np.testing.assert_allclose(mean_std(y, scale=1)[1], 1, atol=1e-5)


def test_mean_std_of_one_colour():
    assert mean_std(np.full((3, 1, 2, 2), 7, np.uint8), scale=7) == (1.0, 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pixels", [1, 2])
def test_expand_shifts_by_plain_loops(pixels, dtype):
    x, t = images(4, dtype=dtype), np.array([3, 1, 4, 1])
    y, labels = expand_shifts(x, t, pixels)
    assert y.shape == (20, 2, 5, 7) and y.dtype == dtype
    for copy, (down, right) in enumerate([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]):
        for n in range(4):
            assert labels[4 * copy + n] == t[n]
            for i in range(5):
                for j in range(7):
                    a, b = i - down * pixels, j - right * pixels
                    want = x[n, :, a, b] if 0 <= a < 5 and 0 <= b < 7 else 0
                    assert (y[4 * copy + n, :, i, j] == want).all()


ALL = {"shift": shift(2), "crop": crop(3), "crop_whole": crop(), "flip": flip(), "normalise": normalise(0.2, 0.4),
       "compose": compose(shift(1), flip(), normalise())}


@pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_never_in_place_and_the_same_for_the_same_stream(transform, dtype):
    x = images(30, dtype=dtype)
    before = x.copy()
    x.flags.writeable = False
    one, two = transform(x, rng(4)), transform(x, rng(4))
    assert one.tobytes() == two.tobytes() and (x == before).all()
    assert not np.shares_memory(one, x) and one.flags.c_contiguous


def test_compose_goes_from_left_to_right_with_one_stream():
    x = images(30)
    stream = rng(6)
    want = normalise()(flip()(shift(2)(x, stream), stream), stream)
    assert (compose(shift(2), flip(), normalise())(x, rng(6)) == want).all()
    assert (compose()(x, rng()) == x).all()


@pytest.mark.parametrize("transform", ALL.values(), ids=ALL)
def test_an_empty_batch(transform):
    assert transform(images(0), rng()).shape[:2] == (0, 2)


@pytest.mark.parametrize("make, message", [
    (lambda: shift(0), "pixels=0: it must be at least 1"), (lambda: crop(0), "size=0"), (lambda: crop((3, 0)), "size"),
    (lambda: crop((1, 2, 3)), "one or two ints"), (lambda: crop(1.5), "size=1.5"), (lambda: crop(3, 0.5), "padding=0.5"),
    (lambda: shift(1.5), "pixels=1.5: it must be at least 1, an int"), (lambda: crop(3, padding=-1), "padding=-1"),
    (lambda: crop(6)(images(1), rng()), "window of 6x6 does not fit into images of 5x7 with padding 0"),
    (lambda: flip(1.5), "p=1.5: a probability is 0 to 1"), (lambda: flip(float("nan")), "p=nan"),
    (lambda: normalise(0, 0), "both must be above 0"), (lambda: normalise(scale=0), "scale=0"),
    (lambda: normalise([[0.5]]), r"got shapes \(1, 1\) and \(\)"),
    (lambda: normalise([1, 2, 3])(images(1), rng()), "mean and std of 3 channels for images of 2"),
    (lambda: compose(flip(), 3), "got 3"),
    (lambda: flip()(np.zeros((3, 4)), rng()), r"are \(N, C, H, W\), got shape \(3, 4\)"),
    (lambda: mean_std(images(0)), "no pixels"), (lambda: expand_shifts(images(2), [1]), "2 images and 1 labels"),
    (lambda: expand_shifts(images(1), [1], 5), "pixels=5: it must be 1 to 4 for images of 5x7"),
    (lambda: expand_shifts(images(1), [1], 0), "pixels=0"),
])
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
