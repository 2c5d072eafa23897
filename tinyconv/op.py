"""An Op is a function on arrays that knows its gradient rules; applied to Tensors, it leaves a node on the tape.

    y = op(x1, x2, ...)       y.data = forward(x1.data, x2.data, ...)       dxi = rules[i](g, y, x1, x2, ...)

Read next: forms.py, the one rule that most operations share; ops/, the operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .device import mixed
from .mode import current
from .tape import Node
from .tensor import Tensor

Rule = Callable[..., Tensor]
_new, _generic = object.__new__, np.generic


class Op:
    """A differentiable operation: a function on arrays, and for each operand the rule for its gradient, on Tensors.

    rules[i](g, out, *operands, **meta) -> Tensor shaped like operand i. `keeps` names what the rules read: "x" the
    operands, "y" the result, "xy" both, "" neither; what is not kept is passed as None. A None rule means the operand
    has no gradient. One function instead of a list, rules(needs, g, out, *operands, **meta), gives all of them at once.
    `view` says that the result may share memory with the first operand.
    """

    __slots__ = ("at_once", "forward", "keeps_in", "keeps_out", "name", "rules", "view")

    def __init__(self, name: str, forward: Callable[..., Any], rules: Sequence[Rule | None] | Callable = (), keeps: str = "",
                 view: bool = False):
        self.name = name
        self.forward = forward
        self.rules: Any = rules
        self.at_once = callable(rules)
        self.keeps_in = "x" in keeps
        self.keeps_out = "y" in keeps
        self.view = view

    def __call__(self, *operands: Tensor, **meta: Any) -> Tensor:
        """Run the operation on the operands' arrays, and record it."""
        try:
            return self.record(self.forward(*[t.data for t in operands], **meta), operands, meta)
        except (AttributeError, TypeError):
            got = [type(t).__name__ for t in operands if not isinstance(t, Tensor)]
            if got:
                raise TypeError(f"{self.name} wants tensors, got {got[0]}: tinyconv.tensor(...) makes one") from None
            if why := mixed(self.name, [t.data for t in operands]):
                raise RuntimeError(why) from None
            raise

    def record(self, data: Any, operands: tuple[Tensor, ...], meta: dict) -> Tensor:
        """A Tensor of `data`, on the tape as this operation's result where an operand needs a gradient."""
        out = _new(Tensor)
        out.data = np.asarray(data) if isinstance(data, _generic) else data
        out.node = None
        out.written = operands[0].written if self.view else [0]
        mode = current()
        if mode is True:
            for t in operands:
                if t.node is not None:
                    out.node = Node(self, tuple([t.node for t in operands]), operands if self.keeps_in else (),
                                    out.detach() if self.keeps_out else None, meta)
                    break
        elif mode is not False:
            return mode.record(self, data, operands, meta)
        return out

    def __repr__(self) -> str:
        return f"<op {self.name}>"
