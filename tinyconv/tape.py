"""The tape: what each operation left behind, and the walk back over it, from young to old.

Applying an operation leaves a Node: the operation, what its gradient rules need, and an edge to the node of each operand.
For y = f(x1, x2, ...) and a cotangent g of y, rule i gives the cotangent of xi (the vector-Jacobian product). Rules are
written on Tensors, so a backward pass under `create_graph=True` is itself recorded and can be differentiated again.
Every node and every write in place draws its age from one clock: an operand written to later than the node was made is
not what the node saw, and its gradient would be wrong.
Read next: tensor.py, what the nodes hang on; op.py, what leaves them; forms.py, the one rule that most operations share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from operator import attrgetter
from sys import getrefcount
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .mode import Watch, current, recording, watches

if TYPE_CHECKING:
    from .op import Op
    from .tensor import Tensor

_clock = count(1)
now = _clock.__next__
FREED: tuple = ("freed",)


class Node:
    """One step of the tape. A leaf's node has no op; the gradient lives here, so that no reference runs back to a Tensor."""

    __slots__ = ("age", "edges", "grad", "keeps_grad", "meta", "op", "out", "saved")

    def __init__(self, op: Op | None = None, edges: tuple[Node | None, ...] = (), saved: tuple = (), out: Tensor | None = None,
                 meta: Any = None):
        self.op = op
        self.edges = edges  # of each operand its node, or None where it needs no gradient
        self.saved = saved  # operands, as Tensors
        self.out = out  # the result, off the tape, for rules such as exp's
        self.meta = meta
        self.age = now()  # younger than the nodes of its operands
        self.grad: Tensor | None = None
        self.keeps_grad = op is None


def is_grad_enabled() -> bool:
    """Whether operations are recorded in this thread."""
    return bool(current())


def no_grad() -> Any:
    """A context (or decorator) in which nothing is recorded."""
    return recording(False)


def enable_grad() -> Any:
    """A context (or decorator) in which operations are recorded, inside no_grad() too."""
    return recording(True)


# -- the backward pass ---------------------------------------------------------------------------------------------


def sweep(outputs: Sequence[Tensor], cotangents: Sequence[Tensor], inputs: Sequence[Tensor] | None, retain_graph: bool,
          create_graph: bool) -> list[Tensor | None]:
    """Walk from the outputs to older nodes. Into the leaves' `.grad`, or, given inputs, to a list of their gradients.

    The youngest node that has a cotangent comes first: whoever used its result is younger still, so nothing can be added
    to that cotangent any more. Leaves lead nowhere, so they come last, and a walk that fails leaves their `.grad` as it was.
    """
    seen_by = watches()
    if not seen_by:
        return _walk(outputs, cotangents, inputs, retain_graph, create_graph, _pull)
    for watch in seen_by:
        watch.sweeping(outputs, cotangents)
    try:
        return _walk(outputs, cotangents, inputs, retain_graph, create_graph, partial(_pull_watched, seen_by))
    finally:
        for watch in seen_by:
            watch.swept()


def _walk(outputs: Sequence[Tensor], cotangents: Sequence[Tensor], inputs: Sequence[Tensor] | None, retain_graph: bool,
          create_graph: bool, pull: Callable[..., None]) -> list[Tensor | None]:
    grads: dict[Node, Tensor] = {}
    waiting: list[tuple[int, Node]] = []  # a heap of (-age, node): the nodes in grads that lead further
    found: dict[Node, Tensor] = {}

    def add(node: Node, g: Tensor) -> None:
        so_far = grads.get(node)
        if so_far is not None:
            grads[node] = so_far + g
            return
        grads[node] = g
        if node.op is not None:
            heappush(waiting, (-node.age, node))

    def settle(node: Node, g: Tensor, unshared: bool = False) -> None:
        if wanted is None:
            if node.keeps_grad:
                node.grad = _own(g, create_graph, unshared) if node.grad is None else node.grad + g
        elif node in wanted:
            found[node] = _own(g, create_graph, unshared)

    with recording(create_graph):
        for t, g in zip(outputs, cotangents, strict=True):
            add(t.node, g)  # type: ignore[arg-type]
        wanted = None if inputs is None else {t.node for t in inputs if t.node is not None}
        live = None if wanted is None else _leading_to(wanted, grads)
        while waiting:
            node = heappop(waiting)[1]
            g = grads.pop(node)
            settle(node, g)
            if live is None or not live.isdisjoint(node.edges):
                pull(node, g, live, create_graph, add)
                if not retain_graph:
                    node.saved, node.out, node.meta = FREED, None, None
        while grads:
            node, g, holders = _last(grads)
            settle(node, g, holders == ALONE)
    return [] if inputs is None else [None if t.node is None else found.get(t.node) for t in inputs]


