"""The tape: a Tensor is an array that remembers how it was made, and `backward` walks that memory from young to old.

Applying an operation leaves a Node: the operation, what its gradient rules need, and an edge to the node of each operand.
For y = f(x1, x2, ...) and a cotangent g of y, rule i gives the cotangent of xi (the vector-Jacobian product). Rules are
written on Tensors, so a backward pass under `create_graph=True` is itself recorded and can be differentiated again.
This file knows no operation. Read next: forms.py, the one rule that most operations share; ops/, the operations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

__all__ = ["Node", "Op", "Tensor", "enable_grad", "from_numpy", "is_grad_enabled", "no_grad", "sweep", "tensor"]

Rule = Callable[..., "Tensor"]


class _GradMode(threading.local):
    enabled = True


_mode = _GradMode()
_age = count()  # a node is always younger than the nodes of its operands
_by_age = attrgetter("age")
FREED: tuple = ("freed",)


class Node:
    """One step of the tape. A leaf's node has no op; the gradient lives here, so that no reference runs back to a Tensor."""

    __slots__ = ("age", "edges", "grad", "keeps_grad", "meta", "op", "out", "saved", "versions")

    def __init__(self, op: Op | None, edges: tuple[Node | None, ...], saved: tuple, out: Any, meta: dict):
        self.op = op
        self.edges = edges  # of each operand its node, or None where it needs no gradient
        self.saved = saved  # operands, as Tensors
        self.out = out  # the result's array, for rules such as exp's
        self.meta = meta
        self.versions = [t.version[0] for t in saved] if saved else saved
        self.age = next(_age)
        self.grad: Tensor | None = None
        self.keeps_grad = op is None


class Op:
    """A differentiable operation: a function on arrays, and for each operand the rule for its gradient, on Tensors.

    rules[i](g, out, *operands, **meta) -> Tensor shaped like operand i. `keeps` names what the rules read: "x" the
    operands, "y" the result, "xy" both, "" neither; what is not kept is passed as None. A None rule means the operand
    has no gradient. One function instead of a list, rules(needs, g, out, *operands, **meta), gives all of them at once.
    `view` says that the result may share memory with the first operand.
    """

    __slots__ = ("forward", "keeps_in", "keeps_out", "name", "rules", "view")

    def __init__(self, name: str, forward: Callable[..., Any], rules: Sequence[Rule | None] | Callable = (), keeps: str = "",
                 view: bool = False):
        self.name = name
        self.forward = forward
        self.rules: Any = rules
        self.keeps_in = "x" in keeps
        self.keeps_out = "y" in keeps
        self.view = view

    def __call__(self, *operands: Tensor, **meta: Any) -> Tensor:
        """Run the operation on the operands' arrays, and record it."""
        return self.record(self.forward(*[t.data for t in operands], **meta), operands, meta)

    def record(self, data: Any, operands: tuple[Tensor, ...], meta: dict) -> Tensor:
        """A Tensor of `data`, on the tape as this operation's result where an operand needs a gradient."""
        out = _new(Tensor)
        out.data = data
        out.node = None
        out.version = operands[0].version if self.view else [0]
        if _mode.enabled:
            for t in operands:
                if t.node is not None:
                    out.node = Node(self, tuple([t.node for t in operands]), operands if self.keeps_in else (),
                                    data if self.keeps_out else None, meta)
                    break
        return out

    def __repr__(self) -> str:
        return f"<op {self.name}>"


