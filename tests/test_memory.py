"""Arrays on cache lines: where NumPy's begin once the kernels are there, and that they are arrays like any other."""

import sys
import threading

import numpy as np
import pytest
from numpy._core.multiarray import get_handler_name

from tinyconv.kernels import compiled

LINE, FROM = 64, 4096
aligned = pytest.mark.skipif(compiled._aot is None or sys.platform != "linux", reason="the extension does it, on Linux")


@aligned
def test_large_arrays_begin_on_a_line():
    assert get_handler_name(np.empty(FROM, np.uint8)) == "tinyconv"
    kept = [np.empty(size, np.uint8) for size in (*range(FROM, 300_000, 4_321), 1 << 20, 40 << 20)]
    assert {a.ctypes.data % LINE for a in kept} == {0}
    # and those that NumPy makes of them
    assert all((a + 1).ctypes.data % LINE == 0 and a.copy().ctypes.data % LINE == 0 for a in kept[:20])


@aligned
def test_they_hold_what_is_written():
    """Two arrays that overlapped, or a resize that lost its content, would show."""
    rng = np.random.default_rng(0)
    kept: list[tuple[int, np.ndarray]] = []
    for number in range(400):
        kept.append((number, np.full(int(rng.integers(1, 40_000)), number)))
        if len(kept) > 50:
            n, a = kept.pop(int(rng.integers(len(kept))))
            assert (a == n).all()
    a = np.arange(10_000)
    for size in (30_000, 200_000, 500):
        a.resize(size, refcheck=False)
        np.testing.assert_array_equal(a[:500], np.arange(500))
    assert not np.zeros(100_000).any()


@aligned
def test_an_array_may_die_in_another_thread_and_come_from_one():
    made, seen = [np.ones(50_000)], []

    def work():
        seen.append(made.pop().sum())
        made.append(np.full(50_000, 2.0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [50_000] and made.pop().sum() == 100_000


def test_an_allocator_that_is_set_stays():
    """Here it is the first call's."""
    assert compiled.align_arrays() is False
