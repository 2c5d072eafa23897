"""Modules made of modules: Sequential, which runs them one after another, and ModuleList, which only holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..mode import watches
from ..tensor import Tensor
from .activation import ReLU
from .module import Module

__all__ = ["ModuleList", "Sequential"]


class _Listed(Module):
    """Modules in order, by number or by name."""

    def _items(self) -> list[Module]:
        return list(self.children())

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._items())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._like(dict(list(self.named_children())[index]))
        return self._items()[index]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, list(dict(self.named_children()))[index], _checked(self, module))

    def append(self, module: Module) -> Any:
        """Add a module at the end, and return self."""
        number = len(self)
        while str(number) in vars(self):  # a slice keeps its names
            number += 1
        setattr(self, str(number), _checked(self, module))
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end, and return self."""
        for module in modules:
            self.append(module)
        return self

    def _like(self, named: Mapping[str, Module]) -> Any:
        raise NotImplementedError


class Sequential(_Listed):
    """Modules applied in turn: Sequential(a, b, c)(x) = c(b(a(x))). An OrderedDict or dict of modules gives them names.

    A ReLU is done in the same pass as a convolution, linear layer, batch norm or max pooling before it, and after a max
    pooling that follows it: the same function, with fewer walks through memory.
    Indexing gives a module, a slice another Sequential of the same modules.
    """

    def __init__(self, *modules: Any):
        named = modules[0] if len(modules) == 1 and isinstance(modules[0], Mapping) else dict(enumerate(modules))
        for name, module in named.items():
            if "." in str(name) or hasattr(type(self), str(name)):
                raise ValueError(f"{name!r} cannot name a module: it holds a dot, or is an attribute of {type(self).__name__}")
            setattr(self, str(name), _checked(self, module))

    def _like(self, named: Mapping[str, Module]) -> Sequential:
        return Sequential(named)

    def forward(self, x: Any) -> Tensor:
        order = _cheapest_order([m for m in vars(self).values() if isinstance(m, Module)])
        apart, skip = bool(watches()), False  # who looks on, as a trace does, sees every layer by itself
        for module, after in zip(order, [*order[1:], None]):
            if skip:
                skip = False
            elif type(after) is ReLU and not apart and _fuses(module) and "forward" not in vars(after):
                x, skip = module(x, relu=True), True
            else:
                x = module(x)
        return x


def _cheapest_order(modules: list[Module]) -> list[Module]:
    """Activations that never fall commute with a maximum, max(f(a), f(b)) = f(max(a, b)): they go after the pooling, where
    fewer elements are left. Values and gradients are those of the order as written, to rounding."""
    order = list(modules)
    for i in range(1, len(order)):
        if order[i].takes_maximum and order[i - 1].never_falls:
            order[i - 1], order[i] = order[i], order[i - 1]
    return order


def _fuses(module: Module) -> bool:
    """Whether this very module's forward can end with a relu: nothing stands in for it, and the class that defines it, be
    it a user's own, says so."""
    return "forward" not in vars(module) and bool(
        vars(next(c for c in type(module).__mro__ if "forward" in vars(c))).get("fuses_relu"))


class ModuleList(_Listed):
    """A list of modules whose parameters are found; how they are used is up to the module that holds it."""

    def __init__(self, modules: Iterable[Module] = ()):
        self.extend(modules)

    def _like(self, named: Mapping[str, Module]) -> ModuleList:
        return ModuleList(named.values())


def _checked(holder: Module, module: Any) -> Module:
    if not isinstance(module, Module):
        raise TypeError(f"{type(holder).__name__} holds modules, got {module if isinstance(module, type) else type(module)}"
                        + (": did you mean to call it?" if isinstance(module, type) else ""))
    return module
