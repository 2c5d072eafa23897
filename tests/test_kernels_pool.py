"""Pooling kernels: hand-worked answers and SciPy hold the reference, the reference holds every other kernel."""

import itertools
from math import prod

import numba
import numpy as np
import pytest
from scipy import ndimage

from tinyconv import cases, registry
from tinyconv.dims import adaptive_dims, pool_dims
from tinyconv.kernels.pool import direct, reference, windows
from tinyconv.kernels.pool import pairs as pairs_file

ADAPTIVE = {
    "adaptive": adaptive_dims((2, 3, 7, 5), (3, 2)),
    "adaptive_larger": adaptive_dims((1, 2, 3, 4), (5, 6)),
    "adaptive_line": adaptive_dims((2, 3, 11), 4),
    "adaptive_volume": adaptive_dims((1, 2, 5, 4, 7), (2, 4, 3)),
    "adaptive_even": adaptive_dims((2, 3, 6, 8), (3, 2)),
}
MORE = {
    "stride_over_kernel": pool_dims((2, 2, 11, 13), (2, 3), stride=(4, 5)),
    "wide_rows": pool_dims((2, 3, 6, 70), 3, stride=1, padding=1),
    "wide_pairs": pool_dims((2, 3, 6, 71), 2),
    "wide_overlap": pool_dims((1, 2, 9, 75), 3, stride=2, padding=1),
    "dilated_stride": pool_dims((1, 2, 13, 40), 3, stride=(2, 3), dilation=(3, 2), padding=2),
    "large_kernel": pool_dims((1, 2, 12, 40), (5, 7), stride=1, padding=(2, 3)),
    "last_window_in_padding": pool_dims((1, 2, 5, 5), 2, stride=2, padding=1, ceil_mode=True),
}
CASES = {**cases.pools, **ADAPTIVE, **MORE}
CHOICES = ("max_pool", "median_pool", "stochastic_pool")
OPS = (*CHOICES, "pool_gather", "pool_scatter", "pool_even_gather", "pool_even_scatter", "avg_pool",
       "avg_pool_adjoint", "lp_pool", "lp_pool_grad")


def kernels(op):
    """Those of the CPU; test_cuda_pool.py has the others."""
    return [k for k in registry.kernels(op) if k.device == "cpu"]


