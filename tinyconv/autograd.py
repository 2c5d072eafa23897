"""Derivatives as functions: grad, and the checks that compare them with differences.

`gradcheck` holds a directional derivative of the tape against (f(x + h v) - f(x - h v)) / 2h in random directions v, in
float64. `gradgradcheck` does the same to the gradient, which is itself a function of the inputs and the cotangent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .tape import enable_grad, is_grad_enabled, no_grad, sweep
from .tensor import Tensor, cotangent

__all__ = ["GradcheckError", "enable_grad", "grad", "gradcheck", "gradgradcheck", "is_grad_enabled", "no_grad"]


class GradcheckError(AssertionError):
    """A gradient and its difference quotient disagree."""


def grad(outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor], grad_outputs: Any = None,
         retain_graph: bool | None = None, create_graph: bool = False, allow_unused: bool = False) -> tuple[Tensor | None, ...]:
    """Gradients of the outputs (summed, weighted by grad_outputs) with respect to the inputs; `.grad` is left alone.

    Inputs may be any tensors on the tape, leaves or not. create_graph=True records the backward pass, so that the result
    can be differentiated again. Raises RuntimeError for an input that the outputs do not depend on, unless allow_unused
    (then its gradient is None).

    >>> import tinyconv as tc
    >>> x = tc.tensor(3.0, requires_grad=True)
    >>> (g,) = grad(x**3, x, create_graph=True)
    >>> g.item(), grad(g, x)[0].item()
    (27.0, 18.0)
    """
    outs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    cotangents = [grad_outputs] if isinstance(outputs, Tensor) and not isinstance(grad_outputs, (list, tuple)) else grad_outputs
    cotangents = [None] * len(outs) if cotangents is None else list(cotangents)
    if len(cotangents) != len(outs):
        raise ValueError(f"{len(outs)} outputs want {len(outs)} grad_outputs, got {len(cotangents)}")
    for i, t in enumerate(ins):
        if not isinstance(t, Tensor):
            raise TypeError(f"grad wants Tensors as inputs, input {i} is of type {type(t).__name__}")
        if not t.requires_grad:
            raise RuntimeError(f"input {i}, of shape {t.shape}, does not require a gradient")
    for i, t in enumerate(outs):
        if not isinstance(t, Tensor):
            raise TypeError(f"grad wants Tensors as outputs, output {i} is of type {type(t).__name__}")
    cotangents = [cotangent(o, g) for o, g in zip(outs, cotangents)]
    found = sweep(outs, cotangents, ins, create_graph if retain_graph is None else retain_graph, create_graph)
    for i, g in enumerate(found):
        if g is None and not allow_unused:
            raise RuntimeError(f"the outputs do not depend on input {i}, of shape {ins[i].shape}: pass allow_unused=True "
                               "to get None for it")
    return tuple(found)


def gradcheck(fn: Callable[..., Any], inputs: Tensor | Sequence[Tensor], *, eps: float = 1e-6, atol: float = 1e-6,
              rtol: float = 1e-4, directions: int = 3, seed: int = 0) -> bool:
    """Check the first derivatives of fn at `inputs` against central differences in random directions.

    fn: a function of Tensors that returns a Tensor or a sequence of them; every float64 input that requires a gradient is
    checked. eps: the step. A direction passes where |tape - difference| <= atol + rtol * |difference|.
    Returns True. Raises: GradcheckError with both values, and a hint where the two one-sided differences disagree: there
    the function has a kink (a tie of max, a 0 of abs or relu) and no gradient to check.

    >>> import numpy as np, tinyconv as tc
    >>> gradcheck(lambda x: x * x, tc.tensor(np.arange(3.0), requires_grad=True))
    True
    """
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [i for i, t in enumerate(ins) if t.requires_grad]
    if not checked or any(ins[i].dtype != np.float64 for i in checked):
        raise ValueError("gradcheck wants at least one float64 input that requires a gradient, and float64 for all that do; "
                         f"got {[(str(t.dtype), t.requires_grad) for t in ins]}")
    rng = np.random.default_rng(seed)
    with enable_grad():
        outs = _tuple(fn(*ins))
        cotangents = [Tensor(rng.standard_normal(o.shape), dtype=o.dtype, device=o.device) for o in outs]
        live = [(o, c) for o, c in zip(outs, cotangents) if o.requires_grad]
        if not live:
            raise GradcheckError("no output of the function requires a gradient: it is cut off from its inputs")
        grads = grad([o for o, _ in live], [ins[i] for i in checked], [c for _, c in live], allow_unused=True)

    def value(i: int, step: np.ndarray) -> float:
        moved = [Tensor(t.data + step) if j == i else t for j, t in enumerate(ins)]
        with no_grad():
            results = _tuple(fn(*moved))
        if [o.shape for o in results] != [c.shape for c in cotangents]:
            raise GradcheckError(f"the shapes of the results change with input {i}, from {[c.shape for c in cotangents]} to "
                                 f"{[o.shape for o in results]}: there is no gradient to check")
        return sum(float((o.data * c.data).sum()) for o, c in zip(results, cotangents) if o.dtype.kind == "f")

    for i, g in zip(checked, grads):
        if g is not None and (g.shape != ins[i].shape or g.dtype != ins[i].dtype):
            raise GradcheckError(f"input {i} has shape {ins[i].shape} and dtype {ins[i].dtype}, its gradient {g.shape} "
                                 f"and {g.dtype}")
        for _ in range(directions):
            v = Tensor(rng.standard_normal(ins[i].shape), device=ins[i].device).data
            _compare(i, 0.0 if g is None else float((g.data * v).sum()), value, v, eps, atol, rtol)
    return True


def _compare(i: int, tape: float, value: Callable[[int, np.ndarray], float], v: np.ndarray, eps: float, atol: float,
             rtol: float) -> None:
    up, here, down = value(i, eps * v), value(i, 0 * v), value(i, -eps * v)
    difference = (up - down) / (2 * eps)
    if abs(tape - difference) <= atol + rtol * abs(difference):  # false for NaN, as it must be
        return
    ahead, behind = (up - here) / eps, (here - down) / eps
    kink = abs(ahead - behind) > 100 * (atol + rtol * abs(difference))
    hint = (f"; the one-sided differences {ahead:.8g} and {behind:.8g} differ: this input lies on a kink (a tie in a maximum, "
            "a zero of abs or relu), where there is no gradient to check; move it off") if kink else ""
    raise GradcheckError(f"input {i}: along a random direction the tape gives {tape:.10g}, the difference quotient "
                         f"{difference:.10g} (step {eps:g}, atol {atol:g}, rtol {rtol:g}){hint}")


def gradgradcheck(fn: Callable[..., Any], inputs: Tensor | Sequence[Tensor], *, eps: float = 1e-6, atol: float = 1e-6,
                  rtol: float = 1e-4, directions: int = 3, seed: int = 0) -> bool:
    """Check the second derivatives of fn: `gradcheck` of its gradient, as a function of inputs and cotangents."""
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    rng = np.random.default_rng(seed + 1)
    with enable_grad():
        outs = [(o.shape, o.device) for o in _tuple(fn(*ins)) if o.requires_grad]
    cotangents = [Tensor(rng.standard_normal(shape), requires_grad=True, device=device) for shape, device in outs]

    def first(*args: Tensor) -> list[Tensor]:
        with enable_grad():  # the difference quotient runs under no_grad, and this function is a gradient
            own = [t if t.requires_grad else Tensor(t, requires_grad=ins[i].requires_grad) if i < len(ins) else t
                   for i, t in enumerate(args)]
            outs = [o for o in _tuple(fn(*own[:len(ins)])) if o.requires_grad]
            wanted = [t for t, like in zip(own, ins) if like.requires_grad]
            found = grad(outs, wanted, own[len(ins):], create_graph=True, allow_unused=True)
        return [g for g in found if g is not None]

    return gradcheck(first, [*ins, *cotangents], eps=eps, atol=atol, rtol=rtol, directions=directions, seed=seed)


def _tuple(out: Any) -> tuple[Tensor, ...]:
    return (out,) if isinstance(out, Tensor) else tuple(out)
