"""The one rule. A map that is linear in its operands needs no derivative worked out by hand.

Three slots: T(x, w, y) is a number, linear in each of x, w and y. Leave a slot open, and T is a map that fills it from the
other two. Because T(x, w, y) = <fill_y(x, w), y> = <x, fill_x(y, w)> = <w, fill_w(x, y)>, the gradient of an operand is
the map that fills that operand's slot, from the cotangent and the other operand. Three functions, each other's gradients.
Two slots: T(x, y) = <a(x), y> = <x, b(y)>: an adjoint pair, each the gradient of the other, to every order.
Only what is not linear carries a derivative of its own: `fused` gives it one kernel forward and one backward.
Read next: ops/conv.py, where one line of this makes every derivative of convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .op import Op
from .tape import is_grad_enabled, sweep
from .tensor import Tensor

Fn = Callable[..., Any]


def _says(text: str, rule: Fn) -> Fn:
    """A gradient rule that can tell what it does: the slot that it fills, and the map that fills it from which slots."""
    rule.__doc__ = text
    return rule


def trilinear(name: str, *, y: Fn, x: Fn, w: Fn) -> tuple[Op, Op, Op]:
    """The three maps of a form T(x, w, y): y(x, w), x(y, w) and w(x, y), functions on arrays that share their keywords.

    Returns the operations (fill_y, fill_x, fill_w), differentiable to every order. A bias added to the result in the same
    pass changes none of their rules.
    """
    # a rule puts the cotangent g into the slot that the map filled, and fills the operand's
    to_x, to_w, to_y = f"x <- {name}_input_grad(y, w)", f"w <- {name}_weight_grad(x, y)", f"y <- {name}(x, w)"
    fill_y: Op = Op(name, y, [_says(to_x, lambda g, out, x, w, *bias, **meta: fill_x(g, w, **meta)),
                              _says(to_w, lambda g, out, x, w, *bias, **meta: fill_w(x, g, **meta))], keeps="x")
    fill_x: Op = Op(f"{name}_input_grad", x, [_says(to_y, lambda g, out, y, w, *bias, **meta: fill_y(g, w, **meta)),
                                              _says(to_w, lambda g, out, y, w, *bias, **meta: fill_w(g, y, **meta))], keeps="x")
    fill_w: Op = Op(f"{name}_weight_grad", w, [_says(to_x, lambda g, out, x, y, **meta: fill_x(y, g, **meta)),
                                               _says(to_y, lambda g, out, x, y, **meta: fill_y(x, g, **meta))], keeps="x")
    return fill_y, fill_x, fill_w


def adjoint_pair(a_name: str, a: Fn, b_name: str, b: Fn, *, view: bool = False) -> tuple[Op, Op]:
    """Two linear maps with <a(x), y> = <x, b(y)> for the same keywords; each is the other's gradient rule.

    view: the first may return memory of its operand.
    """
    first: Op = Op(a_name, a, [_says(f"x <- {b_name}(y)", lambda g, out, x, **meta: second(g, **meta))], view=view)
    second: Op = Op(b_name, b, [_says(f"y <- {a_name}(x)", lambda g, out, y, **meta: first(g, **meta))])
    return first, second


def self_adjoint(name: str, fn: Fn, *, view: bool = False) -> Op:
    """A linear map with <a(x), y> = <x, a(y)>: it is its own gradient rule."""
    op: Op = Op(name, fn, [_says(f"x <- {name}(y)", lambda g, out, x, **meta: op(g, **meta))], view=view)
    return op


def fused(name: str, parts: Callable[..., Tensor], forward: Fn, backward: Fn, *, keeps: str = "x") -> Op:
    """A function of Tensors, `parts`, done in one pass by two kernels.

    forward(*arrays, **meta) gives the value; backward(needs, g, out, *arrays, **meta) the gradients of all operands at
    once, None where `needs` says so. The kernels know no second derivative: where the backward pass is itself recorded,
    the parts are run and differentiated instead, so that every order exists and means the same.
    """

    def gradients(needs: Sequence[bool], g: Tensor, out: Tensor | None, *operands: Tensor, **meta: Any) -> Sequence:
        if is_grad_enabled():
            own = [_alias(t) for t in operands]  # the derivative stops here, whatever the operands were made of
            return sweep([parts(*own, **meta)], [g], own, retain_graph=True, create_graph=True)
        arrays = backward(needs, g.data, None if out is None else out.data, *[t.data for t in operands], **meta)
        return [None if a is None else Tensor.wrap(a) for a in arrays]

    return Op(name, forward, _says(f"{name} backward, one pass", gradients), keeps=keeps)


_alias = self_adjoint("alias", lambda x: x, view=True)
