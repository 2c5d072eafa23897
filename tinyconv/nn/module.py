"""Module: a function with parameters. Its parts are its attributes, found by looking at them.

A Parameter is a tensor that is trained, a Buffer one that is only kept (running statistics); a Module may hold all three
kinds. What is reached through attributes has a dotted name, "conv1.weight", the key in `state_dict`, as in PyTorch.
Read next: conv.py, layers of this kind; containers.py, modules made of modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..device import is_named, kind, kind_named, put
from ..tensor import NUMBERS, Tensor, no_grad

if TYPE_CHECKING:
    from .summary import Summary

__all__ = ["Buffer", "IncompatibleKeys", "Module", "Parameter"]


class Parameter(Tensor):
    """A tensor that an optimiser trains: a leaf that requires a gradient, unless it is frozen."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, dtype: Any = None):
        super().__init__(data, requires_grad, dtype)

    @classmethod
    def empty(cls, *shape: int, dtype: Any = None) -> Any:
        """A parameter whose values are yet to be drawn: its memory is not touched. float32, unless dtype says otherwise."""
        return cls.wrap(np.empty(shape, dtype or np.float32)).requires_grad_()


class Buffer(Tensor):
    """A tensor that belongs to a module's state but is not trained; persistent=False keeps it out of `state_dict`."""

    __slots__ = ("persistent",)

    def __init__(self, data: Any, persistent: bool = True):
        super().__init__(data)
        self.persistent = persistent


class IncompatibleKeys(NamedTuple):
    """What load_state_dict(strict=False) left out: names that got no value, and values that no name asked for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def check_rank(layer: Module, x: Any, *ranks: int) -> None:
    """Raises: TypeError where x is no Tensor, ValueError where it has none of these numbers of dimensions, (N, C, *spatial)."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{type(layer).__name__} wants a Tensor, got {type(x).__name__}: tinyconv.tensor(...) makes one")
    if x.data.ndim not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise ValueError(f"{type(layer).__name__} wants an input (N, C, *spatial) of {wanted} dimensions, got shape {x.shape}")


