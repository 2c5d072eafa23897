"""What a trace holds, and the watch that writes it down while it happens.

    Trace: events           an event is a Step or a Sweep, in the order in which they happened
    Sweep: a backward pass  its pulls, one for each node that it came by: the cotangent g of the result, and of each operand
    Fill:  one gradient     the rule that made it, and the events of that rule: steps, of which a later sweep may be made

Steps are numbered through, whatever they are part of. The Python between two operations counts for the later one, except
where a kernel was chosen: its time is from there on. What the watch itself takes counts for none.
Read next: rules.py, the names of the rules; findings.py, what is wrong with a trace.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from ..mode import Watch
from ..op import Op
from ..registry import Kernel
from ..tape import Node
from ..tensor import Tensor
from .rules import rule, slots


@dataclass(slots=True)
class Value:
    """What an array was when it was seen: shape, dtype, bytes, L2 norm, how many are NaN or infinite, and if small, itself."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int
    norm: float
    nan: int
    inf: int
    array: np.ndarray | None

    @property
    def finite(self) -> bool:
        return not self.nan and not self.inf


@dataclass(slots=True, frozen=True)
class Source:
    """Where an array came from: the step of this number, else what it is called."""

    step: int | None
    name: str

    def __str__(self) -> str:
        return self.name if self.step is None else f"#{self.step}"


@dataclass(slots=True)
class Operand:
    """What stood in a slot of an operation."""

    slot: str
    source: Source
    value: Value


@dataclass(slots=True)
class Choice:
    """The kernel that the registry took for a map, and in `others` why not each of the others: (algorithm, why)."""

    kernel: Kernel
    dims: Any
    dtype: np.dtype
    others: list[tuple[str, str]] = field(default_factory=list)

    @property
    def scratch(self) -> int:
        """Bytes of working memory, beyond operands and result."""
        return self.kernel.scratch(self.dims, self.dtype)


@dataclass(slots=True)
class Step:
    """An operation that ran. `bytes` is what its result takes in new memory: nothing for a view."""

    number: int
    op: str
    meta: str  # its geometry and numbers, in short
    operands: list[Operand]
    out: Value
    seconds: float
    bytes: int
    choices: list[Choice]


@dataclass(slots=True)
class Fill:
    """The gradient that a rule made of one operand. `added` holds the step that added it to what was there."""

    index: int
    slot: str
    rule: str
    source: Source  # the operand that it is the gradient of
    value: Value
    events: list[Step | Sweep]
    added: list[Step | Sweep] = field(default_factory=list)


@dataclass(slots=True)
class Pull:
    """What the rules of one node made of the cotangent of its result. `step` is None for a node older than the trace."""

    op: str
    step: int | None
    g: Value
    fills: list[Fill] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)  # of a backward pass that is one kernel
    seconds: float = 0.0


@dataclass(slots=True)
class Sweep:
    """A backward pass: the norm of the cotangents that it began with, and its pulls. `added`: into a `.grad` there was."""

    start: list[Source]
    norm: float
    pulls: list[Pull] = field(default_factory=list)
    added: list[Step | Sweep] = field(default_factory=list)
    seconds: float = 0.0


Event = Step | Sweep


