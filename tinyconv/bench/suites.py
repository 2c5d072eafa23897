"""What is timed: for each suite its tasks, and who takes part in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch

from .. import cases
from .contest import OURS, Contestant
from .nets import BATCHES
from .task import POOLING, POOLS, SLOTS, Task, conv_case

QUICK = ("mnist.c1", "vgg.128")  # layers of a --quick bench: one input channel, and many
QUICK_POOL = ("max_pool", "pool_scatter")  # a maximum and its gradient
LADDER = ("lenet.c1:N=1", "lenet.c3:N=8", "mnist.c2:N=10", "vgg.128:N=1")
GROWTH = (  # how time grows: one size of a layer at a time
    ("mnist.c2", "N", (1, 4, 16, 64, 256)), ("vgg.64", "C", (8, 16, 32, 64, 128)), ("vgg.64", "H", (7, 14, 28, 56, 112)),
    ("vgg.64", "k", (1, 3, 5, 7)),
)
SUITES = {
    "conv": "the three maps of every layer, chosen algorithm beside im2col and the other libraries",
    "pool": "max and average pooling, forward and backward",
    "steps": "whole training steps of small networks",
    "ladder": "every algorithm there is, on a few layers that even the slowest can do",
    "growth": "how time grows with samples, channels, size and kernel",
    "memory": "working memory of a call, as stated and as the system saw it",
    "startup": "import, first result and first training step in a fresh process, with a cold and a warm cache",
}


def tasks(suite: str, ops: str = "*", names: str = "*", dtypes: tuple[str, ...] = ("float32",),
          quick: bool = False) -> Iterator[Task]:
    """The tasks of a suite whose operation and case match the patterns (with commas).

    A layer may be named that the suite does not hold, resized too. Raises: ValueError for a name that nothing has.
    """
    found = [t for dtype in dtypes for t in _all(suite, dtype, quick)]
    extra = []
    for name in _split(names):
        elsewhere = "@" in name or name in POOLS or suite in ("pool", "steps", "startup")  # a case of another suite's kind
        if not elsewhere and not set(name) & set("*?[") and not any(fnmatch(t.case, name) for t in found):
            conv_case(name)  # raises, with the names there are
            extra += [Task(suite, op, name, dtype) for dtype in dtypes for op in SLOTS]
    for t in found + extra:
        if (t in extra or any(fnmatch(t.case, n) for n in _split(names))) and any(fnmatch(t.op, o) for o in _split(ops)):
            yield t


def _all(suite: str, dtype: str, quick: bool) -> Iterator[Task]:
    if suite == "steps":
        for net, batches in list(BATCHES.items())[:1 if quick else None]:
            for batch in batches[:1] if quick else batches:
                yield Task(suite, "step", f"{net}@{batch}", dtype)
        return
    if suite == "pool":
        for name in tuple(POOLS)[:1] if quick else POOLS:
            for op in QUICK_POOL if quick else POOLING:
                yield Task(suite, op, name, dtype)
        return
    names = {
        "conv": QUICK if quick else tuple(cases.layers),
        "ladder": LADDER[:1] if quick else LADDER,
        "growth": () if quick else tuple(f"{base}:{key}={size}" for base, key, sizes in GROWTH for size in sizes),
        "memory": QUICK[:1] if quick else tuple(cases.layers),
        "startup": (),
    }[suite]
    for name in names:
        for op in tuple(SLOTS)[:1 if quick and suite in ("ladder", "memory") else None]:
            yield Task(suite, op, name, dtype)
    if suite == "memory" and not quick:
        yield from (replace(task, suite=suite) for task in _all("steps", dtype, quick))


def contestants(task: Task, ladder: dict[str, list[str]], libraries: list[str], algorithms: tuple[str, ...] = ()) \
        -> list[Contestant]:
    """Who takes part in a task: ours by choice, ours by im2col (or the named algorithms, or "all"), and the others."""
    others = [Contestant(library) for library in libraries]
    if task.op == "step":
        return [Contestant(OURS, "auto"), *others]
    wanted = algorithms or {"ladder": ("all",), "pool": ("direct", "aot")}.get(task.suite, ("im2col",))
    named = [a for a in ladder[task.op] if a in wanted or "all" in wanted]
    return [Contestant(OURS, "auto"), *(Contestant(OURS, a) for a in named), *others]


def _split(patterns: str) -> list[str]:
    """Patterns between commas, where a comma that follows a size belongs to the case: "vgg.64:N=1,H=14,mnist.c1"."""
    parts: list[str] = []
    for part in patterns.split(","):
        if parts and ":" in parts[-1] and "=" in part and ":" not in part:
            parts[-1] += "," + part
        else:
            parts.append(part)
    return parts
