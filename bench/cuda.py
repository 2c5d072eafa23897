"""The CUDA kernels on a GPU, beside cuDNN: `python -m bench.cuda`. One command, some minutes, a table last.

Every answer is judged before it is timed: on small whole numbers, ours must equal a product over patches in float64. Times are
those of device events around a call; before each call the L2 cache is filled with something else, which also keeps the GPU
busy while Python is getting ready, so that launches are not counted. Shown are medians. PyTorch runs without TF32, and
cuDNN picks its fastest algorithm (benchmark = True). The card's peak of multiply-adds and its bandwidth are measured first.
Training steps: those of the MNIST networks, by calls (eager) and as one captured graph. Records go to bench/results/CARD.
Without a GPU it says what is missing, and exits with 2; --rehearse walks through it on tiny problems in the simulator.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np

from tinyconv import cases
from tinyconv.bench import record
from tinyconv.dims import ConvDims
from tinyconv.kernels import gpu
from tinyconv.kernels.gpu import cuda, int32
from tinyconv.registry import Kernel, choose, kernels

from .cuda_steps import step_rows

OPS = {"conv": "xw", "conv_input_grad": "yw", "conv_weight_grad": "xy"}
BATCHES = (64, 256)
SLOW = ("cuda_naive", "cuda_shared")  # timed at the first batch only, and fewer times
GOAL = 0.7  # of cuDNN's rate, on the geometric mean
NEAR = 1e-3  # how far cuDNN may be off, of the largest answer: Winograd in float32 rounds by some 1e-5
CHAINS, ROUNDS = 8, 4096  # independent sums of a thread, and steps of each, that measure the peak


# the clock and the card

class DeviceClock:
    """Times between two events on the current stream, each call from a cold L2."""

    def __init__(self) -> None:
        self.cupy = gpu.xp()
        self.flush = self.cupy.empty(256 << 20, np.uint8)

    def times(self, fn: Callable[[], Any], seconds: float, least: int = 5, most: int = 40) -> list[float]:
        """Seconds of some calls, sorted, after one that is not counted."""
        events = self.cupy.cuda.Event
        fn()
        found: list[float] = []
        while len(found) < least or (len(found) < most and sum(found) < seconds):
            marks = []
            for _ in range(least):
                self.flush.fill(len(marks))
                self.flush.fill(1 + len(marks))
                start, stop = events(), events()
                start.record()
                fn()
                stop.record()
                marks.append((start, stop))
            self.cupy.cuda.runtime.deviceSynchronize()
            found += [self.cupy.cuda.get_elapsed_time(*pair) / 1000 for pair in marks]
        return sorted(found)

    def card(self) -> dict[str, Any]:
        """What the record says about the card."""
        runtime, torch = self.cupy.cuda.runtime, _torch()
        facts = runtime.getDeviceProperties(runtime.getDevice())
        return {"card": facts["name"].decode(), "capability": f"{facts['major']}.{facts['minor']}",
                "multiprocessors": facts["multiProcessorCount"], "memory": facts["totalGlobalMem"],
                "l2": facts["l2CacheSize"], "driver": runtime.driverGetVersion(), "cuda": runtime.runtimeGetVersion(),
                "cupy": self.cupy.__version__, "torch": torch.__version__ if torch else None,
                "cudnn": torch.backends.cudnn.version() if torch else None}


class HostClock:
    """What stands for it in a rehearsal: one call, timed on the host. Its figures mean nothing."""

    def times(self, fn: Callable[[], Any], seconds: float, least: int = 1, most: int = 1) -> list[float]:
        start = time.perf_counter()
        fn()
        return [time.perf_counter() - start]

    def card(self) -> dict[str, Any]:
        return {"card": "the simulator", "torch": None}


Clock = DeviceClock | HostClock


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
    blocks, block, rounds = (132 * 16, 256, ROUNDS) if isinstance(clock, DeviceClock) else (2, 4, 3)
    out = gpu.xp().empty(blocks * block, np.float32)
    seconds = clock.times(lambda: gpu.launch(_chains(), blocks, block, out, rounds, np.float32(0.5), np.float32(1)), 0.2)[0]
    return 2.0 * CHAINS * rounds * out.size / seconds


def bandwidth(clock: Clock) -> float:
    """Bytes a second of a triad over arrays that no cache holds."""
    n, block = (1 << 27, 256) if isinstance(clock, DeviceClock) else (64, 4)
    a, b, c = (gpu.xp().ones(n, np.float32) for _ in range(3))
    seconds = clock.times(lambda: gpu.launch(_triad(), gpu.cells(n, block), block, a, b, c, np.float32(0.5), n), 0.2)[0]
    return 3.0 * a.nbytes / seconds


# what is timed

@cache
def _torch() -> Any:
    """PyTorch where it is installed and sees the GPU, with TF32 off; else None."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available() or gpu.simulated():
        return None
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return torch


