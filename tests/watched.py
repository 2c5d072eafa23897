"""Races in Numba's simulator: who reads and writes an element, one access at a time. Its ends the simulator watches itself.

    a race          two threads at one element, one of them writing, with no barrier of their block between them
    not written     an element of shared memory that is read before a thread of the block wrote it

compute-sanitizer finds races in shared memory on a card (racecheck); here those in arrays are found too, and nothing depends
on which thread comes first, since who touched an element is kept until the next barrier.
"""

import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from numba.np.numpy_support import as_dtype

from tinyconv.kernels import gpu, gpu_simulator


class Fault(Exception):
    """What a kernel must not do to memory."""


class Watched:
    """A flat array as a kernel sees it. An access is (block, epoch, thread); an epoch lasts from barrier to barrier."""

    def __init__(self, array, name, shared=False):
        self.array, self.name, self.shared = array, name, shared
        self.wrote, self.read = {}, {}

    def __getitem__(self, i):
        value, i, me = self.array[i], int(i), _access()  # outside, this raises
        last = self.wrote.get(i)
        if self.shared and (last is None or last[0] != me[0]):
            raise Fault(f"{self.name}[{i}] is read by thread {me[2]}, and not written before")
        self._compare(i, me, last, "read", "written")
        before = self.read.get(i)
        others = before is not None and before != me and (before[:2] == me[:2] or (before[0] != me[0] and not self.shared))
        self.read[i] = (*me[:2], "several") if others else me
        return value

    def __setitem__(self, i, value):
        self.array[i] = value
        i, me = int(i), _access()
        self._compare(i, me, self.wrote.get(i), "written", "written")
        self._compare(i, me, self.read.get(i), "written", "read")
        self.wrote[i] = me

    def _compare(self, i, me, other, now, then):
        if other is None or other == me:
            return
        if other[:2] == me[:2] or (other[0] != me[0] and not self.shared):
            raise Fault(f"{self.name}[{i}] is {now} by thread {me[2]} of block {me[0]} and {then} by {other[2]} of {other[0]}")


def _access():
    thread = threading.current_thread()
    return tuple(thread.blockIdx), getattr(thread, "epoch", 0), thread.thread_id


@contextmanager
def watching():
    """Arrays that kernels are given, and shared memory, are watched. Yields the kernels that were launched."""
    from numba.cuda.simulator import kernel, kernelapi

    launched, seen = set(), {}
    gpu_simulator.teach()
    launch, argument, barrier = gpu.launch, gpu._argument, kernel.BlockThread.syncthreads

    def watch_launch(f, *args):
        seen.clear()
        launched.add((f.fn.__code__.co_filename, f.fn.__code__.co_firstlineno))
        launch(f, *args)

    def watch_argument(f, a):
        a = argument(f, a)
        if not isinstance(a, np.ndarray):
            return a
        return seen.setdefault((a.ctypes.data, a.size), Watched(a.view(gpu_simulator.Bounded), f"an array of {f.__name__}"))

    def watch_shared(self, shape, dtype, alignment=None):
        caller = sys._getframe(1)
        made = Watched(np.empty(shape, as_dtype(dtype)).view(gpu_simulator.Bounded), "shared memory", shared=True)
        return self._allocations.setdefault((caller.f_code.co_filename, caller.f_lineno), made)

    def watch_barrier(self):
        barrier(self)
        self.epoch = getattr(self, "epoch", 0) + 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_simulator, "teach", lambda: None)  # it would be taught again, and forget what follows
        patch.setattr(gpu, "launch", watch_launch)
        patch.setattr(gpu, "_argument", watch_argument)
        patch.setattr(kernelapi.FakeCUDAShared, "array", watch_shared)
        patch.setattr(kernel.BlockThread, "syncthreads", watch_barrier)
        yield launched
