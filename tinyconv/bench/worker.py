"""One library in a process of its own: reads a request a line from stdin, does it, writes a reply a line (both JSON).

It computes only while it is asked to `run`, and between requests it sleeps in a read, so that libraries take turns.
Started by contest.py as `python -m tinyconv.bench.worker LIBRARY`, its number of threads set by its environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from time import perf_counter
from typing import Any

import numpy as np

from .task import Task

LIBRARIES = {"tinyconv": "ours", "torch": "pytorch"}  # the module here that speaks for each library


class Refused(Exception):
    """This library or algorithm does not do this task, and says why."""


def serve(library: str) -> None:
    """Answer requests until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not end up among the replies
    side = import_module(f"{__package__}.{LIBRARIES[library]}")
    made: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = answer(side, made, **request)
        except Refused as why:
            reply = {"refused": str(why)}
        except Exception as error:
            reply = {"wrong": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")


def answer(side: Any, made: dict[str, Callable[[], Any]], do: str, key: str = "", task: dict | None = None,
           algorithm: str = "", path: str = "", reps: int = 1, dtypes: list[str] | None = None) -> dict:
    """Do one request.

    hello: name the version and threads. machine: measure the peaks and bandwidth (ours only). prepare: build the task under `key` and call it once. save: write its answer to
    `path`. judge: compare the answer at `path` with a yardstick (ours only). run: time `reps` calls. drop: forget `key`.
    """
    if do == "hello":
        return {"version": side.version(), "threads": side.threads()}
    if do == "machine":
        return side.measure(dtypes or [])
    if do == "prepare":
        assert task is not None
        fn, facts = side.prepare(Task(**task), algorithm)
        start = perf_counter()
        fn()
        first = perf_counter() - start
        start = perf_counter()
        fn()
        made[key] = fn
        return {"first": first, "once": perf_counter() - start, **facts}
    if do == "save":
        assert task is not None
        np.save(path, side.result(Task(**task), made[key]))
        return {}
    if do == "judge":
        assert task is not None
        return side.judge(Task(**task), np.load(path))
    if do == "drop":
        del made[key]
        return {}
    if do == "run":
        fn, seconds = made[key], []
        for _ in range(reps):
            start = perf_counter()
            fn()
            seconds.append(perf_counter() - start)
        return {"seconds": seconds}
    raise ValueError(f"no request {do!r}")


if __name__ == "__main__":
    serve(sys.argv[1])