def _pull(node: Node, g: Tensor, live: set[Node] | None, create_graph: bool, add: Callable[[Node, Tensor], None]) -> None:
    """Apply the rules of one node: from the cotangent of its result to those of its operands."""
    op, saved, out = node.op, node.saved, node.out
    assert op is not None
    if saved is FREED:
        raise RuntimeError(f"a second backward through {op.name}, whose operands were freed by the first: "
                           "pass retain_graph=True to the first one")
    for t in saved:
        if t.written[0] > node.age:
            raise RuntimeError(f"an operand of {op.name}, of shape {t.shape}, was written to in place after it was used: "
                               "its gradient would be wrong")
    if out is not None:
        if out.written[0] > node.age:
            raise RuntimeError(f"the result of {op.name}, of shape {out.shape}, was written to in place: its gradient is "
                               "made from the result, and would be wrong")
        if create_graph:
            out = out.wrap(out.data, node)
    operands = saved or (None,) * len(node.edges)
    if op.at_once:
        needs = [edge is not None and (live is None or edge in live) for edge in node.edges]
        for edge, need, gradient in zip(node.edges, needs, op.rules(needs, g, out, *operands, **node.meta)):
            if need and gradient is not None:
                add(edge, gradient)  # type: ignore[arg-type]
        return
    for edge, rule in zip(node.edges, op.rules):
        if edge is not None and rule is not None and (live is None or edge in live):
            add(edge, rule(g, out, *operands, **node.meta))


def _pull_watched(seen_by: tuple[Watch, ...], node: Node, g: Tensor, live: set[Node] | None, create_graph: bool,
                  add: Callable[[Node, Tensor], None]) -> None:
    """_pull, told as it goes."""
    def add_watched(edge: Node, gradient: Tensor) -> None:
        for watch in seen_by:
            watch.filled(node, edge, gradient)
        add(edge, gradient)
        for watch in seen_by:
            watch.added(node, edge)

    for watch in seen_by:
        watch.pulling(node, g)
    _pull(node, g, live, create_graph, add_watched)
    for watch in seen_by:
        watch.pulled(node)


def _leading_to(wanted: set[Node], start: Iterable[Node]) -> set[Node]:
    """The wanted nodes, and those between them and the start."""
    seen = set(start)
    stack = list(seen)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and edge not in seen:
                seen.add(edge)
                stack.append(edge)
    live = set(wanted)
    for node in sorted(seen, key=attrgetter("age")):
        if not live.isdisjoint(node.edges):
            live.add(node)
    return live


def _own(g: Tensor, create_graph: bool, unshared: bool) -> Tensor:
    """A gradient that no other tensor shares, so that it may be scaled in place (rules such as add's pass g on as it is).

    A recorded one may be shared: the tape refuses to have it written to.
    """
    if create_graph and g.node is not None:
        return g if g.node.op is not None else g.clone()
    return g if unshared and g.node is None and g.data.base is None else g.wrap(g.data.copy())


def _last(grads: dict[Any, Any]) -> tuple[Any, Any, tuple[int, int]]:
    """Take a node and its gradient out; and how many references there are to that and to its array."""
    node, g = grads.popitem()
    return node, g, (getrefcount(g), getrefcount(g.data))


ALONE = _last({None: SimpleNamespace(data=object())})[2]  # for what nobody else holds; a view holds the array it looks at