class Recorder(Watch):
    """Writes events down. `names` knows tensors by name; arrays of up to `keep` elements are kept themselves."""

    def __init__(self, keep: int, names: Callable[[Tensor], str | None]):
        self.keep, self.names = keep, names
        self.events: list[Event] = []
        self.steps: dict[int, Step] = {}
        self.leaves: dict[str, Value] = {}
        self.choices: list[Choice] = []
        self._lists: list[list[Event]] = [self.events]  # the innermost that now goes on is last
        self._open: list[tuple[Any, float, float]] = []  # sweeps and pulls, since when, and what the watch had taken then
        self._chosen: list[Choice] = []  # since the last step
        self._source: dict[int, tuple[weakref.ref, Source]] = {}  # of an array, by its id
        self._step_of: dict[int, int] = {}  # of a node, by its age
        self._taken = 0.0
        self._since = 0.0

    def resume(self) -> None:
        """What passed until now counts for no operation."""
        self._since = perf_counter()

    # -- what is told --------------------------------------------------------------------------------------------

    def chose(self, kernel: Kernel, dims: Any, dtype: Any) -> None:
        self._chosen.append(Choice(kernel, dims, np.dtype(dtype)))
        self._since = perf_counter()

    def ran(self, op: Op, operands: tuple[Tensor, ...], meta: dict, out: Tensor) -> None:
        now = perf_counter()
        number = len(self.steps) + 1
        chosen = self._take_chosen()[-1:]  # before it, the same was chosen to be checked
        inputs = [Operand(slot, self._where(t), self._seen(t)) for slot, t in zip(slots(op, len(operands)), operands)]
        shared = op.view and np.may_share_memory(_host(out.data), _host(operands[0].data))
        step = Step(number, op.name, _in_short(meta), inputs, self._value(out.data), now - self._since,
                    0 if shared else out.data.nbytes, chosen)
        self.steps[number] = step
        self._lists[-1].append(step)
        self._note(out, Source(number, op.name))
        if out.node is not None:
            self._step_of[out.node.age] = number
        self._rest(now)

    def sweeping(self, outputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> None:
        now = perf_counter()
        norm = float(np.sqrt(sum(self._value(g.data).norm ** 2 for g in cotangents)))
        sweep = Sweep([self._where(t) for t in outputs], norm)
        self._lists[-1].append(sweep)
        for t, g in zip(outputs, cotangents):
            self._note_new(g, f"g of {self._where(t)}")
        self._enter(sweep, sweep.added, now)

    def pulling(self, node: Node, g: Tensor) -> None:
        now = perf_counter()
        assert node.op is not None
        pull = Pull(node.op.name, self._step_of.get(node.age), self._value(g.data))
        self._open[-1][0].pulls.append(pull)
        self._enter(pull, [], now)

    def filled(self, node: Node, edge: Node, gradient: Tensor) -> None:
        now = perf_counter()
        pull, op = self._open[-1][0], node.op
        assert op is not None
        i = self._index(node, edge, pull.fills)
        source = self.steps[pull.step].operands[i].source if pull.step else self._origin(edge)
        made = self._lists.pop()
        fill = Fill(i, slots(op, len(node.edges))[i], rule(op, i), source, self._value(gradient.data), made)
        pull.fills.append(fill)
        pull.choices += self._take_chosen()
        self._lists.append(fill.added)
        self._note_new(gradient, f"g of {source}")
        self._rest(now)

    def added(self, node: Node, edge: Node) -> None:
        self._lists[-1] = []

    def pulled(self, node: Node) -> None:
        self._leave()

    def swept(self) -> None:
        while isinstance(self._open[-1][0], Pull):  # a rule failed
            self._leave()
        self._leave()

    # -- how it is written ---------------------------------------------------------------------------------------

    def _enter(self, what: Sweep | Pull, events: list[Event], now: float) -> None:
        self._lists.append(events)
        self._chosen.clear()
        self._rest(now)
        self._open.append((what, perf_counter(), self._taken))

    def _leave(self) -> None:
        now = perf_counter()
        what, since, taken = self._open.pop()
        what.seconds = now - since - (self._taken - taken)
        self._lists.pop()
        self._rest(now)

    def _rest(self, since: float) -> None:
        """What has passed since then was the watch's own work."""
        self._since = perf_counter()
        self._taken += self._since - since

    def _take_chosen(self) -> list[Choice]:
        chosen, self._chosen = self._chosen, []
        self.choices += chosen
        return chosen

    def _index(self, node: Node, edge: Node, fills: list[Fill]) -> int:
        """Which operand hangs on the edge: of several that do, the next that has no gradient yet."""
        done = {fill.index for fill in fills}
        rules = [True] * len(node.edges) if node.op.at_once else node.op.rules  # type: ignore[union-attr]
        return next(i for i, e in enumerate(node.edges) if e is edge and i not in done and rules[i] is not None)

    def _origin(self, node: Node) -> Source:
        number = self._step_of.get(node.age)
        return Source(number, self.steps[number].op) if number else Source(None, "before the trace")

    def _where(self, t: Tensor) -> Source:
        found = self._known(t)
        if found is not None:
            return found
        if t.node is not None and t.node.age in self._step_of:  # a rule may wrap a result anew
            return self._origin(t.node)
        return self._note(t, Source(None, self._name(t)))

    def _name(self, t: Tensor) -> str:
        kind = "leaf" if t.node is not None and t.node.op is None else "constant" if t.node is None else "earlier"
        name = self.names(t) or f"{kind} {sum(n.startswith(kind) for n in self.leaves) + 1}"
        self.leaves[name] = self._value(t.data)
        return name

    def _note(self, t: Tensor, source: Source) -> Source:
        self._source[id(t.data)] = weakref.ref(t.data), source
        return source

    def _note_new(self, t: Tensor, name: str) -> None:
        """Name what no step made."""
        if self._known(t) is None:
            self._note(t, Source(None, name))

    def _known(self, t: Tensor) -> Source | None:
        found = self._source.get(id(t.data))
        return found[1] if found is not None and found[0]() is t.data else None

    def _seen(self, t: Tensor) -> Value:
        source = self._where(t)
        return self.steps[source.step].out if source.step else self.leaves.get(source.name) or self._value(t.data)

    def _value(self, array: Any) -> Value:
        array = _host(array)
        numbers = array.astype(np.float64).ravel()
        with np.errstate(over="ignore", invalid="ignore"):
            norm = float(np.sqrt(numbers @ numbers))
        nan = inf = 0
        if not np.isfinite(norm):
            nan, inf = int(np.isnan(numbers).sum()), int(np.isinf(numbers).sum())
        return Value(array.shape, str(array.dtype), array.nbytes, norm, nan, inf,
                     array.copy() if array.size <= self.keep else None)


def _host(array: Any) -> np.ndarray:
    """The array in the memory of the host."""
    return array if isinstance(array, np.ndarray) else array.get()


def _in_short(meta: dict) -> str:
    """The geometry of an operation where it is not the plain one, and its numbers."""
    parts = []
    for name, value in meta.items():
        if name == "dims":
            for what, plain in (("kernel", None), ("stride", 1), ("padding", (0, 0)), ("dilation", 1)):
                sizes = getattr(value, what, None)
                if sizes and any(s != plain for s in sizes):
                    parts.append(f"{what} {'x'.join(map(_size, sizes[:1] if len(set(sizes)) == 1 else sizes))}")
            parts += [f"groups {value.groups}"] if getattr(value, "groups", 1) > 1 else []
        elif isinstance(value, int | float) and not isinstance(value, bool):
            parts.append(f"{name} {value:.6g}")
    return ", ".join(parts)


def _size(s: Any) -> str:
    """A size along one axis; padding that differs from side to side as 0+1."""
    return str(s) if not isinstance(s, tuple) else str(s[0]) if s[0] == s[1] else f"{s[0]}+{s[1]}"


def walk(events: Sequence[Event]) -> Iterator[Step | Sweep | Pull | Fill]:
    """Everything in the events, in the order in which it began."""
    for event in events:
        yield event
        if isinstance(event, Sweep):
            for pull in event.pulls:
                yield pull
                for fill in pull.fills:
                    yield from walk(fill.events)
                    yield fill
                    yield from walk(fill.added)
            yield from walk(event.added)
