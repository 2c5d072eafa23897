"""What a node of the tape costs beyond the arithmetic, in microseconds: `python -m bench.overhead [--json FILE]`.

Each case is a chain of nodes on 16 floats. Forward is timed as it records, backward as it walks; "NumPy" is the same calls
of NumPy alone, and the overhead is what remains of forward and backward without it. The cases take turns and the least of
many repeats counts: an interpreter's work is the same every time, and whatever else the machine does only adds to it.
The collector is off while a chain is timed, as in `timeit`. The goal is 5 microseconds a node.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

import tinyconv as tc
from tinyconv.tensor import Tensor

GOAL = 5.0
SIZE = 16

one = np.ones(SIZE, np.float32)
zero = np.float32(0)
column = np.ones((SIZE, 1), np.float32)
square = np.eye(4, dtype=np.float32)
c, m = tc.tensor(one), tc.tensor(square)


@dataclass(frozen=True)
class Case:
    """A step of a chain, which adds `nodes` to the tape, and the NumPy calls of its forward and backward pass."""

    name: str
    step: Callable[[Tensor, Tensor], Tensor]
    numpy: Callable[[], object]
    nodes: int = 1
    shape: tuple[int, ...] = (SIZE,)


# the second argument of a step is a leaf of its own, which costs a node too where it is used
CASES = (
    Case("add", lambda y, w: y + c, lambda: np.add(one, one)),
    Case("mul", lambda y, w: y * c, lambda: (np.multiply(one, one), np.multiply(one, one))),
    Case("mul by a leaf", lambda y, w: y * w, lambda: [np.multiply(one, one) for _ in range(3)] + [one.copy()], nodes=2),
    Case("mul by a number", lambda y, w: y * 0.5, lambda: (one * 0.5, one * 0.5)),
    Case("relu", lambda y, w: y.relu(), lambda: (np.maximum(one, 0), np.where(one > 0, one, zero))),
    Case("tanh(w y + c)", lambda y, w: (w * y + c).tanh(), lambda: (
        np.multiply(one, one), np.add(one, one), np.tanh(one), 1.0 - one * one, np.multiply(one, one),
        np.multiply(one, one), np.multiply(one, one), one.copy()), nodes=4),
    Case("reshape", lambda y, w: y.reshape(4, 4).reshape(16), lambda: [one.reshape(4, 4) for _ in range(4)], nodes=2),
    Case("sum, broadcast, mul", lambda y, w: y.sum(0, keepdim=True) * c, lambda: (
        one.sum((0,)), np.broadcast_to(one[:1], SIZE), np.multiply(one, one), np.multiply(one, one), one.sum((0,)),
        np.broadcast_to(one[:1], SIZE)), nodes=3),
    Case("matmul 4x4", lambda y, w: y @ m, lambda: (square @ square, square @ square.swapaxes(-1, -2)), shape=(4, 4)),
)


@dataclass
class Row:
    """Microseconds a node."""

    name: str
    forward: float = float("inf")
    unrecorded: float = float("inf")
    backward: float = float("inf")
    numpy: float = float("inf")

    @property
    def overhead(self) -> float:
        return self.forward + self.backward - self.numpy


def chain(case: Case, x: Tensor, leaves: list[Tensor]) -> Tensor:
    y = x
    for w in leaves:
        y = case.step(y, w)
    return y


def measure(case: Case, row: Row, length: int) -> None:
    """Time one chain in every way, and keep what is less than before."""
    x = tc.ones(case.shape, requires_grad=True)
    leaves = [tc.tensor(one, requires_grad=True) for _ in range(length)]
    each = 1e6 / (length * case.nodes)
    t0 = perf_counter()
    y = chain(case, x, leaves)
    t1 = perf_counter()
    seed = np.ones_like(y.data)
    t2 = perf_counter()
    y.backward(seed)
    t3 = perf_counter()
    assert x.grad is not None and x.grad.shape == x.shape
    with tc.no_grad():
        t4 = perf_counter()
        chain(case, x, leaves)
        t5 = perf_counter()
    for _ in range(length):
        case.numpy()
    t6 = perf_counter()
    row.forward, row.backward = min(row.forward, (t1 - t0) * each), min(row.backward, (t3 - t2) * each)
    row.unrecorded, row.numpy = min(row.unrecorded, (t5 - t4) * each), min(row.numpy, (t6 - t5) * each)


def run(length: int = 200, repeats: int = 60) -> list[Row]:
    """All cases, taking turns."""
    rows = [Row(case.name) for case in CASES]
    with np.errstate(over="ignore", invalid="ignore"):  # a chain of sums grows beyond float32
        for _ in range(repeats):
            gc.collect()
            gc.disable()
            try:
                for case, row in zip(CASES, rows):
                    measure(case, row, length)
            finally:
                gc.enable()
    return rows


def table(rows: list[Row]) -> str:
    lines = [f"{'microseconds a node':<22}{'forward':>9}{'no_grad':>9}{'backward':>10}{'NumPy':>8}{'overhead':>10}"]
    lines += [f"{r.name:<22}{r.forward:>9.2f}{r.unrecorded:>9.2f}{r.backward:>10.2f}{r.numpy:>8.2f}{r.overhead:>10.2f}"
              f"{'' if r.overhead <= GOAL else f'  above {GOAL:g}'}" for r in rows]
    return "\n".join(lines)


def write_json(path: Path, rows: list[Row]) -> None:
    """All at once or not at all."""
    record = {"goal_us": GOAL, "python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine(),
              "rows": [asdict(r) | {"overhead": r.overhead} for r in rows]}
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
        json.dump(record, file, indent=1)
    os.replace(file.name, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description="Microseconds a node of the tape costs.")
    parser.add_argument("--length", type=int, default=200, help="steps of a chain")
    parser.add_argument("--repeats", type=int, default=60, help="chains of each case; the fastest counts")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    rows = run(args.length, args.repeats)
    print(table(rows))
    if args.json:
        write_json(args.json, rows)


if __name__ == "__main__":
    main()
