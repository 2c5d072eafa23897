"""Launches recorded once and then launched as one: a CUDA graph, for steps that are bound by their launches.

What is recorded is repeated to the letter: the same kernels on the same memory with the same numbers. So what would be the
same in every launch and should not (random numbers, a count of steps) refuses to be recorded, and cuBLAS, which CuPy does not
record, is done without. Read next: train/recorded.py, a training step as a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from . import gpu, gpu_simulator


class Graph:
    """What a function launches, as a CUDA graph.

    The function must do the same to the same memory each time, copy nothing from the host, wait for nothing and, but for
    linear layers, multiply no matrices: CuPy raises NotImplementedError for cuBLAS, RuntimeError for the copy. It runs WARM
    times as it is, in memory of the graph's own, which nothing else is given afterwards; the next call records it. In the
    simulator, which has no graphs, each call runs the function.
    """

    WARM = 2  # kernels are compiled, tables copied, and the memory is there

    def __init__(self, fn: Callable[[], None]) -> None:
        self.fn, self.calls = fn, 0
        self.pool: Any = None
        self.stream: Any = None
        self.graph: Any = None
        self.held: list[Any] = []

    def __call__(self) -> None:
        self.calls += 1
        if gpu.simulated():
            self._run(self.calls > self.WARM)
            return
        if self.graph is None:
            self._prepare(gpu.xp())
        if self.graph is not None:
            self.graph.launch()

    def _prepare(self, cupy: Any) -> None:
        """Run the function, or record it, on a stream and in memory of its own."""
        if self.pool is None:
            self.pool, self.stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.get_current_stream().synchronize()
        with cupy.cuda.using_allocator(self.pool.malloc), self.stream:
            if self.calls <= self.WARM:
                self._run(False)
                self.stream.synchronize()
                return
            self.stream.begin_capture()
            try:
                self._run(True)
            except BaseException:
                with suppress(Exception):  # what is half recorded is no graph, and the error that matters is the first
                    self.stream.end_capture()
                raise
            self.graph = self.stream.end_capture()

    def _run(self, recording: bool) -> None:
        self.held.clear()
        with _inside("recording" if recording else "warming up", self.held):
            self.fn()


_graph = ""  # what the innermost Graph is doing, if one is at work


@contextmanager
def _inside(doing: str, held: list[Any]) -> Iterator[None]:
    global _graph
    before, _graph, gpu.held = (_graph, gpu.held), doing, held
    gpu_simulator.recording = gpu.simulated() and doing == "recording"
    try:
        yield
    finally:
        (_graph, gpu.held), gpu_simulator.recording = before, False


def in_graph() -> bool:
    """Whether what runs now is the function of a Graph, recorded or on its first runs, which must launch the same kernels.

    CuPy raises NotImplementedError for a call of cuBLAS that would be recorded (14.2).
    """
    return bool(_graph)


def refuse_recording(what: str) -> None:
    """Raise RuntimeError inside of a Graph, for what would be the same in every launch of it and should not."""
    if _graph == "recording":
        raise RuntimeError(f"{what} in a step that is recorded as a CUDA graph would be repeated in every launch: "
                           "run without the graph")