def cudnn(op: str, a: Any, b: Any, dims: ConvDims) -> Callable[[], Any]:
    """The same map by PyTorch, on the same memory. Raises: ValueError for padding that cuDNN does not take."""
    torch = _torch()
    if any(lo != hi for lo, hi in dims.padding):
        raise ValueError("cuDNN takes no padding that differs from side to side")
    a, b = torch.from_dlpack(a), torch.from_dlpack(b)
    rest = (dims.stride, [lo for lo, _ in dims.padding], dims.dilation, False, [0] * dims.rank, dims.groups)
    if op == "conv":
        return lambda: torch.ops.aten.convolution(a, b, None, *rest)
    backward, like = torch.ops.aten.convolution_backward, torch.empty
    if op == "conv_input_grad":
        x = like(dims.x_shape, device="cuda")
        return lambda: backward(a, x, b, None, *rest, [True, False, False])[0]
    w = like(dims.w_shape, device="cuda")
    return lambda: backward(b, a, w, None, *rest, [False, True, False])[1]


def operands(op: str, dims: ConvDims) -> list[Any]:
    """Whole numbers from -3 to 3: their sums are exact in float32 up to 2**24, and an answer is right or wrong."""
    rng = np.random.default_rng(0)
    shapes = [getattr(dims, f"{slot}_shape") for slot in OPS[op]]
    return [gpu.to_device(rng.integers(-3, 4, shape, np.int8).astype(np.float32)) for shape in shapes]


def contestants(op: str, dims: ConvDims, first: bool) -> Iterator[tuple[str, Kernel | None]]:
    """The chosen kernel, the baseline, cuDNN, and at the first batch the slow rungs."""
    chosen = choose(op, dims, np.dtype("float32"), "cuda")
    ladder = {k.algorithm: k for k in kernels(op) if k.device == "cuda"}
    yield chosen.algorithm, chosen
    if chosen.algorithm != "cuda_tiled":
        yield "cuda_tiled", ladder["cuda_tiled"]
    yield "cuda_im2col", ladder["cuda_im2col"]
    if _torch():
        yield "cudnn", None
    if first:
        for name in reversed(SLOW):
            yield name, ladder[name]


def conv_rows(clock: Clock, layers: dict[str, ConvDims], batches: tuple[int, ...], until: float, failures: list[dict]) \
        -> Iterator[dict]:
    """A row for each contestant of each map of each layer; wrong answers go to `failures`. Slow rungs go when time is short."""
    for batch in batches:
        for name, layer in layers.items():
            dims = replace(layer, N=batch)
            for op in OPS:
                a, b = operands(op, dims)
                want = _ladder(op)["cuda_im2col"].fn(a.astype(np.float64), b.astype(np.float64), dims)
                for algorithm, kernel in contestants(op, dims, batch == batches[0]):
                    if algorithm in SLOW and time.monotonic() > until:
                        continue
                    about = {"suite": "cuda", "op": op, "case": f"{name}@{batch}", "dtype": "float32", "threads": 0,
                             "library": "tinyconv" if kernel else "torch", "algorithm": algorithm}
                    try:
                        fn = partial(kernel.fn, a, b, dims) if kernel else cudnn(op, a, b, dims)
                        judge(fn(), want, exact=kernel is not None)
                        times = clock.times(fn, 0.02 if algorithm in SLOW else 0.05, 2 if algorithm in SLOW else 5)
                    except Exception as error:  # a row that fails is shown, and the others go on
                        failures.append({**about, "why": f"{type(error).__name__}: {error}"[:300]})
                        continue
                    yield {**about, **record_of(times), "flops": dims.flops, "bytes": dims.bytes(),
                           "scratch": kernel.scratch(dims, np.dtype("float32")) if kernel else None}


def _ladder(op: str) -> dict[str, Kernel]:
    return {k.algorithm: k for k in kernels(op) if k.device == "cuda"}


def judge(got: Any, want: Any, exact: bool) -> None:
    """Raises ArithmeticError where an answer is not `want`: exactly, or within NEAR of its largest number."""
    got = got if gpu.is_device(got) else gpu.xp().from_dlpack(got)
    off, most = float(abs(got - want).max()), float(abs(want).max())
    if not off <= (0 if exact else NEAR * most):  # not a number is wrong, too
        raise ArithmeticError(f"wrong: off by {off:.3g}, where the largest answer is {most:.3g}")