class Module:
    """Base of all layers and networks. A subclass sets parts as attributes and defines `forward`.

    >>> import tinyconv as tc
    >>> class Scale(tc.nn.Module):
    ...     def __init__(self):
    ...         self.factor = tc.nn.Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Scale()(tc.tensor([3.0])).tolist(), list(Scale().state_dict())
    ([6.0], ['factor'])
    """

    training = True
    never_falls = False  # an activation f with f(a) <= f(b) wherever a <= b
    takes_maximum = False  # a pooling that gives the largest of each window, and nothing else
    fuses_relu = False  # forward takes relu=True, and gives the larger of its result and 0 in the same pass

    if TYPE_CHECKING:  # parts set by register_buffer, or by name

        def __getattr__(self, name: str) -> Any: ...

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the module computes. Defined by subclasses."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self.forward(*inputs, **options)

    def __setattr__(self, name: str, value: Any) -> None:
        old = self.__dict__.get(name)
        if isinstance(old, Parameter) and not isinstance(value, (Parameter, type(None))):
            raise TypeError(f"{type(self).__name__}.{name} is a Parameter: assign a Parameter, or write into it with "
                            "copy_ under no_grad()")
        if isinstance(old, Buffer) and not isinstance(value, (Buffer, Parameter, type(None))):
            if not isinstance(value, Tensor):
                raise TypeError(f"{type(self).__name__}.{name} is a Buffer: assign a Tensor, not {type(value).__name__}")
            value = Buffer(value, old.persistent)
        object.__setattr__(self, name, value)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Set attribute `name` to a Buffer with a copy of `tensor`; None says that it has none."""
        setattr(self, name, None if tensor is None else Buffer(tensor, persistent))

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Set attribute `name` to a Parameter, or to None. Raises TypeError for anything else."""
        if not isinstance(param, Parameter | None):
            raise TypeError(f"register_parameter({name!r}) wants a Parameter or None, got {type(param).__name__}")
        setattr(self, name, param)

    # -- what it is made of --------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules among its attributes, with their names."""
        return ((k, v) for k, v in vars(self).items() if isinstance(v, Module))

    def children(self) -> Iterator[Module]:
        """The modules among its attributes."""
        return (m for _, m in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with their dotted names ("" for this one)."""
        seen: set[Module] = set()
        for name, module in self._walk(prefix):
            if module not in seen:
                seen.add(module)
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (m for _, m in self.named_modules())

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its dotted name; of this module alone with recurse=False."""
        return self._named(Parameter, prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Buffer]]:
        """Every buffer once, with its dotted name."""
        return self._named(Buffer, prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        """Every buffer once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it; one that is used in two places comes twice."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name)

    def _named(self, kind: type, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, t in vars(module).items():
                if isinstance(t, kind) and id(t) not in seen:
                    seen.add(id(t))
                    yield f"{path}.{name}" if path else name, t

    # -- its state -----------------------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Dotted name -> tensor, for every parameter and persistent buffer. They share memory with the module: copy to keep.

        prefix stands before every name, as in "net.".
        """
        return {prefix + name: t.detach() for name, t in self._state()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Write tensors or arrays into the parameters and buffers of the same names.

        strict=False lets names be missing or unexpected, and returns them. Nothing is written where an error is raised.
        Raises: ValueError that lists every missing and unexpected name, every one of another shape with both shapes, and
        every one that holds no numbers.
        """
        own = dict(self._state())
        missing = [k for k in own if k not in state_dict]
        unexpected = [k for k in state_dict if k not in own]
        found = {k: _array(v) for k, v in state_dict.items() if k in own}
        problems = [f"missing: {', '.join(missing)}"] if missing and strict else []
        problems += [f"unexpected: {', '.join(unexpected)}"] if unexpected and strict else []
        problems += [f"{k} has shape {a.shape} in the state, {own[k].shape} in the module"
                     for k, a in found.items() if a.shape != own[k].shape]
        problems += [f"{k} holds {a.dtype} in the state, no numbers that a tensor holds"
                     for k, a in found.items() if np.dtype(a.dtype).kind not in NUMBERS]
        if problems:
            raise ValueError(f"the state does not fit {type(self).__name__}: {'; '.join(problems)}")
        with no_grad():
            for k, a in found.items():
                own[k].copy_(a)
        return IncompatibleKeys(missing, unexpected)

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        for path, module in self._walk():
            dot = path + "." if path else ""
            own = vars(module).items()
            yield from ((dot + k, t) for k, t in own if isinstance(t, Parameter))
            yield from ((dot + k, t) for k, t in own if isinstance(t, Buffer) and t.persistent)

    # -- changing it as a whole ----------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Switch this module and all below to training (dropout drops, batch norm uses the batch's statistics)."""
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Module:
        """Switch this module and all below to evaluation."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Freeze every parameter, or thaw it."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to 0."""
        for p in self.parameters():
            zero_grad(p, set_to_none)

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Call fn on every module below, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Module:
        """Turn all floating-point parameters, gradients and buffers to a dtype, move all to a device, or both, in place.

        to("float64"), to("cuda"), to("cuda", "float64"). The parameters stay the same objects, so that an optimiser that was
        given them goes on. Raises: RuntimeError that says what is missing where a GPU cannot be used.
        """
        for a in args:
            device, dtype = (a, dtype) if is_named(a) else (device, a)
        turned = None if dtype is None else np.dtype(dtype)
        if turned is not None and turned.kind != "f":
            raise TypeError(f"a module can be turned to a floating-point dtype, not to {turned}")
        where = None if device is None else kind_named(device)
        for t in [*self.parameters(), *self.buffers()]:
            grad = t.grad
            t.grad = None
            for part in (t, grad):
                if part is not None:
                    data = put(part.data, where or kind(part.data))
                    part.data = data.astype(turned, copy=False) if turned is not None and data.dtype.kind == "f" else data
            t.grad = grad
        return self

    def cuda(self) -> Module:
        """Move the module to the GPU."""
        return self.to("cuda")

    def cpu(self) -> Module:
        """Move the module to the host."""
        return self.to("cpu")

    def float(self) -> Module:
        """Turn the module to float32."""
        return self.to(np.float32)

    def double(self) -> Module:
        """Turn the module to float64."""
        return self.to(np.float64)

    # -- how it looks --------------------------------------------------------------------------------------------

    def summary(self, *input_sizes: tuple[int, ...]) -> Summary:
        """Of one sample of these sizes, (C, H, W) without the batch: every layer's sizes, costs and receptive field."""
        from .summary import summary

        return summary(self, *input_sizes)

    def extra_repr(self) -> str:
        """What stands between the brackets of the module's repr, besides its children."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}({extra}\n  " + "\n  ".join(lines) + "\n)"


def zero_grad(p: Tensor, set_to_none: bool) -> None:
    """Drop the gradient of a tensor, or set it to 0."""
    if set_to_none or p.grad is None:
        p.grad = None
    else:
        p.grad = Tensor.wrap(np.zeros_like(p.data))


def _array(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value if kind(value) == "cuda" else np.asarray(value)
