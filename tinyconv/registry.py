"""Every kernel, by operation, algorithm and device, and the choice between them.

A kernel is a function on arrays and a record of what it can do. Each operation holds a ladder of them, slowest first;
`choose` takes the highest rung that does not refuse, or measures (tuning.py). `use("im2col")` pins one for a while,
`algorithm="im2col"` for a call, and `use(avoid="winograd")` forbids one, as where its rounding matters more than its speed.
What is missing on a machine (a compiler, a GPU) is a record that refuses with a sentence, never an error at import.
Read next: kernels/conv/__init__.py, where the ladder of convolution stands as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from .mode import current

Refuse = Callable[[Any, np.dtype], str]


def accepts_all(dims: Any, dtype: np.dtype) -> str:
    """The refusal of a kernel that takes everything: no sentence."""
    return ""


def no_scratch(dims: Any, dtype: np.dtype) -> int:
    """The scratch memory of a kernel that needs none: 0 bytes."""
    return 0


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """One algorithm for one operation on one device.

    fn(slot, slot, dims): arrays and a ConvDims or PoolDims in, a new array out; it never writes to what it is given.
    refuse(dims, dtype): "" or a sentence that says why not.
    exact: equals the reference bit for bit on small integers; if not, `bound` states how far off it may be, relative to
        the largest sum of magnitudes, in units of the dtype's eps.
    scratch(dims, dtype): bytes of working memory beyond operands and result.
    fuses: names of what fn takes as further keywords and does in the same pass ("bias", "relu").
    automatic: whether `choose` may take it unasked.
    """

    op: str
    algorithm: str
    fn: Callable[..., Any]
    device: str = "cpu"
    refuse: Refuse = accepts_all
    exact: bool = True
    bound: float = 0.0
    scratch: Callable[[Any, np.dtype], int] = no_scratch
    fuses: frozenset[str] = frozenset()
    automatic: bool = True

    @property
    def summary(self) -> str:
        """First line of the kernel's docstring."""
        return (self.fn.__doc__ or "").strip().split("\n")[0]


class Tuner(Protocol):
    """What chooses by measuring (tuning.py)."""

    def threads(self) -> int:
        """How many threads kernels run on: what was fastest on one need not be on two."""

    def choose(self, candidates: list[Kernel], dims: Any, dtype: np.dtype) -> Kernel:
        """One of these, which do not refuse, the highest rung first."""


_tuner: Tuner | None = None
_ladders: dict[str, list[Kernel]] = {}
_providers: dict[str, str] = {}
_chosen: dict[tuple, Kernel] = {}  # remembered choices, forgotten when a kernel is registered
_CHOSEN_MAX = 4096
Names = tuple[str, ...]
_wishes: ContextVar[tuple[Names, frozenset[str]]] = ContextVar("tinyconv.wishes", default=((), frozenset()))  # pinned, avoided
HOLLOW = "hollow"  # pinned by `hollow`, and on no ladder


def provide(module: str, *ops: str) -> None:
    """Name the module whose import registers the kernels of `ops`, so that a toolchain loads on first use."""
    for op in ops:
        _providers[op] = module


def register(*kernels: Kernel) -> None:
    """Append kernels to the ladders of their operations, each faster than those before it."""
    for k in kernels:
        ladder = _ladders.setdefault(k.op, [])
        ladder[:] = [old for old in ladder if (old.algorithm, old.device) != (k.algorithm, k.device)] + [k]
    _chosen.clear()


def kernel(op: str, algorithm: str, *, device: str = "cpu", refuse: Refuse = accepts_all, exact: bool = False,
           bound: float = 16.0, automatic: bool = False) -> Callable[[Callable], Callable]:
    """Register the decorated function as a kernel of your own.

    It gets the checks and the bench of the built-in ones, and runs when named (`use("mine")`, `algorithm="mine"`), or
    unasked too with automatic=True.

    >>> @kernel("conv", "half_baked", refuse=lambda dims, dtype: "it is only an example")
    ... def conv_half_baked(x, w, dims): ...
    >>> unregister("half_baked")
    """
    kernels(op)  # raises for an unknown operation

    def add(fn: Callable) -> Callable:
        register(Kernel(op, algorithm, fn, device, refuse, exact, bound, automatic=automatic))
        return fn

    return add


def unregister(algorithm: str) -> None:
    """Take every kernel of this name off the ladders."""
    for ladder in _ladders.values():
        ladder[:] = [k for k in ladder if k.algorithm != algorithm]
    _chosen.clear()


def set_tuner(tuner: Tuner | None) -> Tuner | None:
    """Have `choose` ask this one between the kernels it might take, or nobody; returns the one before."""
    global _tuner
    before, _tuner = _tuner, tuner
    _chosen.clear()
    return before


def ops() -> list[str]:
    """Names of the operations that have kernels."""
    return sorted({*_providers, *_ladders})


