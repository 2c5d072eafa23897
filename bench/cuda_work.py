"""What measures for bench/cuda.py, in a process of its own: `python -m bench.cuda_work` takes a job a line, answers in JSON.

    card                  {"machine": ..., "peaks": ..., "bandwidth": ...}
    layer NAME@BATCH      {"row": ...} for each contestant of each map: the chosen kernel, im2col, Winograd's tiles, cuDNN
    slow NAME@BATCH       the same for the rungs that are there to be read
    step NET@BATCH        {"row": ...} for each way of running a training step

What is wrong or cannot run is a {"failure": ...}, and {"done": ...} ends a job. A kernel that goes astray takes CUDA down for
its process: then this one says so and leaves, and whoever asks starts another. In Numba's simulator all of it runs as well,
on tiny problems, with PyTorch on the CPU in cuDNN's place: a rehearsal.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from tinyconv import cases
from tinyconv.bench.task import SLOTS
from tinyconv.dims import ConvDims
from tinyconv.kernels import gpu
from tinyconv.kernels.gpu import cuda, int32
from tinyconv.registry import Kernel, choose, kernels

SLOW, TILES = ("cuda_shared", "cuda_naive"), "cuda_winograd"
NEAR = 1e-3  # how far off cuDNN and our inexact kernels may be, of the largest answer: Winograd in float32 rounds by some 1e-5
CHAINS, ROUNDS = 8, 4096  # independent sums of a thread, and steps of each, that measure the peak
NO_TORCH = "nothing to compare with: "


# the clock and the card

class DeviceClock:
    """Times between two events on the current stream."""

    def __init__(self) -> None:
        self.cupy = gpu.xp()
        self.flush = self.cupy.empty(256 << 20, np.uint8)

    def times(self, fn: Callable[[], Any], seconds: float, least: int = 5, most: int = 40, burst: int = 0) -> list[float]:
        """Seconds of some calls, sorted, after one that is not counted: each from a cold L2, or `burst` of them in a row."""
        event = self.cupy.cuda.Event
        fn()
        found: list[float] = []
        while len(found) < least or (len(found) < most and sum(found) < seconds):
            marks = []
            for _ in range(least):
                for value in range(0 if burst else 2):  # twice: it keeps the GPU busy while Python is getting ready
                    self.flush.fill(len(marks) + value)
                start, stop = event(), event()
                start.record()
                for _ in range(burst or 1):
                    fn()
                stop.record()
                marks.append((start, stop))
            self.cupy.cuda.runtime.deviceSynchronize()
            found += [self.cupy.cuda.get_elapsed_time(*pair) / 1000 / (burst or 1) for pair in marks]
        return sorted(found)

    def card(self) -> dict[str, Any]:
        """What the record says about the card."""
        runtime = self.cupy.cuda.runtime
        facts = runtime.getDeviceProperties(runtime.getDevice())
        return {"card": facts["name"].decode(), "capability": f"{facts['major']}.{facts['minor']}",
                "multiprocessors": facts["multiProcessorCount"], "memory": facts["totalGlobalMem"],
                "l2": facts["l2CacheSize"], "driver": runtime.driverGetVersion(), "cuda": runtime.runtimeGetVersion(),
                "cupy": self.cupy.__version__}


class HostClock:
    """What stands for it in a rehearsal: one call, timed on the host. Its figures mean nothing."""

    def times(self, fn: Callable[[], Any], seconds: float, least: int = 1, most: int = 1, burst: int = 0) -> list[float]:
        start = time.perf_counter()
        fn()
        return [time.perf_counter() - start]

    def card(self) -> dict[str, Any]:
        return {"card": "the simulator"}


Clock = DeviceClock | HostClock


def machine(clock: Clock) -> dict[str, Any]:
    """The card, the packages, and a sentence for each thing that is not there."""
    torch, why = pytorch()
    return {**clock.card(), "torch": torch and torch.__version__, "cudnn": torch and torch.backends.cudnn.version(),
            "notes": [why] if why else []}


@cache
def _chains() -> gpu.Function:
    real = gpu.real("float32")

    @gpu.jit
    def chains(out, rounds, scale, shift):
        """Multiply-adds that never leave the registers: CHAINS sums of each thread, none waiting for another."""
        acc = cuda.local.array(CHAINS, real)
        for i in range(CHAINS):
            acc[i] = real(i)
        for _ in range(rounds):
            for i in range(CHAINS):
                acc[i] = acc[i] * scale + shift
        total = real(0)
        for i in range(CHAINS):
            total += acc[i]
        out[int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)] = total

    return chains


@cache
def _triad() -> gpu.Function:
    @gpu.jit
    def triad(a, b, c, scale, n):
        """a = b + scale*c: two arrays read, one written."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i < n:
            a[i] = b[i] + scale * c[i]

    return triad