class Tensor:
    """A multi-dimensional array on the tape.

    Tensor(data, requires_grad=False, dtype=None) copies `data`: numbers, nested lists, arrays or tensors. Python floats
    become float32; arrays keep their dtype. `data` is the array, `grad` the accumulated gradient (a Tensor or None).
    Indexing, arithmetic, comparison and the methods of PyTorch's tensors are installed by tinyconv.ops.
    """

    __slots__ = ("__weakref__", "data", "node", "version")
    __array_ufunc__ = None  # so that array * tensor asks the tensor

    if TYPE_CHECKING:  # installed by tinyconv.ops

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        self.data = _to_array(data, dtype)
        self.node: Node | None = None
        self.version = [0]  # shared by views, raised by every write
        if requires_grad:
            self.requires_grad = True

    @classmethod
    def wrap(cls, data: Any, node: Node | None = None) -> Tensor:
        """A Tensor around this very array, without a copy or a check."""
        t = _new(cls)
        t.data, t.node, t.version = data, node, [0]
        return t

    # -- the tape ------------------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor. Setting it makes a leaf, or takes a leaf off the tape."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value == (self.node is not None):
            return
        if self.node is not None and self.node.op is not None:
            raise RuntimeError(f"only a leaf can stop requiring a gradient; this is a result of {self.node.op.name}: "
                               "use detach()")
        if value and self.data.dtype.kind != "f":
            raise TypeError(f"only floating-point tensors can require a gradient, this one is {self.data.dtype}")
        self.node = Node(None, (), (), None, {}) if value else None

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` in place and return the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was made by the user rather than by a recorded operation."""
        return self.node is None or self.node.op is None

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by `backward`; None before."""
        return None if self.node is None else self.node.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None and value.shape != self.shape:
            raise ValueError(f"a gradient of shape {value.shape} for a tensor of shape {self.shape}")
        if self.node is not None:
            self.node.grad = value
        elif value is not None:
            raise RuntimeError("a tensor that does not require a gradient cannot hold one")

    def retain_grad(self) -> None:
        """Keep the gradient of this tensor in `.grad` although it is not a leaf."""
        if self.node is None:
            raise RuntimeError("retain_grad on a tensor that does not require a gradient")
        self.node.keeps_grad = True

    def detach(self) -> Tensor:
        """The same array, off the tape; a write through one is seen by the other."""
        t = Tensor.wrap(self.data)
        t.version = self.version
        return t

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add d self / d leaf into `.grad` of every leaf (and of every tensor that retains it).

        gradient: cotangent of this tensor, of its shape; may be left out for a tensor of one element (then 1).
        retain_graph: keep what the rules need, for another backward; defaults to create_graph.
        create_graph: record the backward pass too, so that gradients can be differentiated.
        Raises: RuntimeError where the tensor does not require a gradient, was written to, or was walked before.
        """
        sweep([self], [gradient], None, create_graph if retain_graph is None else retain_graph, create_graph)

    # -- writing in place ----------------------------------------------------------------------------------------

    def copy_(self, source: Any) -> Tensor:
        """Overwrite the elements with those of `source` (broadcast), in place."""
        return self._write(..., source)

    def fill_(self, value: float) -> Tensor:
        """Overwrite every element with `value`, in place."""
        return self._write(..., value)

    def zero_(self) -> Tensor:
        """Overwrite every element with 0, in place."""
        return self._write(..., 0)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._write(_plain(key), value)

    def _write(self, key: Any, value: Any) -> Tensor:
        self._refuse_write()
        self.data[key] = value.data if isinstance(value, Tensor) else value
        self.version[0] += 1
        return self

    def _refuse_write(self) -> None:
        if self.node is not None and self.node.op is not None:
            raise RuntimeError(f"in-place write to the result of {self.node.op.name}, which the tape may still read: "
                               "write to t.detach().clone(), or build a new tensor")
        if self.node is not None and _mode.enabled:
            raise RuntimeError("in-place write to a leaf that requires a gradient: do it under no_grad()")

    # -- looking at it -------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def device(self) -> str:
        """Where the array lives: "cpu" or "cuda"."""
        return "cpu" if isinstance(self.data, np.ndarray) else "cuda"

    def numel(self) -> int:
        """Number of elements."""
        return self.data.size

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its entry `dim`."""
        return self.data.shape if dim is None else self.data.shape[dim]

    def dim(self) -> int:
        """Number of dimensions."""
        return self.data.ndim

    def item(self) -> float | int | bool:
        """The one element as a Python number. Raises ValueError for more than one."""
        if self.data.size != 1:
            raise ValueError(f"item() wants a tensor of one element, this one has shape {self.shape}")
        return self.data.item()

    def tolist(self) -> Any:
        """The elements as nested lists."""
        return self.data.tolist()

    def numpy(self) -> np.ndarray:
        """The array, read-only and without a copy: the tape may still read it. Copy it to write."""
        return self.__array__()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy or (dtype is not None and np.dtype(dtype) != self.data.dtype):
            return self.data.astype(dtype or self.data.dtype)
        view = self.data.view()
        view.flags.writeable = False
        return view

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def __repr__(self) -> str:
        body = np.array2string(self.data, separator=", ", prefix="tensor(", precision=4)
        notes = [] if self.data.dtype in (np.float32, np.int64, np.bool_) else [f"dtype={self.data.dtype}"]
        if self.node is not None:
            notes.append("requires_grad=True" if self.node.op is None else f"op={self.node.op.name}")
        return f"tensor({', '.join([body, *notes])})"

    def __len__(self) -> int:
        return len(self.data)

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self.data.__index__()

    __hash__ = object.__hash__


_new = object.__new__


def _to_array(data: Any, dtype: Any) -> Any:
    if isinstance(data, Tensor):
        data = data.data
    if hasattr(data, "dtype"):  # an array, or a NumPy scalar
        return np.array(data, dtype) if isinstance(data, np.generic) else data.astype(dtype or data.dtype, copy=True)
    array = np.array(data, dtype)
    if dtype is None and array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"a tensor holds numbers, not {type(data).__name__} ({array.dtype})")
    return array


def _plain(key: Any) -> Any:
    """An index with its Tensors as arrays."""
    if isinstance(key, tuple):
        return tuple(_plain(k) for k in key)
    return key.data if isinstance(key, Tensor) else key


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new Tensor with a copy of `data`; see Tensor."""
    return Tensor(data, requires_grad, dtype)


def from_numpy(array: np.ndarray) -> Tensor:
    """A Tensor around `array`, without a copy (with one, if it is read-only): a later write to it is not seen by the tape."""
    return Tensor.wrap(array if array.flags.writeable else array.copy())


def is_grad_enabled() -> bool:
    """Whether operations are recorded in this thread."""
    return _mode.enabled


@contextmanager
def _grad_mode(enabled: bool) -> Iterator[None]:
    before, _mode.enabled = _mode.enabled, enabled
    try:
        yield
    finally:
        _mode.enabled = before


def no_grad() -> Any:
    """A context (or decorator) in which nothing is recorded."""
    return _grad_mode(False)


def enable_grad() -> Any:
    """A context (or decorator) in which operations are recorded, inside no_grad() too."""
    return _grad_mode(True)


# -- the backward pass ---------------------------------------------------------------------------------------------


def sweep(outputs: Sequence[Tensor], cotangents: Sequence[Any], inputs: Sequence[Tensor] | None, retain_graph: bool,
           create_graph: bool) -> list[Tensor | None]:
    """Walk from the outputs to older nodes. Into the leaves' `.grad`, or, given inputs, to a list of their gradients."""
    grads: dict[Node, Tensor] = {}
    for t, g in zip(outputs, cotangents, strict=True):
        if t.node is None:
            raise RuntimeError("backward from a tensor that does not require a gradient: nothing on the tape leads to it")
        _add(grads, t.node, _cotangent(t, g))
    wanted = None if inputs is None else {t.node for t in inputs if t.node is not None}
    order = _reachable(grads)
    live = None if wanted is None else _leading_to(wanted, order)
    found: dict[Node, Tensor] = {}
    with _grad_mode(create_graph):
        for node in order:
            g = grads.pop(node, None)
            if g is None:
                continue
            if wanted is None:
                if node.keeps_grad:
                    node.grad = _own(g, create_graph) if node.grad is None else node.grad + g
            elif node in wanted:
                found[node] = g
            if node.op is not None and (live is None or node in live):
                _pull(node, g, grads, live)
                if not retain_graph:
                    node.saved, node.out, node.meta = FREED, None, {}
    return [] if inputs is None else [None if t.node is None else found.get(t.node) for t in inputs]


def _pull(node: Node, g: Tensor, grads: dict[Node, Tensor], live: set[Node] | None) -> None:
    """Apply the rules of one node: from the cotangent of its result to those of its operands."""
    op, saved = node.op, node.saved
    assert op is not None
    if saved is FREED:
        raise RuntimeError(f"a second backward through {op.name}, whose operands were freed by the first: "
                           "pass retain_graph=True to the first one")
    for t, version in zip(saved, node.versions):
        if t.version[0] != version:
            raise RuntimeError(f"an operand of {op.name}, of shape {t.shape}, was written to in place after it was used "
                               f"(version {t.version[0]}, used at {version}): its gradient would be wrong")
    operands = saved or (None,) * len(node.edges)
    out = None if node.out is None else Tensor.wrap(node.out, node)
    if callable(op.rules):
        needs = tuple([edge is not None and (live is None or edge in live) for edge in node.edges])
        for edge, gradient in zip(node.edges, op.rules(needs, g, out, *operands, **node.meta)):
            if edge is not None and gradient is not None:
                _add(grads, edge, gradient)
        return
    for edge, rule in zip(node.edges, op.rules):
        if edge is not None and rule is not None and (live is None or edge in live):
            _add(grads, edge, rule(g, out, *operands, **node.meta))


def _add(grads: dict[Node, Tensor], node: Node, g: Tensor) -> None:
    so_far = grads.get(node)
    grads[node] = g if so_far is None else so_far + g


def _reachable(start: Iterable[Node]) -> list[Node]:
    """The nodes that `start` leads to, youngest first: every user of a result comes before the one who made it."""
    seen = set(start)
    stack = list(seen)
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and edge not in seen:
                seen.add(edge)
                stack.append(edge)
    return sorted(seen, key=_by_age, reverse=True)


def _leading_to(wanted: set[Node], order: list[Node]) -> set[Node]:
    """Those nodes from which a wanted one can be reached."""
    live = set(wanted)
    for node in reversed(order):
        if any(edge in live for edge in node.edges):
            live.add(node)
    return live


def _own(g: Tensor, create_graph: bool) -> Tensor:
    """A gradient that no other tensor shares, so that it may be scaled in place (rules such as add's pass g on as it is)."""
    return g if create_graph else Tensor.wrap(g.data.copy())


def _cotangent(t: Tensor, g: Any) -> Tensor:
    if g is None:
        if t.data.size != 1:
            raise RuntimeError(f"backward from a tensor of shape {t.shape} needs a gradient of that shape; "
                               "only a tensor of one element has the obvious one")
        return Tensor.wrap(np.ones_like(t.data))
    g = g if isinstance(g, Tensor) else Tensor(g, dtype=t.dtype)
    if g.shape != t.shape or g.dtype != t.dtype:
        raise ValueError(f"the gradient has shape {g.shape} and dtype {g.dtype}, the tensor {t.shape} and {t.dtype}")
    return g
