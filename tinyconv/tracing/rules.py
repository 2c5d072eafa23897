"""What a gradient rule does, in words that the code itself gives: which slot it fills, and from what.

The maps of a form say it themselves (forms.py): "x <- conv_input_grad(y, w)", where the cotangent stands in the slot that
the operation filled. Of a function that is not linear the derivative is read from its source: "x <- g * (1.0 - y * y)".
"""

from __future__ import annotations

import ast
import linecache
from functools import lru_cache
from types import CodeType
from typing import Any

from ..op import Op

ARROW = " <- "


def slots(op: Op, count: int) -> list[str]:
    """The names of an operation's `count` operands: the slots of a form, else what its rules or its function call them.

    >>> from ..ops.conv import conv_bias_op, conv_input_grad_op
    >>> slots(conv_bias_op, 3), slots(conv_input_grad_op, 2)
    (['x', 'w', 'b'], ['y', 'w'])
    """
    return [_slot(op, i) for i in range(count)]


def rule(op: Op, i: int) -> str:
    """What fills the gradient of operand i.

    >>> from ..ops.pointwise import add_op, tanh
    >>> from ..ops.pool import max_pool_op
    >>> rule(max_pool_op, 0), rule(add_op, 1), rule(tanh, 0)
    ('x <- pool_scatter(y)', 'b <- g', 'x <- g * (1.0 - y * y)')
    """
    fn = op.rules if op.at_once else op.rules[i]
    text = (fn.__doc__ or "").strip().split("\n")[0].rstrip(".") or _source(fn.__code__) or fn.__name__
    return text if ARROW in text else _slot(op, i) + ARROW + text


def _slot(op: Op, i: int) -> str:
    fn = op.rules if op.at_once else op.rules[i] if i < len(op.rules) else None
    said, arrow, _ = ((fn.__doc__ if fn else "") or "").partition(ARROW)
    if arrow:
        return said
    names = [] if op.at_once else [n for r in op.rules if r and not r.__doc__ for n in _arguments(r)[2 + i:3 + i]]
    names += _arguments(op.forward)[i:i + 1]
    return names[0] if names else "x" if i == 0 else f"x{i}"


def _arguments(fn: Any) -> list[str]:
    """Names of the arguments that are given by position; none for what is not written in Python."""
    code = getattr(fn, "__code__", None)
    return [] if code is None else list(code.co_varnames[:code.co_argcount])


@lru_cache(maxsize=1024)
def _source(code: CodeType) -> str:
    """The body of a lambda as it is written, found by its place in the file; "" for another function, or without the file."""
    if code.co_name != "<lambda>":
        return ""
    text = "".join(linecache.getlines(code.co_filename))
    places = [(*p[::2], *p[1::2]) for p in code.co_positions() if p[3]]  # line, column, last line, last column
    around = [body for body in _bodies(code.co_filename) if all(
        (body.lineno, body.col_offset) <= p[:2] and p[2:] <= (body.end_lineno, body.end_col_offset) for p in places)]
    if not places or not around:
        return ""
    smallest = max(around, key=lambda body: (body.lineno, body.col_offset))
    return " ".join((ast.get_source_segment(text, smallest) or "").split())


@lru_cache(maxsize=64)
def _bodies(file: str) -> list[ast.expr]:
    return [node.body for node in ast.walk(ast.parse("".join(linecache.getlines(file)))) if isinstance(node, ast.Lambda)]