def kernels(op: str) -> list[Kernel]:
    """The ladder of an operation, slowest first. Raises ValueError for an unknown one."""
    if op in _providers:
        import_module(_providers[op])
    if op not in _ladders:
        raise ValueError(f"no operation {op!r}; there are: {', '.join(ops())}")
    return _ladders[op]


def choose(op: str, dims: Any, dtype: np.dtype, device: str = "cpu", algorithm: str | None = None,
           prefer: str | None = None) -> Kernel:
    """The kernel for this problem: the named one, else the pinned one, else the highest rung that does not refuse.

    `prefer` names one that is taken where the operation has it and it does not refuse.
    Raises: ValueError where the name is unknown, or where the named or pinned kernel refuses (with its reason).
    """
    pinned, avoided = ((algorithm,), frozenset[str]()) if algorithm else _wishes.get()
    key = (op, dims, dtype, device, pinned, avoided, prefer, _tuner and _tuner.threads())
    found = _chosen.get(key)
    if found is None:
        found = _search(op, dims, dtype, device, pinned, avoided, algorithm is not None, prefer)
        if len(_chosen) >= _CHOSEN_MAX:
            _chosen.clear()
        _chosen[key] = found
    mode = current()
    if mode is not True and mode is not False:  # someone looks on
        for watch in mode.watches:
            watch.chose(found, dims, dtype)
    return found


def _search(op: str, dims: Any, dtype: np.dtype, device: str, pinned: tuple[str, ...],
            avoided: frozenset[str], named: bool, prefer: str | None) -> Kernel:
    if HOLLOW in pinned and op in (hollows := import_module("tinyconv.kernels.hollow").HOLLOWS):
        return hollows[op]
    ladder = [k for k in kernels(op) if k.device == device and k.algorithm not in avoided]
    for k in ladder:
        if k.algorithm == prefer and not k.refuse(dims, dtype):
            return k
    for name in pinned:
        for k in ladder:
            if k.algorithm == name:
                why = k.refuse(dims, dtype)
                if why:
                    raise ValueError(f"{op} by {name!r} refuses {dims} in {dtype}: {why}")
                return k
        if named:
            known = ", ".join(k.algorithm for k in ladder) or "none"
            raise ValueError(f"no algorithm {name!r} for {op} on {device}; there are: {known}")
    reasons: list[str] = []
    candidates: list[Kernel] = []
    for k in reversed(ladder):
        if k.automatic:
            why = k.refuse(dims, dtype)
            if why:
                reasons.append(f"{k.algorithm}: {why}")
            elif _tuner is None:
                return k
            else:
                candidates.append(k)
    if candidates and _tuner is not None:
        return _tuner.choose(candidates, dims, dtype)
    raise ValueError(f"no kernel takes {op} of {dims} in {dtype} on {device}: " + "; ".join(reasons or ["there is none"]))


@contextmanager
def use(*algorithms: str, avoid: str | tuple[str, ...] = ()) -> Iterator[None]:
    """Pin algorithms for the block: each operation that has one of them uses it, the others choose as ever.

    Those to `avoid` are not chosen in it, unless pinned by a `use` further in, or named in a call.
    Raises: ValueError for a name that no operation has.

    >>> with use("im2col"):
    ...     pass  # every convolution here is patches and a matrix product
    >>> with use(avoid="winograd"):
    ...     pass  # every convolution here is exact on small integers, and rounds no more than its sums must
    """
    avoid = (avoid,) if isinstance(avoid, str) else tuple(avoid)
    known = {k.algorithm for op in ops() for k in kernels(op)}
    for name in algorithms + avoid:
        if name not in known:
            raise ValueError(f"no algorithm {name!r}; there are: {', '.join(sorted(known))}")
    pinned, avoided = _wishes.get()
    token = _wishes.set((algorithms + pinned, (avoided - {*algorithms}) | {*avoid}))
    try:
        yield
    finally:
        _wishes.reset(token)


@contextmanager
def hollow() -> Iterator[None]:
    """In the block kernels compute nothing: results have the right shape and hold zeros (kernels/hollow.py).

    What a network is made of can be read off the tape after such a pass, whatever it would cost; no toolchain is loaded.
    """
    pinned, avoided = _wishes.get()
    wished = _wishes.set(((HOLLOW, *pinned), avoided))
    try:
        yield
    finally:
        _wishes.reset(wished)


def table(op: str | None = None, dims: Any = None, dtype: Any = "float32") -> str:
    """The ladders as text: a line a kernel, slowest first; with `dims`, why each refuses them, and which is chosen."""
    lines = []
    for name in [op] if op else ops():
        chosen = choose(name, dims, np.dtype(dtype)) if dims is not None else None
        for k in kernels(name):
            why = k.refuse(dims, np.dtype(dtype)) if dims is not None else ""
            mark = "*" if k is chosen else "-" if why else " "
            lines.append(f"{mark} {k.op:<18} {k.algorithm:<14} {k.device:<5} {why or k.summary}")
    return "\n".join(lines)
