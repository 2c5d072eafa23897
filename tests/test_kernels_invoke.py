"""Loops shared out to threads: each item once, whatever their number; and the same bits from a compiler and from its cache."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import config

from tinyconv.kernels.invoke import each
from tinyconv.kernels.jit import njit


@njit
def count_up(many, out, step, rows, twice, by):
    each(many, _count_up, (out, step, rows, twice, by))


@njit(inner=True)
def _count_up(t, out, step, rows, twice, by):
    row = rows[t % rows.shape[0]]
    out[t] += (t * step + row[1]) * by[0] * (2 if twice else 1)


@njit
def pick_threads(out):
    each(out.size, _pick_thread, (out,))


@njit(inner=True)
def _pick_thread(t, out):
    for _ in range(20_000):  # long enough for another thread to wake
        out[t] += 1


@njit
def names(who):
    each(who.size, _name, (who,))


@njit(inner=True)
def _name(t, who):
    who[t] = numba.get_thread_id()


@pytest.fixture
def threads():
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 100])
@pytest.mark.parametrize("number", sorted({1, config.NUMBA_NUM_THREADS}))
def test_each_item_is_done_once_with_arguments_of_every_kind(threads, count, number):
    numba.set_num_threads(number)
    out, rows = np.zeros(count), np.arange(6).reshape(2, 3)
    count_up(count, out, 10, rows, True, (3, 4.0))
    np.testing.assert_array_equal(out, [(10 * t + 3 * (t % 2) + 1) * 3 * 2 for t in range(count)])


def test_the_number_of_threads_stays_what_it_was(threads):
    """A launch names a number to Numba, which keeps it: naming that of the items once made eight threads of two."""
    for number in {1, config.NUMBA_NUM_THREADS}:
        numba.set_num_threads(number)
        for count in (1, 2, 64):
            pick_threads(out := np.zeros(count))
            assert numba.get_num_threads() == number and (out == 20_000).all()


def test_a_single_item_is_done_here(threads):
    """Without a launch: whoever calls does it, however many threads there are."""
    numba.set_num_threads(config.NUMBA_NUM_THREADS)
    for count in (0, 1):
        pick_threads(out := np.zeros(count))
        names(who := np.full(count, -1))
        assert (out == 20_000).all() and (who == 0).all()


def test_arrays_are_given_back():
    """The threads count no references: as many are held before as after."""
    out, rows = np.zeros(50), np.arange(6).reshape(2, 3)
    count_up(50, out, 1, rows, False, (1, 1.0))
    before = sys.getrefcount(out), sys.getrefcount(rows)
    for _ in range(100):
        count_up(50, out, 1, rows, False, (1, 1.0))
    assert (sys.getrefcount(out), sys.getrefcount(rows)) == before


SUMS = """
import hashlib
import numpy as np
from numba.core import event
from tinyconv.dims import NormDims
from tinyconv.kernels import linear, pointwise
from tinyconv.kernels.norm import direct

compiled = []
class Listener(event.Listener):
    def on_start(self, e): compiled.append(e.data["dispatcher"].py_func.__name__)
    def on_end(self, e): pass
event.register("numba:compile", Listener())

rng = np.random.default_rng(0)
x, y = rng.standard_normal((2, 9, 5, 13, 13), np.float32)
dims = NormDims(9, 5, 1, 169, 5)
ones = np.ones(5, np.float32)
out = [pointwise.channel_sum(x, x.shape), *pointwise.bias_relu_grad(x, y, x.shape)]
out += direct.norm(x, ones, ones, dims, 1e-5)
out += direct.norm_grad(y, x, ones, *out[-2:], dims, 1e-5, False)
a, w, g = (rng.standard_normal(shape, np.float32) for shape in ((10, 520), (256, 520), (10, 256)))
sizes = 10, 520, 256
out += [linear.thin(a, w, sizes), linear.thin_input_grad(g, w, sizes), linear.thin_weight_grad(a, g, sizes)]
print(hashlib.sha256(b"".join(a.tobytes() for a in out)).hexdigest(), len(compiled))
"""


@pytest.mark.skipif(config.DISABLE_JIT, reason="without the compiler there is no cache")
def test_the_cache_gives_the_bits_of_the_compiler(tmp_path):
    """Sums whose order is the compiler's: in the process that compiles, and in one that reads what it left."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent.parent)}
    first, second = (subprocess.run([sys.executable, "-c", SUMS], env=env, capture_output=True, text=True, check=True
                                    ).stdout.split() for _ in range(2))
    assert int(first[1]) > 0 and int(second[1]) == 0
    assert first[0] == second[0]
