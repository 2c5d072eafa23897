"""The CUDA kernels on a GPU, beside cuDNN: `python -m bench.cuda`. One command, at most 8 minutes, a table last.

Every answer is judged before it is timed: on small whole numbers, ours must equal a product over patches in float64 (Winograd's
tiles, and cuDNN, come near it). Times are those of device events around a call from a cold L2; shown are medians. PyTorch runs
without TF32, and cuDNN picks its fastest algorithm (benchmark = True). The card's peak of multiply-adds and its bandwidth are
measured first.
A job is a layer or a network at a batch, what matters most first. Jobs run in a process of their own (cuda_work.py): one that
crashes, hangs or loses the GPU is a row that failed, and the next job gets another process. Each row is saved as it comes, to
bench/results/CARD/cuda.json. When the time is up the table is of what there is. Without a GPU it says what is missing, and
exits with 2; --rehearse walks through all of it in the simulator, on tiny problems.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinyconv import cases
from tinyconv.bench import record
from tinyconv.kernels import gpu

from .cuda_table import lines

WORKER = (sys.executable, "-m", "bench.cuda_work")
BATCHES = (64, 256)
NETS = ("mnist", "lenet5")
SECONDS, PATIENCE = 480.0, 90.0  # for everything, and for one job, whose kernels may have to be compiled first
UNHURRIED = 600.0  # for one job of a rehearsal, which compiles the kernels of the CPU
TINY = ("hand", "half", "depthwise_twice")


def plan(layers: list[str], batches: list[int]) -> list[str]:
    """The jobs, what matters most first: layers at the first batch, training steps, the other batches, the slow rungs."""
    first, others = batches[0], batches[1:]
    return ["card", *(f"layer {name}@{first}" for name in layers), *(f"step {net}@{n}" for n in batches for net in NETS),
            *(f"layer {name}@{n}" for n in others for name in layers), *(f"slow {name}@{first}" for name in layers)]


class Worker:
    """A process that takes jobs, a line each, and answers with lines of JSON; None is its end."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.answers: queue.Queue[dict | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            try:
                self.answers.put(json.loads(line))
            except ValueError:
                break
        self.answers.put(None)

    def ask(self, job: str, until: float, take: Callable[[dict], None]) -> str:
        """Have a job done, answer by answer. Returns "", or why it came to no end; then the process is of no more use."""
        assert self.process.stdin
        try:
            self.process.stdin.write(job + "\n")
            self.process.stdin.flush()
        except OSError:
            return self._death()
        while True:
            try:
                found = self.answers.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return "it was still at work when its time was up"
            if found is None:
                return self._death()
            if "done" in found:
                return "" if found["well"] else "it left the GPU unusable for its process"
            take(found)

    def _death(self) -> str:
        try:
            return f"its process ended with status {self.process.wait(5)}"
        except subprocess.TimeoutExpired:
            return "its process answers what is no JSON"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def run(rec: dict[str, Any], jobs: list[str], seconds: float, save: Callable[[dict], None],
        command: tuple[str, ...] = WORKER, patience: float = PATIENCE) -> None:
    """Have the jobs done until the time is up. Rows, failures and what is left go to the record, which is saved each time."""
    until, worker = time.monotonic() + seconds, None
    rec.update(jobs=len(jobs), left=list(jobs))

    def take(found: dict) -> None:
        for name, kind in (("row", "rows"), ("failure", "failures")):
            if name in found:
                rec[kind].append(found[name])
                print(_line(name, found[name]), file=sys.stderr)
        rec.update({name: found[name] for name in ("machine", "peaks", "bandwidth") if name in found})
        save(rec)

    try:
        for job in jobs:
            if (now := time.monotonic()) >= until:
                break
            worker = worker or Worker(command)
            ended = worker.ask(job, min(until, now + patience), take)
            rec["left"].remove(job)
            if ended:
                worker.stop()
                worker = None
                kind, _, case = job.partition(" ")
                take({"failure": {"op": kind, "case": case, "library": "tinyconv", "algorithm": "the bench", "why": ended}})
    except KeyboardInterrupt:
        print("interrupted: the table is of what there is", file=sys.stderr)
    finally:
        if worker:
            worker.stop()
        save(rec)


def _line(name: str, row: dict) -> str:
    what = f"{row['op']} {row['case']} {row['algorithm']}"
    return f"{what} {1e6 * row['median']:.1f} us" if name == "row" else f"FAILED {what}: {row['why']}"


def main() -> int:
    """Measure, record, show. Returns the exit status: 0, 1 where one of ours failed or was wrong, 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m bench.cuda", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--layers", default="", help="names of cases.layers, with commas; all of them by default")
    parser.add_argument("--batches", default="", help=f"with commas; {','.join(map(str, BATCHES))} by default")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"until the table, {SECONDS:g} by default")
    parser.add_argument("--out", type=Path, help="the folder of the records; bench/results, and none for a rehearsal")
    parser.add_argument("--rehearse", action="store_true", help="tiny problems in the simulator; its figures mean nothing")
    args = parser.parse_args()
    known = TINY if args.rehearse else tuple(cases.layers)
    layers = args.layers.split(",") if args.layers else list(known)
    if unknown := [name for name in layers if name not in known]:
        parser.error(f"no layer {unknown[0]!r}; there are: {', '.join(known)}")
    try:
        batches = [int(n) for n in args.batches.split(",")] if args.batches else [2] if args.rehearse else list(BATCHES)
    except ValueError:
        parser.error(f"--batches takes whole numbers with commas, got {args.batches!r}")
    if min(batches) < 1:
        parser.error(f"a batch has 1 image or more, got {min(batches)}")
    if args.rehearse:
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # for the worker
    elif gpu.missing() or gpu.simulated():
        print(f"the CUDA bench needs a GPU: {gpu.missing() or 'NUMBA_ENABLE_CUDASIM=1 simulates one'}", file=sys.stderr)
        return 2
    rec = {**record.new("cuda"), "machine": {}}
    out = args.out or (None if args.rehearse else Path(__file__).parent / "results")
    run(rec, plan(layers, batches), args.seconds, lambda rec: _save(rec, out) if out else None,
        patience=UNHURRIED if args.rehearse else PATIENCE)
    print(*lines(rec), sep="\n")
    return int(any(row["library"] == "tinyconv" for row in rec["failures"]))


def _save(rec: dict[str, Any], out: Path) -> None:
    name = re.sub(r"[^a-z0-9]+", "-", rec["machine"].get("card", "unknown card").lower()).strip("-")
    record.save(rec, out / name / "cuda.json")


if __name__ == "__main__":
    sys.exit(main())
