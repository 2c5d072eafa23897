"""A number of threads for tests of small arrays: on a busy machine every join of threads waits for a time slice."""

from contextlib import contextmanager

import numba


@contextmanager
def on_threads(number):
    before = numba.get_num_threads()
    numba.set_num_threads(number)
    try:
        yield
    finally:
        numba.set_num_threads(before)