@pytest.fixture(autouse=True)
def one_thread():
    """On a busy machine every join of threads waits for a time slice. One test below compares the thread counts."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def image(*rows):
    return np.array([[rows]], dtype=float)


def integers(rng, shape, dtype=np.float64, low=-3, high=4):
    return rng.integers(low, high, shape).astype(dtype)


def operands(op, dims, dtype, rng):
    """Arrays and keywords of one call, small integers with many ties."""
    x, y = integers(rng, dims.x_shape, dtype), integers(rng, dims.y_shape, dtype)
    if op == "stochastic_pool":
        return [(x, integers(rng, dims.y_shape, dtype, 0, 8) / 8)], {}  # eighths fall on the borders between cells
    if op in ("pool_gather", "pool_scatter"):
        indices = rng.integers(0, prod(dims.input), dims.y_shape)
        return [(x if op == "pool_gather" else y, indices)], {}
    if op in ("pool_even_gather", "pool_even_scatter"):
        top = reference.max_pool(x, dims)[0]
        return [(integers(rng, dims.x_shape, dtype) if op == "pool_even_gather" else y, x, top)], {}
    if op in ("avg_pool", "avg_pool_adjoint"):
        return [(x if op == "avg_pool" else y,)], {"count_include_pad": [True, False], "divisor_override": [None, 3]}
    if op == "lp_pool_grad":
        return [(x, reference.lp_pool(x, dims, p), y) for p in (1, 1.5, 2, 3)], {"p": [1, 1.5, 2, 3]}
    return [(x,)], {"p": [1, 1.5, 2, 3]} if op == "lp_pool" else {}


def calls(op, dims, dtype, rng):
    arrays, keywords = operands(op, dims, dtype, rng)
    for k, values in enumerate(itertools.product(*keywords.values())):
        yield arrays[k % len(arrays)], dict(zip(keywords, values))


# -- the definition --------------------------------------------------------------------------------------------------

GUIDE = image([3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1])


def test_the_guides_average_pooling():
    ninths = image([15, 15, 15], [9, 11, 16], [10, 7, 12])  # the guide prints 1.7 1.7 1.7 / 1.0 1.2 1.8 / 1.1 0.8 1.3
    assert np.array_equal(reference.avg_pool(GUIDE, pool_dims(GUIDE.shape, 3, stride=1)), ninths / 9)


def test_the_guides_max_pooling():
    y, at = reference.max_pool(GUIDE, pool_dims(GUIDE.shape, 3, stride=1))
    assert np.array_equal(y, image([3, 3, 3], [3, 3, 3], [3, 2, 3]))
    assert np.array_equal(at, [[[[0, 1, 8], [10, 8, 8], [10, 12, 14]]]])  # the first of equals in reading order


def test_pooling_and_unpooling_by_hand():
    x = image([1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8])
    dims = pool_dims(x.shape, 2)
    y, at = reference.max_pool(x, dims)
    assert np.array_equal(y, image([5, 6], [7, 8]))
    assert np.array_equal(at, [[[[5, 2], [12, 15]]]])
    back = reference.pool_scatter(image([1, 2], [3, 4]), at, dims)
    assert np.array_equal(back, image([0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]))


def test_windows_by_hand():
    line = pool_dims((1, 1, 6), 3, stride=2, padding=1, dilation=2)  # taps -1 1 3 | 1 3 5
    assert line.windows == (((1, 1), (2, 3)),)
    assert line.extents == ((3, 3),)
    there, back = windows.forward(line), windows.dual(line)
    assert there.source == (1, 1, 6) and there.target == (1, 1, 2) and there.steps == (1, 1, 2)
    assert back.cells[5, :6].tolist() == [0, 2, 0, 2, 0, 1]
    assert back.cells[4, :6].tolist() == [0, 0, 0, 0, 0, 1]
    assert pool_dims((1, 1, 5), 2, stride=2, padding=1, ceil_mode=True).extents == ((2, 2, 2),)
    assert adaptive_dims((1, 1, 3), 5).windows == (((0, 0, 1, 1, 2), (1, 2, 1, 2, 1)),)


def test_ceil_mode_divides_by_what_lies_inside_the_padding():
    x = np.arange(1.0, 6.0).reshape(1, 1, 5)
    dims = pool_dims(x.shape, 3, stride=3, padding=1, ceil_mode=True)  # windows -1..1, 2..4 and no third
    assert np.array_equal(reference.avg_pool(x, dims), [[[1, 4]]])
    assert np.array_equal(reference.avg_pool(x, dims, count_include_pad=False), [[[1.5, 4]]])
    assert np.array_equal(reference.avg_pool(x, dims, divisor_override=2), [[[1.5, 6]]])
    over = pool_dims((1, 1, 6), 3, stride=2, ceil_mode=True)  # 0..2, 2..4, 4..6 of which 6 is not there
    assert np.array_equal(reference.avg_pool(np.ones((1, 1, 6)), over), np.ones((1, 1, 3)))


def test_lp_pooling_by_hand():
    x = image([3, -4, 0, 0], [0, 0, 0, 0])
    dims = pool_dims(x.shape, 2)
    y = reference.lp_pool(x, dims, 2)
    assert np.array_equal(y, image([5, 0]))
    g = reference.lp_pool_grad(x, y, image([10, 10]), dims, 2)
    assert np.allclose(g, image([6, -8, 0, 0], [0, 0, 0, 0]), rtol=1e-15)  # g x / y, and 0 where the window is zero
    assert np.array_equal(reference.lp_pool(x, dims, 1), image([7, 0]))
    assert np.array_equal(reference.lp_pool_grad(x, y, image([10, 10]), dims, 1), image([10, -10, 0, 0], [0, 0, 0, 0]))


def test_even_ties_by_hand():
    x = image([2, 2, 1], [0, 2, 2])
    dims = pool_dims(x.shape, 2, stride=1)  # windows tie three times at 2, and three times at 2
    y = reference.max_pool(x, dims)[0]
    assert np.array_equal(reference.pool_even_scatter(image([3, 6]), x, y, dims), image([1, 3, 0], [0, 3, 2]))
    assert np.array_equal(reference.pool_even_gather(image([3, 6, 9], [9, 0, 3]), x, y, dims), image([3, 3]))
    assert np.array_equal(reference.pool_even_gather(x, x, y, dims), y)


def test_stochastic_pooling_by_hand():
    x = image([1, -5], [3, 0])  # weights 1, 0, 3, 0: the cell changes at a quarter
    dims = pool_dims(x.shape, 2)
    for u, cell in ((0.0, 0), (0.2, 0), (0.26, 2), (0.99, 2)):
        assert reference.stochastic_pool(x, image([u]), dims)[1].item() == cell
    assert reference.stochastic_pool(-np.abs(x), image([0.5]), dims)[1].item() == 0  # nothing to draw from: the first
    n = 4000
    many = np.repeat(x, n, axis=0)
    drawn = reference.stochastic_pool(many, np.random.default_rng(0).random((n, 1, 1, 1)), pool_dims(many.shape, 2))[0]
    assert abs(np.mean(drawn == 3) - 0.75) < 5 * np.sqrt(0.75 * 0.25 / n)  # five standard deviations


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("filtered, op", [("maximum_filter", "max_pool"), ("median_filter", "median_pool"),
                                          ("uniform_filter", "avg_pool")])
def test_reference_against_scipy(filtered, op, size):
    x = np.random.default_rng(size).normal(size=(9, 12))
    want = getattr(ndimage, filtered)(x, size)[size // 2:-(size // 2), size // 2:-(size // 2)]
    got = getattr(reference, op)(x[None, None], pool_dims((1, 1, *x.shape), size, stride=1))
    got = got[0] if op in CHOICES else got
    # uniform_filter keeps a running sum along each axis: a dozen roundings of values of a few units
    np.testing.assert_allclose(got[0, 0], want, rtol=0, atol=1e-14 if op == "avg_pool" else 0)


# -- every kernel against the definition -----------------------------------------------------------------------------

def test_every_operation_is_checked():
    assert set(OPS) == {k.op for op in registry.ops() for k in registry.kernels(op) if "pool" in k.fn.__module__}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", OPS)
def test_kernels_agree_with_the_reference(op, dtype):
    tried = 0
    for name, dims in CASES.items():
        for k in kernels(op):
            if k.algorithm == "reference" or k.refuse(dims, np.dtype(dtype)):
                continue
            for arrays, keywords in calls(op, dims, dtype, np.random.default_rng(len(name))):
                got, want = k.fn(*arrays, dims, **keywords), getattr(reference, op)(*arrays, dims, **keywords)
                check(k, got, want, f"{op} by {k.algorithm}, case {name}, {keywords}")
                tried += 1
    assert tried >= len(CASES)


def check(k, got, want, where):
    if k.op in CHOICES:
        check(registry.Kernel("", "", k.fn), got[0], want[0], where)
        assert got[1].dtype == np.int64 and np.array_equal(got[1], want[1]), where
        return
    assert got.dtype == want.dtype and got.shape == want.shape, where
    if k.exact:
        assert np.array_equal(got, want, equal_nan=True), where
    else:
        scale = np.abs(want).max(initial=1)
        assert np.abs(got - want).max(initial=0) <= k.bound * np.finfo(want.dtype).eps * scale, where


def test_the_adjoint_is_exact_where_every_quotient_is():
    """avg_pool_adjoint on multiples of every divisor: no rounding is left to hide behind."""
    rng = np.random.default_rng(5)
    for name, dims in CASES.items():
        for include in (True, False):
            sizes = [prod(w) for w in itertools.product(*(dims.extents if include else [c for _, c in dims.windows]))]
            y = integers(rng, dims.y_shape) * np.lcm.reduce(sizes)
            for k in kernels("avg_pool_adjoint"):
                if not k.refuse(dims, y.dtype):
                    want = reference.avg_pool_adjoint(y, dims, include)
                    assert np.array_equal(k.fn(y, dims, include), want), (k.algorithm, name, include)


@pytest.mark.parametrize("op", CHOICES)
def test_nan_and_infinity(op):
    """NaN wins over everything, the first over later ones, and a window of nothing but -inf points at its first cell."""
    rng = np.random.default_rng(1)
    specials = np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 2.0])
    for dims in CASES.values():
        x = specials[rng.choice(6, dims.x_shape, p=[0.1, 0.05, 0.4, 0.15, 0.15, 0.15])]
        if op == "stochastic_pool":
            x = np.where(np.isinf(x), -1, x)  # a share of an infinite sum means nothing
        for values in (x, np.full_like(x, -np.inf)):
            arrays = (values, rng.random(dims.y_shape)) if op == "stochastic_pool" else (values,)
            want = getattr(reference, op)(*arrays, dims)
            for k in kernels(op):
                if not k.refuse(dims, x.dtype):
                    check(k, k.fn(*arrays, dims), want, f"{op} by {k.algorithm}, {dims}")


def test_the_first_nan_wins_and_padding_never_does():
    x = image([1, np.nan, 2], [np.nan, -4, -5], [-6, -7, -8])
    dims = pool_dims(x.shape, 2, stride=1, padding=1)
    want = [[0, 1, 1, 2], [3, 1, 1, 2], [3, 3, 4, 5], [6, 6, 7, 8]]
    for k in kernels("max_pool"):
        y, at = k.fn(x, dims)
        assert np.array_equal(at[0, 0], want), k.algorithm
        assert np.array_equal(y[0, 0], x.ravel()[want], equal_nan=True), k.algorithm


def test_even_ties_among_nan():
    x = image([np.nan, 1], [np.nan, np.nan])
    dims = pool_dims(x.shape, 2)
    y = image([np.nan])
    for k in kernels("pool_even_scatter"):
        assert np.array_equal(k.fn(image([6.0]), x, y, dims), image([2, 0], [2, 2])), k.algorithm


def strided(a):
    """The same values behind other strides."""
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def unwritable(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[...] = a
    return raw


@pytest.mark.parametrize("op", OPS)
def test_any_memory_layout(op):
    dims = CASES["overlap"]
    arrays, keywords = next(calls(op, dims, np.float64, np.random.default_rng(2)))
    for k in kernels(op):
        want = k.fn(*arrays, dims, **keywords)
        for layout in (strided, unwritable, unaligned, np.asfortranarray):
            check(k, k.fn(*map(layout, arrays), dims, **keywords), want, f"{op} by {k.algorithm}, {layout.__name__}")


def test_operands_are_left_alone():
    for op in OPS:
        for dims in (CASES["overlap"], CASES["adaptive"]):
            arrays, keywords = next(calls(op, dims, np.float64, np.random.default_rng(3)))
            before = [a.copy() for a in arrays]
            for k in kernels(op):
                if not k.refuse(dims, np.dtype(np.float64)):
                    k.fn(*arrays, dims, **keywords)
                    assert all(map(np.array_equal, arrays, before)), (op, k.algorithm)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only: there is no other count to compare with")
def test_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(4)
    for op in OPS:
        dims = MORE["wide_overlap"]
        (arrays, keywords), *_ = calls(op, dims, np.float32, rng)
        arrays = [rng.normal(size=a.shape).astype(a.dtype) if a.dtype == np.float32 and op not in (
            "pool_even_gather", "pool_even_scatter", "stochastic_pool") else a for a in arrays]
        results = []
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append([np.asarray(k.fn(*arrays, dims, **keywords)) for k in kernels(op)])
        for k, one, two in zip(kernels(op), *results):
            assert one.tobytes() == two.tobytes(), (op, k.algorithm)


# -- windows of 2x2, whose vectors run across rows -------------------------------------------------------------------

SPECIAL = np.array([np.nan, np.inf, -np.inf, -2.0, -1.0, 0.0, 1.0, 2.0])
FREQUENCY = [0.04, 0.02, 0.3, 0.2, 0.2, 0.08, 0.08, 0.08]  # ties everywhere, windows of -inf alone, maxima below 0


def twos(planes=(2, 3)):
    """Rows of windows shorter, as long and longer than a vector, whole and ragged, some with cells beside the windows."""
    for width, height in itertools.product((1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 17, 32, 35), (1, 2, 5, 9)):
        for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
            yield pool_dims((*planes, 2 * height + below, 2 * width + right), 2)


needs_machine_code = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="vectors exist only as machine code")


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


# -- adjoints and gradients ------------------------------------------------------------------------------------------

def test_gather_and_scatter_are_adjoint():
    rng = np.random.default_rng(6)
    for dims in CASES.values():
        x, y = integers(rng, dims.x_shape), integers(rng, dims.y_shape)
        _, at = reference.max_pool(x, dims)
        for a, b in itertools.product(kernels("pool_gather"), kernels("pool_scatter")):
            if not (a.refuse(dims, x.dtype) or b.refuse(dims, x.dtype)):
                assert np.sum(a.fn(x, at, dims) * y) == np.sum(x * b.fn(y, at, dims)), (a.algorithm, b.algorithm)


def test_average_and_its_adjoint():
    rng = np.random.default_rng(7)
    for dims in CASES.values():
        for keywords in ({}, {"count_include_pad": False}, {"divisor_override": 1}):
            x, y = integers(rng, dims.x_shape), integers(rng, dims.y_shape)
            for a, b in itertools.product(kernels("avg_pool"), kernels("avg_pool_adjoint")):
                if not (a.refuse(dims, x.dtype) or b.refuse(dims, x.dtype)):
                    left, right = np.sum(a.fn(x, dims, **keywords) * y), np.sum(x * b.fn(y, dims, **keywords))
                    assert abs(left - right) <= 1e-15 * x.size * 9, (a.algorithm, b.algorithm, dims)  # |x y| <= 9


def test_even_gather_and_scatter_are_adjoint():
    rng = np.random.default_rng(8)
    for dims in CASES.values():
        x, v, y = integers(rng, dims.x_shape), integers(rng, dims.x_shape), integers(rng, dims.y_shape)
        top, _ = reference.max_pool(x, dims)
        for a, b in itertools.product(kernels("pool_even_gather"), kernels("pool_even_scatter")):
            if not (a.refuse(dims, x.dtype) or b.refuse(dims, x.dtype)):
                left, right = np.sum(a.fn(v, x, top, dims) * y), np.sum(v * b.fn(y, x, top, dims))
                assert abs(left - right) <= 1e-15 * x.size * 9, (a.algorithm, b.algorithm, dims)
                assert np.array_equal(a.fn(x, x, top, dims), top)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 7.5])
def test_lp_gradient_against_differences(p):
    rng, h = np.random.default_rng(9), 1e-6
    for dims in (CASES["overlap"], CASES["adaptive"], CASES["dilated"], CASES["volume"], CASES["line"]):
        x, g, v = (rng.normal(size=s) for s in (dims.x_shape, dims.y_shape, dims.x_shape))
        x += np.sign(x) * 0.1  # a step away from the kink of |x| at 0
        for k, kg in itertools.product(kernels("lp_pool"), kernels("lp_pool_grad")):
            if not (k.refuse(dims, x.dtype) or kg.refuse(dims, x.dtype)):
                slope = np.sum(g * (k.fn(x + h * v, dims, p) - k.fn(x - h * v, dims, p))) / (2 * h)
                exact = np.sum(v * kg.fn(x, k.fn(x, dims, p), g, dims, p))
                # the difference errs by h^2 times a third derivative of some units a cell, and by eps/h
                assert abs(slope - exact) <= 1e-7 * x.size, (k.algorithm, kg.algorithm, dims, p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_lp_gradient_at_zero_is_zero(p, dtype):
    x = np.zeros((1, 1, 4, 4), dtype)
    x[0, 0, 0, 0] = -2  # its window has zeros beside it, the other windows nothing else
    dims = pool_dims(x.shape, 2)
    for k in kernels("lp_pool_grad"):
        g = k.fn(x, reference.lp_pool(x, dims, p), np.ones(dims.y_shape, dtype), dims, p)
        assert g[0, 0, 0, 0] == -1 and np.count_nonzero(g) == 1, (k.algorithm, g)


def test_lp_in_float32_neither_overflows_nor_vanishes():
    dims = pool_dims((1, 1, 2, 2), 2)
    for p, size in itertools.product((2, 3, 8), (1e-30, 1e30)):
        x = np.full(dims.x_shape, size, np.float32)
        for k, kg in itertools.product(kernels("lp_pool"), kernels("lp_pool_grad")):
            y = k.fn(x, dims, p)
            np.testing.assert_allclose(y, size * 4 ** (1 / p), rtol=2e-6)  # a few eps, p times over in the root
            np.testing.assert_allclose(kg.fn(x, y, np.ones_like(y), dims, p), 4 ** (1 / p - 1), rtol=5e-6)


# -- PyTorch ---------------------------------------------------------------------------------------------------------

def geometry(rng):
    """A random pooling that PyTorch takes too: shape, arguments, ceil_mode."""
    rank = int(rng.integers(1, 4))
    kernel = tuple(int(k) for k in rng.integers(1, 5, rank))
    dilation = tuple(int(d) for d in rng.integers(1, 4, rank))
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    size = tuple(int(d * (k - 1) + 1 + rng.integers(0, 9)) for k, d in zip(kernel, dilation))
    stride = tuple(int(s) for s in rng.integers(1, 5, rank))
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 4)), *size)
    return rank, shape, {"kernel_size": kernel, "stride": stride, "padding": padding}, dilation, bool(rng.integers(2))


def close(got, want, roundings=64):
    want = want.detach().numpy()
    assert got.shape == want.shape
    scale = np.abs(want).max(initial=1)
    assert np.abs(got - want).max(initial=0) <= roundings * np.finfo(want.dtype).eps * scale


def compare_with_torch(seed, kernels):
    """One random geometry: values, indices and gradients of max, average, Lp and adaptive pooling, and unpooling."""
    torch = pytest.importorskip("torch", reason="PyTorch (extra `bench`) is what this compares with")
    torch.set_num_threads(1)  # its threads spin, and would hold up ours
    F, rng = torch.nn.functional, np.random.default_rng(seed)
    rank, shape, arguments, dilation, ceil_mode = geometry(rng)
    dtype = np.float32 if seed % 2 else np.float64
    x = integers(rng, shape, dtype) if seed % 3 else rng.normal(size=shape).astype(dtype)
    t = torch.from_numpy(x).requires_grad_()

    dims = pool_dims(shape, dilation=dilation, ceil_mode=ceil_mode, **arguments)
    y, at = getattr(F, f"max_pool{rank}d")(t, dilation=dilation, ceil_mode=ceil_mode, return_indices=True, **arguments)
    g = integers(rng, dims.y_shape, dtype)
    got, indices = kernels("max_pool", dims)(x, dims)
    assert np.array_equal(got, y.detach().numpy()) and np.array_equal(indices, at.numpy())
    back = torch.autograd.grad(y, t, torch.from_numpy(g))[0].numpy()
    assert np.array_equal(kernels("pool_scatter", dims)(g, indices, dims), back)

    dims = pool_dims(shape, ceil_mode=ceil_mode, **arguments)
    keywords = {"count_include_pad": bool(rng.integers(2))}
    if rank > 1 and rng.integers(2):
        keywords["divisor_override"] = int(rng.integers(1, 6))
    y = getattr(F, f"avg_pool{rank}d")(t, ceil_mode=ceil_mode, **arguments, **keywords)
    close(kernels("avg_pool", dims)(x, dims, **keywords), y)
    g = integers(rng, dims.y_shape, dtype)
    close(kernels("avg_pool_adjoint", dims)(g, dims, **keywords), torch.autograd.grad(y, t, torch.from_numpy(g))[0])

    size = tuple(int(n) for n in rng.integers(1, 8, rank))
    dims = adaptive_dims(shape, size)
    y, at = getattr(F, f"adaptive_max_pool{rank}d")(t, size, return_indices=True)
    got, indices = kernels("max_pool", dims)(x, dims)
    assert np.array_equal(got, y.detach().numpy()) and np.array_equal(indices, at.numpy())
    g = integers(rng, dims.y_shape, dtype)
    back = torch.autograd.grad(y, t, torch.from_numpy(g))[0].numpy()
    assert np.array_equal(kernels("pool_scatter", dims)(g, indices, dims), back)
    y = getattr(F, f"adaptive_avg_pool{rank}d")(t, size)
    close(kernels("avg_pool", dims)(x, dims), y)
    close(kernels("avg_pool_adjoint", dims)(g, dims), torch.autograd.grad(y, t, torch.from_numpy(g))[0])

    # Where all of x is positive the p-norm is PyTorch's. It takes the root of a negative sum, and has no padding.
    p, positive = float(rng.choice([1, 1.5, 2, 3])), np.abs(x) + dtype(0.5)
    plain = {"kernel_size": arguments["kernel_size"], "stride": arguments["stride"]}
    dims = pool_dims(shape, **plain)
    t = torch.from_numpy(positive).requires_grad_()
    if rank == 1:  # lp_pool1d takes no tuple
        plain = {name: value[0] for name, value in plain.items()}
    y = getattr(F, f"lp_pool{rank}d")(t, p, **plain)
    got = kernels("lp_pool", dims)(positive, dims, p)
    close(got, y)
    g = integers(rng, dims.y_shape, dtype)
    close(kernels("lp_pool_grad", dims)(positive, got, g, dims, p), torch.autograd.grad(y, t, torch.from_numpy(g))[0])


def best(op, dims):
    return registry.choose(op, dims, np.dtype(np.float32)).fn


@pytest.mark.parametrize("seed", range(60))
def test_against_torch(seed):
    compare_with_torch(seed, best)


@pytest.mark.parametrize("seed", range(6))
def test_reference_against_torch(seed):
    compare_with_torch(1000 + seed, lambda op, dims: getattr(reference, op))


@pytest.mark.sweep
@pytest.mark.parametrize("algorithm", ["reference", "direct"])
@pytest.mark.parametrize("block", range(10))
def test_against_torch_thousands(block, algorithm):
    for seed in range(10_000 + 300 * block, 10_000 + 300 * (block + 1)):
        compare_with_torch(seed, lambda op, dims: registry.choose(op, dims, np.dtype(np.float32), algorithm=algorithm).fn)


def test_torch_keeps_the_last_nan_we_the_first():
    torch = pytest.importorskip("torch", reason="PyTorch (extra `bench`) is what this compares with")
    x = np.array([[[np.nan, 1, np.nan]]])
    y, at = torch.nn.functional.max_pool1d(torch.from_numpy(x), 3, return_indices=True)
    assert np.isnan(y.item()) and at.item() == 2
    y, at = reference.max_pool(x, pool_dims(x.shape, 3))
    assert np.isnan(y.item()) and at.item() == 0


# -- geometry that cannot be -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, numbers", [
    ({"kernel_size": 3, "padding": 3}, ["starts at -3", "input (size 5", "kernel 3", "padding 3+3"]),
    ({"kernel_size": 2, "stride": 1, "dilation": 7, "padding": 5}, ["holds no element", "dilation 7"]),
    ({"kernel_size": 6}, ["input 5", "= 6"]),
    ({"kernel_size": 2, "stride": 0}, ["stride", "0"]),
    ({"kernel_size": 0}, ["kernel_size", "0"]),
])
def test_impossible_geometry_says_why(arguments, numbers):
    with pytest.raises(ValueError) as error:
        pool_dims((1, 1, 5, 5), **arguments)
    assert all(n in str(error.value) for n in numbers), error.value


def test_impossible_adaptive_sizes():
    for size, message in ((0, "at least 1"), ((2, 3, 4), "3 numbers for 2")):
        with pytest.raises(ValueError, match=message):
            adaptive_dims((1, 1, 5, 5), size)


def test_deep_padding_is_taken_where_pytorch_refuses():
    dims = pool_dims((1, 1, 4), 3, stride=1, padding=2)
    y, at = reference.max_pool(np.array([[[-4.0, -3, -2, -1]]]), dims)
    assert np.array_equal(y, [[[-4, -3, -2, -1, -1, -1]]])
    assert np.array_equal(at, [[[0, 1, 2, 3, 3, 3]]])
