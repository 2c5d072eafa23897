"""One library in a process of its own: reads a request a line from stdin, does it, writes a reply a line (both JSON).

It computes only while it is asked to, and is stopped between requests, so that libraries take turns. Every library keeps
the memory it freed, as ours does: left to chance, PyTorch took 5 ms for a layer or 9, half of it page faults.
Started by contest.py as `python -m tinyconv.bench.worker LIBRARY`, its number of threads set by its environment.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

from ..kernels.scratch import release
from ..memory import keep_freed_memory
from .sides import Refused
from .task import Task

Call = Callable[[], Any]
REST = 0.08  # seconds between two algorithms of one library: the threads of the last, of another pool perhaps, fall asleep


class Server:
    """The requests, each a method; `made` holds the calls that were prepared, by key."""

    def __init__(self, library: str):
        self.side = import_module(f"{__package__}.sides.{library}")
        self.made: dict[str, Call] = {}
        self.last = ""

    def hello(self) -> dict:
        """Name the version, and the number of threads it computes with."""
        return {"version": self.side.version(), "threads": self.side.threads()}

    def prepare(self, key: str, task: dict, algorithm: str) -> dict:
        """Make the task's call and keep it under `key`; time the first call apart from the second."""
        fn, facts = self.side.prepare(Task(**task), algorithm)
        first, once = _seconds(fn), _seconds(fn)
        self.made[key] = fn
        return {"first": first, "once": once, **facts}

    def save(self, key: str, task: dict, path: str) -> dict:
        """Write the answer of the task to a file, for the judge."""
        np.save(path, self.side.result(Task(**task), self.made[key]))
        return {}

    def run(self, key: str, reps: int, warm: float) -> dict:
        """Time calls one by one, after so many seconds of calls unseen."""
        fn = self.made[key]
        if key != self.last:
            sleep(REST)
        self.last = key
        until = perf_counter() + warm
        while perf_counter() < until:
            fn()
        return {"seconds": [_seconds(fn) for _ in range(reps)]}

    def drop(self, key: str) -> dict:
        """Forget a call and its arrays."""
        self.made.pop(key, None)
        return {}

    def memory(self, task: dict, algorithm: str) -> dict:
        """The most memory that one call held at a time beyond its operands and its result, seen by the system."""
        whole = Task(**task)
        fn, facts = self.side.prepare(whole, algorithm)
        if "scratch" in facts:  # no compiler's memory is to be counted: run the very kernel, and let go of what it keeps
            fn()
            release()
        else:
            self.side.prepare(whole.bare(), algorithm)[0]()
        before = _resident("VmRSS", reset=True)
        answer = fn()
        peak = _resident("VmHWM") - before
        return {"peak": max(peak - getattr(answer, "nbytes", 0), 0), **facts}

    def __getattr__(self, name: str) -> Any:  # what only our side can do: judge, check, measure, ladder, load
        return getattr(self.side, name)


def _seconds(fn: Call) -> float:
    start = perf_counter()
    fn()
    return perf_counter() - start


def _resident(field: str, reset: bool = False) -> int:
    """Bytes of a field of Linux's account of this process; `reset` starts its high-water mark anew."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError as error:
        raise Refused(f"peak memory is read from Linux's /proc, which is not to be had here ({error})") from error
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def serve(library: str) -> None:
    """Answer requests until stdin ends."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: one that is stopped would not see its input end
    keep_freed_memory()
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not end up among the replies
    server = Server(library)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = getattr(server, request.pop("do"))(**request)
        except Refused as why:
            reply = {"refused": str(why)}
        except Exception as error:
            reply = {"wrong": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    serve(sys.argv[1])
