"""A Tensor is an array that may hang on the tape.

    t.data the array, NumPy's or CuPy's      t.node what the tape knows of it, or None      t.grad the gradient, a Tensor

This file knows no operation. Read next: op.py, what makes Tensors of Tensors; tape.py, the nodes and the backward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .device import device_of, kind, kind_named, like, mixed, namespace, put, to_host
from .mode import current
from .tape import Node, enable_grad, is_grad_enabled, no_grad, now, sweep

__all__ = ["Tensor", "enable_grad", "from_dlpack", "from_numpy", "is_grad_enabled", "no_grad", "tensor"]


class Tensor:
    """A multi-dimensional array on the tape.

    Tensor(data, requires_grad=False, dtype=None, device=None) copies `data`: numbers, nested lists, arrays or tensors. Python
    floats become float32; arrays keep their dtype. device: "cpu" or "cuda"; by default where `data` lives, the host for what
    is no array. `data` is the array, NumPy's or CuPy's: what is written to it directly, the tape does not see (write through
    the tensor, or call `mark_written`). `grad` is the accumulated gradient, a Tensor or None.
    Indexing, arithmetic, comparison and the methods of PyTorch's tensors are installed by tinyconv.ops.
    """

    __slots__ = ("__weakref__", "data", "node", "written")
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
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None, device: Any = None):
        self.data = _to_array(data, dtype, device)
        self.node: Node | None = None
        self.written = [0]  # when, by the tape's clock; shared by views
        if requires_grad:
            self.requires_grad = True

    @classmethod
    def wrap(cls, data: Any, node: Node | None = None) -> Tensor:
        """A Tensor around this very array, without a copy; a NumPy scalar, which its 0-d results are, becomes an array."""
        t = _new(cls)
        t.data = np.asarray(data) if isinstance(data, _generic) else data
        t.node, t.written = node, [0]
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
        self.node = Node() if value else None

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
        if value is None:
            if self.node is not None:
                self.node.grad = None
            return
        if not isinstance(value, Tensor):
            raise TypeError(f"a gradient is a Tensor or None, got {type(value).__name__}")
        if why := mixed("setting a gradient", (self.data, value.data)):
            raise RuntimeError(why)
        if value.shape != self.shape or value.dtype != self.dtype:
            raise ValueError(f"a gradient of shape {value.shape} and dtype {value.dtype} for a tensor of shape {self.shape} "
                             f"and dtype {self.dtype}")
        if self.node is None:
            raise RuntimeError("a tensor that does not require a gradient cannot hold one")
        self.node.grad = value

    def retain_grad(self) -> None:
        """Keep the gradient of this tensor in `.grad` although it is not a leaf."""
        if self.node is None:
            raise RuntimeError("retain_grad on a tensor that does not require a gradient")
        self.node.keeps_grad = True

    def detach(self) -> Tensor:
        """The same array, off the tape; a write through one is seen by the other."""
        t = _new(Tensor)
        t.data, t.node, t.written = self.data, None, self.written
        return t

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add d self / d leaf into `.grad` of every leaf (and of every tensor that retains it).

        gradient: cotangent of this tensor, of its shape; may be left out for a tensor of one element (then 1).
        retain_graph: keep what the rules need, for another backward; defaults to create_graph.
        create_graph: record the backward pass too, so that gradients can be differentiated.
        Raises: RuntimeError where the tensor does not require a gradient, was written to, or was walked before.
        """
        sweep([self], [cotangent(self, gradient)], None, create_graph if retain_graph is None else retain_graph, create_graph)

    # -- writing in place ----------------------------------------------------------------------------------------

    def copy_(self, source: Any) -> Tensor:
        """Overwrite the elements with those of `source` (broadcast), in place; it may live on the other device."""
        return self._write(..., source)

    def fill_(self, value: float) -> Tensor:
        """Overwrite every element with `value`, in place."""
        return self._write(..., value)

    def zero_(self) -> Tensor:
        """Overwrite every element with 0, in place."""
        return self._write(..., 0)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._write(plain(key, self.data), value)

    def mark_written(self) -> None:
        """Tell the tape that `data` was written to: a backward pass that needs what stood there before refuses."""
        self.written[0] = now()

    def _write(self, key: Any, value: Any) -> Tensor:
        self._refuse_write()
        if isinstance(value, Tensor):
            if value.node is not None and current():
                raise RuntimeError("writing a tensor that requires a gradient into one in place would lose its gradient: "
                                   "write value.detach(), or build a new tensor (where, cat, stack)")
            value = value.data
        self.data[key] = value if np.isscalar(value) or isinstance(value, (list, tuple)) else like(self.data, value)
        self.mark_written()
        return self

    def _refuse_write(self) -> None:
        if self.node is not None and self.node.op is not None:
            raise RuntimeError(f"in-place write to the result of {self.node.op.name}, which the tape may still read: "
                               "write to t.detach().clone(), or build a new tensor")
        if self.node is not None and current():
            raise RuntimeError("in-place write to a leaf that requires a gradient: do it under no_grad()")
        if not getattr(self.data.flags, "writeable", True):  # CuPy's arrays have no such flag
            raise ValueError(f"in-place write to a tensor of shape {self.shape} that is read-only, as are an expanded one and "
                             "the indices of a pooling: write to t.clone()")

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
        """Where the array lives: "cpu" or "cuda:0"."""
        return device_of(self.data)

    @property
    def is_cuda(self) -> bool:
        """Whether the array lives on the GPU."""
        return kind(self.data) == "cuda"

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
        """The one element as a Python number; from the GPU it is waited for. Raises ValueError for more than one."""
        if self.data.size != 1:
            raise ValueError(f"item() wants a tensor of one element, this one has shape {self.shape}")
        return self.data.item()

    def tolist(self) -> Any:
        """The elements as nested lists."""
        return self.data.tolist()

    def numpy(self) -> np.ndarray:
        """The array, read-only and without a copy: the tape may still read it. Copy it to write.

        Raises: TypeError for a tensor on the GPU, which `cpu()` copies to the host.
        """
        return self.__array__()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if type(self.data) is not np.ndarray and self.is_cuda:
            raise TypeError(f"a tensor of shape {self.shape} on {self.device} is no array of NumPy's: .cpu() copies it to the "
                            "host first")
        if copy or (dtype is not None and np.dtype(dtype) != self.data.dtype):
            if copy is False:
                raise ValueError(f"a tensor of {self.data.dtype} as an array of {np.dtype(dtype)} is a copy")
            return self.data.astype(dtype or self.data.dtype)
        view = self.data.view()
        view.flags.writeable = False
        return view

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The address of the array, for libraries that take arrays on a GPU as they are; the CPU's have none."""
        if not self.is_cuda:
            raise AttributeError("a tensor on the cpu has no __cuda_array_interface__: .cuda() copies it to the GPU")
        return self.data.__cuda_array_interface__

    def __repr__(self) -> str:
        body = np.array2string(to_host(self.data), separator=", ", prefix="tensor(", precision=4)
        notes = [f"shape={self.shape}"] if self.data.size == 0 and self.ndim > 1 else []
        if self.data.dtype not in (np.float32, np.int64, np.bool_):
            notes.append(f"dtype={self.data.dtype}")
        if self.is_cuda:
            notes.append(f"device={self.device}")
        if self.node is not None:
            notes.append("requires_grad=True" if self.node.op is None else f"op={self.node.op.name}")
        return f"tensor({', '.join([body, *notes])})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.ndim == 0 else super().__format__(spec)

    def __len__(self) -> int:
        if self.data.ndim == 0:
            raise TypeError("a tensor of no dimensions has no length and no rows")
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self.data == (value.data if isinstance(value, Tensor) else value)).any())

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ValueError(f"a tensor of shape {self.shape} is neither true nor false: use any() or all()")
        return bool(self.data.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return self.data.__index__()

    __hash__ = object.__hash__

    def __deepcopy__(self, memo: dict) -> Tensor:
        """A leaf of its own, with a copy of the elements and of the gradient."""
        if self.node is not None and self.node.op is not None:
            raise RuntimeError(f"only a leaf can be deep-copied; this is a result of {self.node.op.name}: use detach()")
        twin = type(self).wrap(self.data.copy(), None if self.node is None else Node())
        twin.grad = None if self.grad is None else Tensor.wrap(self.grad.data.copy())
        for cls in type(self).__mro__[:-2]:  # what subclasses add
            slots = cls.__dict__.get("__slots__")
            for name in vars(self) if slots is None else slots:
                setattr(twin, name, copy.deepcopy(getattr(self, name), memo))
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("tensors are not pickled or shallow-copied: save weights as safetensors, send t.numpy(), use clone()")


_new = object.__new__
_generic = np.generic
NUMBERS = "fiub"  # what a tensor holds, by the kinds of NumPy's dtypes


def _to_array(data: Any, dtype: Any, device: Any = None) -> Any:
    if isinstance(data, Tensor):
        data = data.data
    where = None if device is None else kind_named(device)
    if type(data) is not np.ndarray and (kind(data) == "cuda" or hasattr(data, "__cuda_array_interface__")):
        array = namespace(kind_named("cuda")).array(data, dtype)
    else:
        array = np.array(data, dtype)
        if dtype is None and array.dtype == np.float64 and not hasattr(data, "dtype"):
            array = array.astype(np.float32)
    if array.dtype.kind not in NUMBERS:
        raise TypeError(f"a tensor holds numbers, not {type(data).__name__} ({array.dtype})")
    return array if where is None else put(array, where)


def plain(key: Any, x: Any) -> Any:
    """An index of x with its Tensors as arrays, and all arrays where x lives."""
    if isinstance(key, tuple):
        return tuple(plain(k, x) for k in key)
    key = key.data if isinstance(key, Tensor) else key
    return key if type(x) is np.ndarray or not hasattr(key, "dtype") or np.isscalar(key) else like(x, key)


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new Tensor with a copy of `data`; see Tensor."""
    return Tensor(data, requires_grad, dtype, device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A Tensor around `array`, without a copy (with one, if it is read-only): a later write to it is not seen by the tape.

    Raises: TypeError for what is no array of numbers.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in NUMBERS:
        got = f"one of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"from_numpy wants an array of numbers of NumPy's, got {got}: tinyconv.tensor(...) copies what is none")
    return Tensor.wrap(array if array.flags.writeable else array.copy())


def from_dlpack(array: Any) -> Tensor:
    """A Tensor around the memory of an array of another library, on either device, without a copy (through DLPack).

    A later write to it is not seen by the tape.
    Raises: TypeError for what has no __dlpack__ or holds no real numbers, ValueError for a device that is neither.

    >>> a = np.arange(3.0)
    >>> np.shares_memory(from_dlpack(a).data, a)
    True
    """
    if not hasattr(array, "__dlpack_device__"):
        raise TypeError(f"from_dlpack wants an array that hands out its memory by __dlpack__, got {type(array).__name__}")
    code = int(array.__dlpack_device__()[0])
    if code not in DLPACK:
        raise ValueError(f"an array on DLPack's device {code}: there are 1 (the host), 2 (a GPU) and 3 (the host, pinned)")
    found = namespace(DLPACK[code]).from_dlpack(array)
    if found.dtype.kind not in NUMBERS:
        raise TypeError(f"a tensor holds numbers, not {found.dtype}")
    return Tensor.wrap(found)


DLPACK = {1: "cpu", 3: "cpu", 2: "cuda"}


def cotangent(t: Tensor, g: Any) -> Tensor:
    """`g` as a cotangent of t; 1 where it is left out and t has one element. Raises RuntimeError or ValueError."""
    if t.node is None:
        raise RuntimeError("backward from a tensor that does not require a gradient: nothing on the tape leads to it")
    if g is None:
        if t.data.size != 1:
            raise RuntimeError(f"backward from a tensor of shape {t.shape} needs a gradient of that shape; "
                               "only a tensor of one element has the obvious one")
        return Tensor.wrap(np.ones_like(t.data))
    g = g if isinstance(g, Tensor) else Tensor(g, dtype=t.dtype, device=t.device)
    if why := mixed("backward", (t.data, g.data)):
        raise RuntimeError(why)
    if g.shape != t.shape or g.dtype != t.dtype:
        raise ValueError(f"the gradient has shape {g.shape} and dtype {g.dtype}, the tensor {t.shape} and {t.dtype}")
    return g