def peak(clock: Clock) -> float:
    """Multiply-adds of float32 a second, two operations each."""
    blocks, block, rounds = (2, 4, 3) if gpu.simulated() else (132 * 16, 256, ROUNDS)
    out = gpu.xp().empty(blocks * block, np.float32)
    seconds = clock.times(lambda: gpu.launch(_chains(), blocks, block, out, rounds, np.float32(0.5), np.float32(1)), 0.2)[0]
    return 2.0 * CHAINS * rounds * out.size / seconds


def bandwidth(clock: Clock) -> float:
    """Bytes a second of a triad over arrays that no cache holds."""
    n, block = (64, 4) if gpu.simulated() else (1 << 27, 256)
    a, b, c = (gpu.xp().ones(n, np.float32) for _ in range(3))
    seconds = clock.times(lambda: gpu.launch(_triad(), gpu.cells(n, block), block, a, b, c, np.float32(0.5), n), 0.2)[0]
    return 3.0 * a.nbytes / seconds


# what is timed

@cache
def pytorch() -> tuple[Any, str]:
    """PyTorch with TF32 off, where it can take part; else None, and a sentence that says why it does not."""
    try:
        import torch
    except ImportError as error:
        return None, f"{NO_TORCH}PyTorch is not installed (pip install torch)" if isinstance(error, ModuleNotFoundError) else \
            f"{NO_TORCH}PyTorch cannot be imported: {error}"
    if not gpu.simulated():
        if not torch.cuda.is_available():
            return None, f"{NO_TORCH}PyTorch {torch.__version__} sees no GPU (is it a build for the CPU?)"
        if not torch.backends.cudnn.is_available():
            return None, f"{NO_TORCH}PyTorch {torch.__version__} comes without cuDNN"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return torch, ""


def cudnn(op: str, a: Any, b: Any, dims: ConvDims) -> Callable[[], Any]:
    """The same map by PyTorch, on the same memory. Raises: ValueError for padding that cuDNN does not take."""
    torch, _ = pytorch()
    if any(lo != hi for lo, hi in dims.padding):
        raise ValueError("cuDNN takes no padding that differs from side to side")
    a, b = torch.from_dlpack(a), torch.from_dlpack(b)
    rest = (dims.stride, [lo for lo, _ in dims.padding], dims.dilation, False, [0] * dims.rank, dims.groups)
    if op == "conv":
        return lambda: torch.ops.aten.convolution(a, b, None, *rest)
    backward, slot = torch.ops.aten.convolution_backward, "x" if op == "conv_input_grad" else "w"
    like = torch.empty(getattr(dims, f"{slot}_shape"), device=a.device)
    if slot == "x":
        return lambda: backward(a, like, b, None, *rest, [True, False, False])[0]
    return lambda: backward(b, a, like, None, *rest, [False, True, False])[1]


def drawn(dims: ConvDims) -> dict[str, Any]:
    """x, w and y of whole numbers from -3 to 3: sums of theirs are exact in float32 up to 2**24, an answer right or wrong."""
    rng = np.random.default_rng(0)
    return {slot: gpu.to_device(rng.integers(-3, 4, getattr(dims, f"{slot}_shape"), np.int8)).astype(np.float32)
            for slot in "xwy"}


def contestants(op: str, dims: ConvDims, slow: bool) -> Iterator[tuple[str, Kernel | None]]:
    """The chosen kernel, the tiled one, the baseline, Winograd's tiles where they fit, and cuDNN; or the slow rungs."""
    ladder = {k.algorithm: k for k in kernels(op) if k.device == "cuda"}
    if slow:
        yield from ((name, ladder[name]) for name in SLOW)
        return
    chosen = choose(op, dims, np.dtype("float32"), "cuda").algorithm
    tiles = [TILES] if not ladder[TILES].refuse(dims, np.dtype("float32")) else []
    for name in dict.fromkeys((chosen, "cuda_tiled", "cuda_im2col", *tiles)):
        yield name, ladder[name]
    if pytorch()[0]:
        yield "cudnn", None


