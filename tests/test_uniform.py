"""Random numbers for masks: SplitMix64's own, the same by every kernel, on any number of threads."""

import numba
import numpy as np
import pytest

from tinyconv import ones
from tinyconv.kernels import uniform
from tinyconv.kernels.uniform import BLOCK
from tinyconv.nn.functional import dropout
from tinyconv.registry import kernels

# the first outputs of Vigna's reference program splitmix64.c from the state 1234567
KNOWN = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
on_the_host = pytest.mark.parametrize("kernel", [k for k in kernels("uniform") if k.device == "cpu"], ids=lambda k: k.algorithm)


@on_the_host
@pytest.mark.parametrize(("dtype", "bits"), [("float16", 11), ("float32", 24), ("float64", 53)])
def test_numbers_are_the_upper_bits_of_splitmix64(kernel, dtype, bits):
    if why := kernel.refuse((5,), np.dtype(dtype)):
        pytest.skip(why)
    want = [(z >> 64 - bits) / 2**bits for z in KNOWN]
    got = kernel.fn(1234567, (5,), np.dtype(dtype))
    assert got.dtype == dtype and got.tolist() == want


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 3), (1,), (7, 5, 3), (3, BLOCK + 5)], ids=str)
@pytest.mark.parametrize("key", [0, 5, 2**64 - 1])
def test_one_pass_is_what_many_are(dtype, shape, key):
    want = uniform.reference(key, shape, np.dtype(dtype))
    got = uniform.direct(key, shape, np.dtype(dtype))
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
    assert ((got >= 0) & (got < 1)).all()


def test_threads_do_not_matter():
    before, shape = numba.get_num_threads(), (2, BLOCK)
    try:
        found = []
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            found.append(uniform.direct(9, shape, np.dtype("float32")))
    finally:
        numba.set_num_threads(before)
    assert all((f == found[0]).all() for f in found)


def test_masks_follow_from_the_generator():
    x = ones(100, 100)
    first, again, other = (dropout(x, 0.3, generator=np.random.default_rng(seed)).numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # 10,000 draws: the share that is dropped has a deviation of 0.0046, of which these are five
    assert abs((first == 0).mean() - 0.3) < 0.023


def test_masks_of_other_dtypes():
    """Half of float16 is dropped, and scaled; of integers no half can be."""
    y = dropout(ones(100, 100, dtype="float16"), 0.5, generator=np.random.default_rng(3)).numpy()
    assert y.dtype == np.float16 and set(y.ravel()) == {0, 2} and abs(y.mean() - 1) < 0.05
    with pytest.raises(TypeError, match="floating-point input, got int64"):
        dropout(ones(3, dtype="int64"), 0.5)
