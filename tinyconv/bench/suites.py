"""What is timed: for each suite its tasks, and who takes part in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatch

from .. import cases
from ..names import unknown
from . import startup
from .contest import OURS, Contestant
from .nets import BATCHES
from .task import LAYERS, POOLING, POOLS, SLOTS, Task, conv_case

LADDER = ("lenet.c1:N=1", "lenet.c3:N=8", "mnist.c2:N=10", "vgg.128:N=1", "depthwise:N=1")
GROWTH = (  # how time grows: one size of a layer at a time
    ("mnist.c2", "N", (1, 4, 16, 64, 256)), ("vgg.64", "C", (8, 16, 32, 64, 128)), ("vgg.64", "H", (7, 14, 28, 56, 112)),
    ("vgg.64", "k", (1, 3, 5, 7)),
)
SUITES = {  # what people come for first: --quick leaves out what it does not reach in time
    "ladder": "every algorithm there is, on a few layers that even the slowest can do",
    "conv": "the three maps of every layer, chosen algorithm beside im2col and the other libraries",
    "pool": "max and average pooling, forward and backward",
    "startup": "import, first result and first training step in a fresh process, with a cold and a warm cache",
    "memory": "working memory of a call, as stated and as the system saw it",
    "steps": "whole training steps of small networks",
    "growth": "how time grows with samples, channels, size and kernel",
}
QUICK = {  # the same as a taste, within a minute though everything is compiled in it: operations and cases
    "ladder": (("conv",), ("vgg.64:N=1,H=14",)),  # columns refuses it, which fills few channels
    "conv": (SLOTS, ("vgg.128",)),
    "pool": (("max_pool", "pool_scatter"), ("56.2s2",)),  # a maximum and its gradient
    "steps": (("step",), ("mnist@10",)),
    "startup": (("startup",), startup.CASES[:2]),
    "memory": (("conv",), ("vgg.128",)),
    "growth": ((), ()),
}
OF_LAYERS = ("ladder", "conv", "memory", "growth")  # suites that take any layer, and that resized
BESIDE = {  # algorithms beside the chosen one; im2col elsewhere
    "ladder": ("all",), "pool": ("direct", "aot"), "startup": ("direct", "im2col", "simd", "aot")}


def tasks(suite: str, ops: str = "*", names: str = "*", dtypes: Iterable[str] = ("float32",),
          quick: bool = False) -> Iterator[Task]:
    """The tasks of a suite whose operation and case match the patterns (with commas).

    A layer may be named that the suite does not hold, resized too.
    """
    for dtype in dtypes:
        held = list(_all(suite, dtype, quick))
        more = [Task(suite, op, name, dtype) for name in _split(names) for op in SLOTS
                if suite in OF_LAYERS and not _is_pattern(name) and name.partition(":")[0] in LAYERS
                and not any(t.case == name for t in held)]
        for task in held + more:
            if _any(task.case, _split(names)) and _any(task.op, ops.split(",")):
                yield task


def check_names(suites: Iterable[str], ops: str, names: str) -> None:
    """See that every operation and case that is named, and is no pattern, is one of some suite.

    Raises: ValueError with the nearest name, and those of these suites.
    """
    every = {suite: list(_all(suite, "float32", False)) for suite in SUITES}
    for what, given, field in (("operation", ops.split(","), "op"), ("case", _split(names), "case")):
        known = {suite: dict.fromkeys(getattr(task, field) for task in held) for suite, held in every.items()}
        for name in (name for name in given if not _is_pattern(name)):
            if what == "case" and (":" in name or name in LAYERS):
                conv_case(name)
            elif not any(name in names for names in known.values()):
                raise ValueError(unknown(what, name, dict.fromkeys(name for suite in suites for name in known[suite])))


def _all(suite: str, dtype: str, quick: bool) -> Iterator[Task]:
    """The tasks that a suite holds."""
    if quick:
        ops, names = QUICK[suite]
        yield from (Task(suite, op, name, dtype) for name in names for op in ops)
    elif suite in ("steps", "memory"):
        if suite == "memory":
            yield from (replace(task, suite=suite) for task in _all("conv", dtype, quick))
        yield from (Task(suite, "step", f"{net}@{batch}", dtype) for net, batches in BATCHES.items() for batch in batches)
    elif suite == "pool":
        yield from (Task(suite, op, name, dtype) for name in POOLS for op in POOLING)
    elif suite == "startup":
        yield from (Task(suite, suite, case, dtype) for case in startup.CASES)
    else:
        names = {"conv": tuple(cases.layers), "ladder": LADDER,
                 "growth": tuple(f"{base}:{key}={size}" for base, key, sizes in GROWTH for size in sizes)}[suite]
        yield from (Task(suite, op, name, dtype) for name in names for op in SLOTS)


def contestants(task: Task, ladder: dict[str, list[str]], libraries: Iterable[str], algorithms: tuple[str, ...] = (),
                quick: bool = False) -> list[Contestant]:
    """Who takes part in a task: ours by choice, ours by im2col (or the named algorithms, or "all"), and the others."""
    if task.case == startup.ALONE:
        return [Contestant(OURS, algorithm) for algorithm in startup.TILES]
    op = startup.DOES[task.case].op if task.case in startup.DOES else task.op
    beside = ("aot",) if quick and task.suite == "startup" else BESIDE.get(task.suite, ("im2col",))
    wanted = algorithms or beside
    named = [a for a in ladder.get(op, ()) if a in wanted or "all" in wanted]  # a step, or an import, has no algorithms
    return [Contestant(OURS, "auto"), *(Contestant(OURS, a) for a in named), *(Contestant(name) for name in libraries)]


def _is_pattern(name: str) -> bool:
    return bool(set(name) & set("*?["))


def _any(name: str, patterns: list[str]) -> bool:
    return any(name == pattern or fnmatch(name, pattern) for pattern in patterns)


def _split(patterns: str) -> list[str]:
    """Patterns between commas, where a comma that follows a size belongs to the case: "vgg.64:N=1,H=14,mnist.c1"."""
    parts: list[str] = []
    for part in patterns.split(","):
        if parts and ":" in parts[-1] and "=" in part and ":" not in part:
            parts[-1] += "," + part
        else:
            parts.append(part)
    return parts
