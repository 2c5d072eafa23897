"""What is timed: for each suite its tasks, and who takes part in them."""

from __future__ import annotations

from collections.abc import Iterator

from .. import cases, registry
from .contest import OURS, Contestant
from .nets import BATCHES
from .task import SLOTS, Task

CONV_OPS = tuple(SLOTS)
QUICK = ("mnist.c1", "mnist.c2", "vgg.128", "resnet.3x3s2", "depthwise")  # layers of a --quick bench


def conv_tasks(dtypes: tuple[str, ...] = ("float32",), quick: bool = False) -> Iterator[Task]:
    """The three maps of every layer."""
    for dtype in dtypes:
        for case in QUICK if quick else cases.layers:
            for op in CONV_OPS:
                yield Task("conv", op, case, dtype)


def step_tasks(quick: bool = False) -> Iterator[Task]:
    """A training step of every network."""
    for net, batches in BATCHES.items():
        for batch in batches[:1] if quick else batches:
            yield Task("steps", "step", f"{net}@{batch}")


def contestants(task: Task, libraries: list[str], algorithms: tuple[str, ...] = ()) -> list[Contestant]:
    """Who takes part in a task: ours by choice, im2col (or the named algorithms, or "all"), and the other libraries."""
    others = [Contestant(library) for library in libraries if library != OURS]
    if task.suite == "steps":
        return [Contestant(OURS, "auto"), *others]
    ladder = [k.algorithm for k in registry.kernels(task.op) if k.device == "cpu"]
    named = [a for a in ladder if a in (algorithms or ("im2col",)) or "all" in algorithms]
    return [Contestant(OURS, "auto"), *(Contestant(OURS, a) for a in named), *others]
