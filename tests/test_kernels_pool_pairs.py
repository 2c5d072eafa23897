"""Pooling by windows of 2x2, whose vectors run across rows: the definition, ReLU in one pass, strays, memory, thread counts."""

import itertools
from math import prod

import numba
import numpy as np
import pytest
from pooled import image, integers
from threaded import on_threads

from tinyconv.dims import pool_dims
from tinyconv.kernels.pool import direct, reference
from tinyconv.kernels.pool import pairs as pairs_file

SPECIAL = np.array([np.nan, np.inf, -np.inf, -2.0, -1.0, 0.0, 1.0, 2.0])
FREQUENCY = [0.04, 0.02, 0.3, 0.2, 0.2, 0.08, 0.08, 0.08]  # ties everywhere, windows of -inf alone, maxima below 0
needs_machine_code = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="vectors exist only as machine code")


@pytest.fixture(autouse=True)
def one_thread():
    """One test below compares the thread counts."""
    with on_threads(1):
        yield


def twos(planes=(2, 3)):
    """Rows of windows shorter, as long and longer than a vector, whole and ragged, some with cells beside the windows."""
    for width, height in itertools.product((1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 17, 32, 35), (1, 2, 5, 9)):
        for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
            yield pool_dims((*planes, 2 * height + below, 2 * width + right), 2)


@needs_machine_code
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_windows_of_two_by_two(dtype):
    rng, spent = np.random.default_rng(11), 0
    for dims in twos():
        assert pairs_file.pairs(dims, np.dtype(dtype).itemsize) is not None
        x = rng.choice(SPECIAL, dims.x_shape, p=FREQUENCY).astype(dtype)
        want, where = reference.max_pool(x, dims)
        for relu in (False, True):
            y, at = direct.max_pool(x, dims, relu=relu)
            assert y.dtype == dtype and np.array_equal(y, np.where(want < 0, 0, want) if relu else want, equal_nan=True), dims
            assert at.dtype == np.int64 and np.array_equal(at, where), dims
        g = rng.normal(size=dims.y_shape).astype(dtype)
        assert np.array_equal(direct.pool_scatter(g, where, dims), reference.pool_scatter(g, where, dims)), dims
        through = reference.pool_scatter(np.where(want > 0, g, 0), where, dims)  # not where it is NaN
        assert np.array_equal(direct.pool_scatter(g, where, dims, where=want), through), dims
        spent += np.count_nonzero(through)
    assert spent > 1000


@needs_machine_code
def test_two_by_two_by_hand():
    x = image([-1, -1, np.nan, 3], [-1, 0, 4, np.nan], [-np.inf, -np.inf, -3, -2], [-np.inf, -np.inf, -2, -4])
    dims = pool_dims(x.shape, 2)
    y, at = direct.max_pool(x, dims, relu=True)
    assert np.array_equal(y, image([0, np.nan], [0, 0]), equal_nan=True)
    assert np.array_equal(at, [[[[5, 2], [8, 11]]]])  # first of equals, first NaN, first of nothing but -inf
    g = image([1, 2], [3, 4])
    want = image([0, 0, 2, 0], [0, 1, 0, 0], [3, 0, 0, 4], [0, 0, 0, 0])
    assert np.array_equal(direct.pool_scatter(g, at, dims), want)
    assert np.array_equal(direct.pool_scatter(g, at, dims, where=image([1, np.nan], [0, 2])), want * (want != 2) * (want != 3))


@needs_machine_code
def test_positions_outside_of_their_window_are_added_all_the_same():
    """Unpooling may name any cell, and one twice: in one window of one plane here, or everywhere."""
    rng = np.random.default_rng(12)
    for dims in (pool_dims((2, 3, 8, 8), 2), pool_dims((2, 3, 25, 25), 2), pool_dims((1, 2, 10, 70), 2)):
        y = integers(rng, dims.y_shape)
        _, at = reference.max_pool(integers(rng, dims.x_shape), dims)
        one, last = at.copy(), at.copy()
        one[0, 1, 0, 0] = at[0, 1, -1, -1]
        last[-1, -1, -1, -1] = at[-1, -1, 0, 0]
        assert np.array_equal(direct.pool_scatter(y, at.astype(np.int32), dims), reference.pool_scatter(y, at, dims)), dims
        for stray in (one, last, rng.integers(0, prod(dims.input), dims.y_shape)):
            assert np.array_equal(direct.pool_scatter(y, stray, dims), reference.pool_scatter(y, stray, dims)), dims
            gate = integers(rng, dims.y_shape)
            want = reference.pool_scatter(np.where(gate > 0, y, 0), stray, dims)
            assert np.array_equal(direct.pool_scatter(y, stray, dims, where=gate), want), dims


@needs_machine_code
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_beside_the_results_is_written(dtype):
    rng, margin = np.random.default_rng(13), 64

    def guarded(shape, dtype):
        whole = np.full(prod(shape) + 2 * margin, 77, dtype)
        return whole, whole[margin:-margin]

    for dims in twos((1, 1)):
        lie = pairs_file.pairs(dims, np.dtype(dtype).itemsize)
        x = rng.normal(size=prod(dims.x_shape)).astype(dtype)
        (ys, y), (ats, at), (xs, back) = (
            guarded(s, t) for s, t in ((dims.y_shape, dtype), (dims.y_shape, np.int64), (dims.x_shape, dtype)))
        pairs_file.max_pairs(x, y, at, lie.corners, lie.spans, lie.sizes, dtype(-np.inf))
        pairs_file.scatter_pairs(y, y, at, back, lie.corners, lie.spans, lie.sizes, lie.covering, False)
        assert np.array_equal(back[at], x[at]) and np.count_nonzero(back) == at.size
        for whole in (ys, ats, xs):
            assert (whole[:margin] == 77).all() and (whole[-margin:] == 77).all(), dims


def test_planes_of_more_cells_than_an_integer_counts_are_left_alone(monkeypatch):
    monkeypatch.setattr(np, "arange", None)  # no table of half a billion windows
    assert pairs_file.pairs(pool_dims((1, 1, 1 << 16, 1 << 15), 2), 4) is None


def test_a_table_is_that_of_a_map_whatever_the_batch():
    assert pairs_file.pairs(pool_dims((2, 3, 8, 8), 2), 4) is pairs_file.pairs(pool_dims((5, 1, 8, 8), 2), 4)


@needs_machine_code
def test_two_by_two_of_an_empty_batch():
    dims = pool_dims((0, 3, 8, 8), 2)
    y, at = direct.max_pool(np.empty(dims.x_shape, np.float32), dims)
    assert y.shape == at.shape == dims.y_shape
    assert direct.pool_scatter(y, at, dims, where=y).shape == dims.x_shape


@needs_machine_code
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only: there is no other count to compare with")
def test_two_by_two_has_the_same_bits_on_any_number_of_threads():
    rng = np.random.default_rng(14)
    for dims in (pool_dims((3, 7, 24, 24), 2), pool_dims((5, 3, 8, 8), 2), pool_dims((1, 1, 9, 75), 2)):
        x = rng.choice(SPECIAL, dims.x_shape, p=FREQUENCY).astype(np.float32)
        g = rng.normal(size=dims.y_shape).astype(np.float32)
        results = []
        for threads in range(1, min(numba.config.NUMBA_NUM_THREADS, 3) + 1):
            numba.set_num_threads(threads)
            y, at = direct.max_pool(x, dims, relu=True)
            results.append([a.tobytes() for a in (y, at, direct.pool_scatter(g, at, dims, where=y))])
        assert all(r == results[0] for r in results), dims