def record_of(times: list[float]) -> dict[str, float]:
    """Median and quartiles of sorted times, in seconds."""
    n = len(times)
    return {"median": times[n // 2], "low": times[n // 4], "high": times[3 * n // 4], "calls": n}


# the table

def lines(rec: dict) -> Iterator[str]:
    """The table: a line for each map of each layer, then the means against the goals, the steps and what failed."""
    card, peak_rate, memory = rec["machine"], rec["peaks"]["float32"], rec["bandwidth"]["bytes"]
    yield f"{card['card']}, {rec['when']}: measured {peak_rate / 1e12:.1f} TFLOP/s of float32, {memory / 1e12:.2f} TB/s"
    yield "times in us; TF/s and TB/s with their share of what was measured; x: how many times as long the other takes"
    found: dict[tuple[str, str], dict[str, dict]] = {}
    for row in rec["rows"]:
        if row["op"] in OPS:
            found.setdefault((row["op"], row["case"]), {})[row["algorithm"]] = row
    gains: dict[tuple[str, str], list[float]] = {}
    for op in OPS:
        yield ""
        yield f"{op:<18}{'kernel':<11}{'us':>9}{'TF/s':>6}{'peak':>6}{'TB/s':>6}{'mem':>6}{'x cudnn':>9}{'x im2col':>9}" \
              f"{'(memory)':>9}{'x shared':>9}{'x naive':>9}"
        for (of, case), by in found.items():
            if of == op and (ours := next(iter(by.values())))["library"] == "tinyconv":
                t = ours["median"]
                flops, moved = ours["flops"] / t, ours["bytes"] / t
                cells = [f"{by[other]['median'] / t:.2f}" if other in by else "-" for other in
                         ("cudnn", "cuda_im2col", "cuda_shared", "cuda_naive")]
                least = by.get("cuda_im2col", {}).get("scratch") or 0
                cells.insert(2, f"{ours['scratch'] / least:.2f}" if least else "-")
                for other in ("cudnn", "cuda_im2col"):
                    if other in by:
                        gains.setdefault((op, other), []).append(by[other]["median"] / t)
                yield f"{case:<18}{ours['algorithm'][5:]:<11}{1e6 * t:>9.1f}{flops / 1e12:>6.1f}{flops / peak_rate:>6.0%}" \
                      f"{moved / 1e12:>6.2f}{moved / memory:>6.0%}" + "".join(f"{cell:>9}" for cell in cells)
    yield ""
    for (op, other), values in gains.items():
        goal = f" (goal {GOAL})" if other == "cudnn" else ""
        yield f"{op}: {exp(sum(map(log, values)) / len(values)):.2f} x {other} on the geometric mean of {len(values)}{goal}"
    for row in (row for row in rec["rows"] if row["op"] == "step"):
        yield f"step of {row['case']:<14}{row['library']:<9}{row['algorithm']:<7}{1e6 * row['median']:>9.1f} us"
    for row in rec["failures"]:
        yield f"FAILED {row['op']} {row['case']} by {row['algorithm']}: {row['why']}"


def main() -> int:
    """Measure, record, show. Returns the exit status: 0, 1 where one of ours failed or was wrong, 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m bench.cuda", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--layers", default="", help="names of cases.layers, with commas; all of them by default")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--seconds", type=float, default=360, help="after which the slow rungs are left out")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--rehearse", action="store_true", help="tiny problems in the simulator; nothing is recorded")
    args = parser.parse_args()
    if (gpu.missing() or gpu.simulated()) and not args.rehearse:
        print(f"the CUDA bench needs a GPU: {gpu.missing() or 'NUMBA_ENABLE_CUDASIM=1 simulates one'}", file=sys.stderr)
        return 2
    clock: Clock = HostClock() if args.rehearse else DeviceClock()
    layers = {name: cases.small[name] for name in ("hand", "depthwise_twice")} if args.rehearse else \
        {name: cases.layers[name] for name in (args.layers.split(",") if args.layers else cases.layers)}
    batches = (2,) if args.rehearse else tuple(map(int, args.batches.split(",")))
    rec = {**record.new("cuda"), "machine": clock.card(), "peaks": {"float32": peak(clock)},
           "bandwidth": {"bytes": bandwidth(clock)}}
    until = time.monotonic() + args.seconds
    for row in (*conv_rows(clock, layers, batches, until, rec["failures"]),
                *step_rows(clock, _torch(), batches, rec["failures"], rehearse=args.rehearse)):
        rec["rows"].append(row)
        print(f"{row['op']} {row['case']} {row['algorithm']} {1e6 * row['median']:.1f} us", file=sys.stderr)
    if not args.rehearse:
        folder = args.out / re.sub(r"[^a-z0-9]+", "-", rec["machine"]["card"].lower()).strip("-")
        record.save(rec, folder / "cuda.json")
    print(*lines(rec), sep="\n")
    return int(any(row["library"] == "tinyconv" for row in rec["failures"]))


if __name__ == "__main__":
    sys.exit(main())
