"""Optimizer: parameters in groups, each with its own options, and what an optimiser remembers of each parameter.

    for group in opt.param_groups: group["lr"] is read at every step, so a schedule just writes it

A step writes each parameter in place, by one kernel of kernels/optim.py, and raises the parameter's version: a backward
pass through a value computed before the step is then refused rather than wrong.
Read next: sgd.py and adaptive.py, the rules; schedule.py, how lr changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from ..device import kind, like
from ..tensor import Tensor, enable_grad

__all__ = ["Optimizer"]

Params = Iterable[Tensor] | Iterable[dict[str, Any]]


class Optimizer:
    """Base of all optimisers.

    params: tensors, or dictionaries {"params": tensors, option: value, ...}, one a group. `param_groups` holds the groups,
    `state` what is remembered: parameter -> {"step": int, name: array like the parameter}.
    Raises: ValueError for no parameters, an option out of range or a parameter given twice, TypeError for what is no parameter.
    """

    kernel: ClassVar[str]  # its name in kernels/optim.py, and in optim_cuda.py

    def __init__(self, params: Params, defaults: dict[str, Any]):
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        if not isinstance(params, Iterable):
            raise TypeError(f"{type(self).__name__} wants parameters, such as model.parameters(), got {type(params).__name__}")
        given: list[Any] = [params] if isinstance(params, Tensor) else list(params)
        if not given:
            raise ValueError(f"{type(self).__name__} got no parameters to optimise")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)
        self._kernel: Any = None
        self._kernel_for = ""  # the device it is for

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Optimise more parameters: {"params": tensors, option: value, ...}; options left out have their default."""
        tensors = param_group["params"]
        tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
        known = {p for group in self.param_groups for p in group["params"]}
        for p in tensors:
            if not isinstance(p, Tensor) or not p.is_leaf or p.dtype not in NOTHING:
                got = f"{p!r} of dtype {p.dtype}" if isinstance(p, Tensor) else type(p).__name__
                raise TypeError(f"an optimiser takes leaf tensors of float32 or float64, got {got}"
                                + ": a module's are its .parameters()" * hasattr(p, "parameters"))
        if len(set(tensors)) < len(tensors) or known & set(tensors):
            raise ValueError("a parameter is given to the optimiser twice")
        unknown = set(param_group) - {"params", *self.defaults}
        if unknown:
            raise ValueError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}; there are: "
                             f"{', '.join(self.defaults)}")
        group = {**self.defaults, **param_group, "params": tensors}
        self._check(group)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to 0."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad = Tensor.wrap(np.zeros_like(p.data))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. A closure, if given, computes the loss first; it is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                grad = p.grad
                if grad is None:
                    continue
                if grad.data.shape != p.data.shape:  # the kernels do not look
                    raise ValueError(f"a gradient of shape {grad.shape} for a parameter of shape {p.shape}: was its data "
                                     "replaced?")
                where = kind(p.data)
                if where != self._kernel_for:
                    self._kernel = getattr(import_module(MODULES[where]), self.kernel)
                    self._kernel_for = where
                state = self.state.setdefault(p, {})
                if not p.data.flags.c_contiguous:  # a flat view of it would be a copy
                    p.data = p.data.copy()
                self._update(p, p.data.reshape(-1), grad.data.ravel(), state, group)
                p.mark_written()
        return loss

    def _check(self, group: dict[str, Any]) -> None:
        """Raise ValueError where an option of the group is out of range."""
        for name in ("lr", "weight_decay", "eps", "momentum", "alpha", "lr_decay", "initial_accumulator_value"):
            if name in group and not group[name] >= 0:
                raise ValueError(f"{name} must be at least 0, got {group[name]}")

    def _update(self, p: Tensor, flat: np.ndarray, g: np.ndarray, state: dict[str, Any], group: dict[str, Any]) -> None:
        """One step of p, in place, through its data as a flat array."""
        raise NotImplementedError

    # -- saving it -----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number of the parameter: its state}, "param_groups": options, with numbers for parameters}.

        Arrays, numbers and strings only. The arrays are those in use: copy them to keep them.
        """
        number = {p: i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        return {
            "state": {number[p]: dict(state) for p, state in self.state.items()},
            "param_groups": [{**group, "params": [number[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`, whose numbers may be strings, as JSON makes them.

        Raises: ValueError where it has other groups, an array of another shape than its parameter, or an option out of range;
        nothing is changed then.
        """
        groups = state_dict["param_groups"]
        sizes, own = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        if sizes != own:
            raise ValueError(f"the state has groups of {sizes} parameters, the optimiser of {own}")
        params = [p for group in self.param_groups for p in group["params"]]
        numbers = [n for group in groups for n in group["params"]]
        by_number = dict(zip(map(int, numbers), params))
        state = {int(n): dict(entries) for n, entries in state_dict["state"].items()}
        if unknown := state.keys() - by_number.keys():
            raise ValueError(f"the state is of parameter {min(unknown)}, the groups hold {len(params)} others")
        for n, entries in state.items():
            p = by_number[n]
            for name, value in entries.items():
                if not np.isscalar(value):
                    if value.shape != p.shape:
                        raise ValueError(f"{name} of parameter {n} has shape {value.shape}, the parameter {p.shape}")
                    entries[name] = like(p.data, value).astype(p.dtype, order="C")
        options = [{k: tuple(v) if isinstance(v, list) else v for k, v in g.items() if k != "params"} for g in groups]
        for group, saved in zip(self.param_groups, options):
            self._check({**group, **saved})
        self.state = {by_number[n]: entries for n, entries in state.items()}
        for group, saved in zip(self.param_groups, options):
            group.update(saved)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += [f"Parameter Group {i}", *(f"    {k}: {v}" for k, v in group.items() if k != "params")]
        return "\n".join([*lines, ")"])


def slot(state: dict[str, Any], name: str, p: Tensor, value: float = 0.0) -> np.ndarray:
    """An array of the state, flat; at first filled with `value`."""
    array = state.get(name)
    if array is None:
        array = state[name] = np.full_like(p.data, value, order="C")
    elif array.shape != p.data.shape:
        raise ValueError(f"{name} of a parameter has shape {array.shape}, the parameter {p.shape}: was its data replaced?")
    elif type(array) is not type(p.data):  # the module has moved since
        array = state[name] = like(p.data, array)
    return array.reshape(-1)


MODULES = {"cpu": "tinyconv.kernels.optim", "cuda": "tinyconv.kernels.optim_cuda"}
NOTHING = {np.dtype(t): np.empty(0, t) for t in ("float32", "float64")}  # in place of state that a variant does without
