"""What a thread does beside computing: whether it records operations on the tape, and who looks on.

`current()` is True (recording, as at first), False (under no_grad) or, inside `watched(watch)`, a Watched that says which of
the two and who watches. So looking on costs nothing where nobody does: the tape asks for the mode anyway.
Each thread and each task has a mode of its own. A thread that starts inside the block is not watched; a task is.
Read next: tape.py, which records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .op import Op
    from .registry import Kernel
    from .tape import Node
    from .tensor import Tensor


class Watch:
    """Who looks on: told of every operation and every step of a backward pass, in the order in which they happen.

    Here nothing is done with it; a subclass notes what it wants. It must not write to what it is shown.
    """

    def chose(self, kernel: Kernel, dims: Any, dtype: Any) -> None:
        """The registry picked this kernel for the problem; next it runs."""

    def ran(self, op: Op, operands: tuple[Tensor, ...], meta: dict, out: Tensor) -> None:
        """An operation has run, be it of a forward pass or of a gradient rule. `out.node` is None where it was not recorded."""

    def sweeping(self, outputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> None:
        """A backward pass begins."""

    def pulling(self, node: Node, g: Tensor) -> None:
        """The rules of a node are about to turn g, the cotangent of its result, into those of its operands."""

    def filled(self, node: Node, edge: Node, gradient: Tensor) -> None:
        """A rule of the node made a cotangent of the operand that hangs on `edge`; next it is added to what that has."""

    def added(self, node: Node, edge: Node) -> None:
        """It has been added."""

    def pulled(self, node: Node) -> None:
        """All rules of the node have run."""

    def swept(self) -> None:
        """A backward pass has ended, or failed."""


class Watched:
    """The mode of a thread that is looked at; true where it records."""

    __slots__ = ("recording", "watches")

    def __init__(self, recording: bool, watches: tuple[Watch, ...]):
        self.recording = recording
        self.watches = watches  # the outermost first

    def __bool__(self) -> bool:
        return self.recording

    def record(self, op: Op, data: Any, operands: tuple[Tensor, ...], meta: dict) -> Tensor:
        """What `op.record` does in the mode beneath, and then tell."""
        token = _mode.set(self.recording)
        try:
            out = op.record(data, operands, meta)
        finally:
            _mode.reset(token)
        for watch in self.watches:
            watch.ran(op, operands, meta, out)
        return out


Mode = bool | Watched

_mode: ContextVar[Mode] = ContextVar("tinyconv.mode", default=True)
current = _mode.get


def watches() -> tuple[Watch, ...]:
    """Who looks on in this thread."""
    mode = current()
    return mode.watches if isinstance(mode, Watched) else ()


class recording:
    """A block (or, as a decorator, a function) in which operations are recorded, or not; who looks on still does.

    It may be entered any number of times, also within itself.
    """

    def __init__(self, enabled: bool):
        self.enabled = enabled
        self.tokens: list[Any] = []

    def __enter__(self) -> None:
        seen_by = watches()
        self.tokens.append(_mode.set(Watched(self.enabled, seen_by) if seen_by else self.enabled))

    def __exit__(self, *error: object) -> None:
        _mode.reset(self.tokens.pop())

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(fn)
        def within(*args: Any, **options: Any) -> Any:
            with recording(self.enabled):
                return fn(*args, **options)

        return within


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """A block in which `watch` is told what this thread does; those of the blocks around it are told too, and first."""
    token = _mode.set(Watched(bool(current()), (*watches(), watch)))
    try:
        yield
    finally:
        _mode.reset(token)