def layer(case: str) -> ConvDims:
    """The dims of NAME@BATCH, of cases.layers or in a rehearsal of cases.small. Raises: ValueError for no such layer."""
    name, _, batch = case.partition("@")
    known = {**cases.small, **cases.layers} if gpu.simulated() else cases.layers
    if name not in known:
        raise ValueError(f"no layer {name!r}; there are: {', '.join(cases.layers)}")
    return replace(known[name], N=int(batch))


def conv_rows(clock: Clock, case: str, slow: bool) -> Iterator[dict]:
    """{"row": ...} or {"failure": ...} for each contestant of each map of a layer."""
    dims = layer(case)
    arrays = drawn(dims)
    for op, slots in SLOTS.items():
        want, (a, b) = None, (arrays[slot] for slot in slots)
        for algorithm, kernel in contestants(op, dims, slow):
            about = {"suite": "cuda", "op": op, "case": case, "dtype": "float32", "threads": 0,
                     "library": "tinyconv" if kernel else "torch", "algorithm": algorithm}
            try:
                if want is None:
                    want = expected(op, a, b, dims)
                fn = partial(kernel.fn, a, b, dims) if kernel else cudnn(op, a, b, dims)
                judge(fn(), want, exact=kernel is not None and kernel.exact)
                times = clock.times(fn, 0.02, 2) if slow else clock.times(fn, 0.05)
            except Exception as error:  # a row that fails is shown, and the others go on
                yield {"failure": {**about, "why": why(error)}}
                continue
            yield {"row": {**about, **record_of(times), "flops": dims.flops, "bytes": dims.bytes(),
                           "scratch": kernel.scratch(dims, np.dtype("float32")) if kernel else None}}


def expected(op: str, a: Any, b: Any, dims: ConvDims) -> Any:
    """The answer, by patches and cuBLAS in float64."""
    ladder = {k.algorithm: k for k in kernels(op) if k.device == "cuda"}
    return ladder["cuda_im2col"].fn(a.astype(np.float64), b.astype(np.float64), dims)


def judge(got: Any, want: Any, exact: bool) -> None:
    """Raises ArithmeticError where an answer is not `want`: exactly, or within NEAR of its largest number."""
    got = got if gpu.is_device(got) else gpu.to_device(gpu.xp().from_dlpack(got))
    off, most = float(abs(got - want).max()), float(abs(want).max())
    if not off <= (0 if exact else NEAR * most):  # not a number is wrong, too
        raise ArithmeticError(f"wrong: off by {off:.3g}, where the largest answer is {most:.3g}")


def record_of(times: list[float]) -> dict[str, float]:
    """Median and quartiles of sorted times, in seconds."""
    n = len(times)
    return {"median": times[n // 2], "low": times[n // 4], "high": times[3 * n // 4], "calls": n}


def why(error: BaseException) -> str:
    """An error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


# jobs

def work(clock: Clock, job: str) -> Iterator[dict]:
    """The answers to a job. Raises: ValueError for what is no job."""
    kind, _, case = job.partition(" ")
    if kind == "card":
        yield {"machine": machine(clock), "peaks": {"float32": peak(clock)}, "bandwidth": {"bytes": bandwidth(clock)}}
    elif kind in ("layer", "slow"):
        yield from conv_rows(clock, case, kind == "slow")
    elif kind == "step":
        from .cuda_steps import step_rows

        yield from step_rows(clock, pytorch()[0], case)
    else:
        raise ValueError(f"no job {job!r}")


def healthy() -> bool:
    """Whether the GPU still answers: after an illegal access every call of its process fails."""
    try:
        return bool(gpu.to_host(gpu.xp().ones(1)).sum() == 1)
    except Exception:
        return False


def serve(jobs: Iterator[str], answer: Callable[[dict], None]) -> None:
    """Answer each job, until there are no more or the GPU is lost."""
    clock: Clock = HostClock() if gpu.simulated() else DeviceClock()
    for job in map(str.strip, jobs):
        try:
            for found in work(clock, job):
                answer(found)
        except Exception as error:
            kind, _, case = job.partition(" ")
            answer({"failure": {"op": kind, "case": case, "library": "tinyconv", "algorithm": "the bench", "why": why(error)}})
        well = healthy()
        answer({"done": job, "well": well})
        if not well:
            return


def main() -> None:
    """Jobs from stdin, answers to stdout; what libraries print there goes to stderr."""
    with os.fdopen(os.dup(1), "w", buffering=1) as out:
        os.dup2(2, 1)

        def answer(found: dict) -> None:
            out.write(json.dumps(found) + "\n")

        serve(iter(sys.stdin.readline, ""), answer)


if __name__ == "__main__":
    main()
